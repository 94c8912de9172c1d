"""Matches training examples with the passages of an index."""

import warnings
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from twofold.backend import SearchScope
from twofold.errors import DegradedWarning, InputError, QueryError
from twofold.similarity import Metric
from twofold.training.data.examples import Example, TrainingSet
from twofold.training.data.splitting import normalize_query
from twofold.types import Vectors

_BATCH = 1_000  # passages read at once


def examples_in_index(scope: SearchScope, training_set: TrainingSet) -> TrainingSet:
    """Return the examples that have a positive in the index, ordered by query id.

    Passages of the training set are matched by their text, see ``match_passages``. Examples without
    a positive in the index are skipped with a DegradedWarning. Raises QueryError if the index is
    empty or has no vectors, and InputError if no positive is in the index or all examples have the
    same positives or query.
    """
    if not scope.session.corpus.passages:
        raise QueryError("the index is empty: upsert passages before training")
    if scope.metric is None:
        raise QueryError("the index has no vectors to train on: add them with reencode")
    training_set = match_passages(scope, training_set)
    stored = scope.find_keys(sorted(training_set.positives))
    usable = [e for e in training_set if any(id_ in stored for id_ in e.positives)]
    if not len(training_set):
        raise InputError("the training set has no examples: pass at least one")
    if not usable:
        raise InputError(
            f"none of the positives of {len(training_set):,} examples is in the index, such as "
            f"{training_set[0].positives[0]!r}: check that they belong to this corpus, or index "
            "the passages of the training set with index.upsert(training_set.passages)"
        )
    missing = len(training_set) - len(usable)
    if missing:
        warnings.warn(
            f"{missing:,} of {len(training_set):,} examples have no positive in the index and are "
            "skipped: check that they belong to this corpus",
            DegradedWarning,
            stacklevel=4,
        )
    if len(usable) > 1 and len({frozenset(example.positives) for example in usable}) == 1:
        raise InputError(
            f"all {len(usable):,} examples have the same positives ({usable[0].positives[0]!r}): "
            "training needs examples that differ"
        )
    if len(usable) > 1 and len({example.query for example in usable}) == 1:
        raise InputError(
            f"all {len(usable):,} examples have the same query {usable[0].query!r:.80}: "
            "training needs queries that differ"
        )
    return TrainingSet(tuple(sorted(usable, key=lambda example: example.query_id)))


def drop_known_queries(
    scope: SearchScope, known: TrainingSet, extra: TrainingSet | None
) -> TrainingSet:
    """Return the ``extra`` examples with a positive in the index and a query not in ``known``.

    Otherwise a held-out query could be trained on. Raises the errors of ``examples_in_index``.
    """
    if extra is None or not len(extra):
        return TrainingSet(())
    queries = {normalize_query(example.query) for example in known}
    usable = examples_in_index(scope, extra)
    return TrainingSet(
        tuple(example for example in usable if normalize_query(example.query) not in queries)
    )


def find_positions(training_set: TrainingSet, subset: TrainingSet) -> NDArray[np.int64]:
    """Return the positions of a subset's examples in the training set, (len(subset),)."""
    positions = {example.query_id: place for place, example in enumerate(training_set)}
    return np.array([positions[example.query_id] for example in subset], np.int64)


def select_query_vectors(
    scope: SearchScope, given: TrainingSet, known: TrainingSet, vectors: Vectors | None
) -> Vectors:
    """Return the vectors (len(known), dim) of the queries of ``known``, a subset of ``given``.

    They are selected from ``vectors`` (len(given), dim), or encoded if that is None. Raises
    InputError for another shape, and for a vector that is not finite, or zero under cosine.
    """
    if vectors is None:
        return scope.encode_queries([example.query for example in known], adapt=False)
    try:
        array = np.asarray(vectors, np.float32)
    except ValueError as error:
        raise InputError(f"query vectors must be an array of numbers: {error}") from error
    expected = (len(given), scope.session.corpus.dim)
    if array.shape != expected:
        raise InputError(
            f"query vectors must have shape {expected}, one row per example, got {array.shape}"
        )
    for example, row in zip(given, array, strict=True):
        if not np.isfinite(row).all() or (scope.metric is Metric.COSINE and not row.any()):
            raise InputError(
                f"the vector of query {example.query_id!r:.80} is not finite, or zero under "
                "cosine: leave that example out"
            )
    return array[find_positions(given, known)]


def match_passages(scope: SearchScope, training_set: TrainingSet) -> TrainingSet:
    """Return the set with the index's ids of its ``passages``, matched by title and text."""
    known = scope.find_keys([passage.id for passage in training_set.passages])
    contents = {
        passage.id: passage.content
        for passage in training_set.passages
        if passage.id not in known and passage.content
    }
    if not contents:
        return training_set
    stored = _find_ids(scope, frozenset(contents.values()))
    new_ids = {id_: stored[content] for id_, content in contents.items() if content in stored}
    if not new_ids:
        return training_set
    rest = tuple(passage for passage in training_set.passages if passage.id not in new_ids)
    return TrainingSet(tuple(_replace_ids(example, new_ids) for example in training_set), rest)


def _find_ids(scope: SearchScope, contents: frozenset[str]) -> dict[str, str]:
    """Return, for each content in the index, the id of the first passage with that content."""
    ids: dict[str, str] = {}
    keys = scope.list_keys()
    for start in range(0, len(keys), _BATCH):
        for passage in scope.session.fetch(keys[start : start + _BATCH]).passages:
            if passage.content in contents:
                ids.setdefault(passage.content, passage.id)
    return ids


def _replace_ids(example: Example, new_ids: Mapping[str, str]) -> Example:
    """Return an example with ``new_ids`` for old ones; a positive is no negative then."""
    grades: dict[str, int] = {}
    for old_id, grade in zip(example.positives, example.grades, strict=True):
        id_ = new_ids.get(old_id, old_id)
        grades[id_] = max(grade, grades.get(id_, 0))
    negatives = dict.fromkeys(new_ids.get(id_, id_) for id_ in example.negatives)
    return replace(
        example,
        positives=tuple(grades),
        grades=tuple(grades.values()),
        negatives=tuple(id_ for id_ in negatives if id_ not in grades),
    )
