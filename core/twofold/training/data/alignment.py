"""Passages that came along with examples, found in an index by what they say."""

import warnings
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from twofold.errors import DegradedWarning, InputError, QueryError
from twofold.index import IndexView
from twofold.similarity import Metric
from twofold.training.data.examples import Example, TrainingSet
from twofold.training.data.splitting import folded_query
from twofold.types import Vectors


def examples_in_index(view: IndexView, training_set: TrainingSet) -> TrainingSet:
    """Return the examples with a positive in the index, by query id, before anything heavy starts.

    Passages that came along are found under the index's own ids, if it has their texts.

    Warns (DegradedWarning) of those without. Raises QueryError for an index that is empty or has no
    vectors, InputError where no positive is there, or where all examples have the same ones.
    """
    if not view.count:
        raise QueryError("the index is empty: upsert passages before training")
    if view.snapshot.dense is None:
        raise QueryError("the index has no vectors to learn from: give it some by reencode")
    training_set = match_passages(view, training_set)
    kept = [
        each for each in training_set if any(view.row_of(own) is not None for own in each.positives)
    ]
    if not kept:
        raise InputError(
            f"none of the positives of {len(training_set):,} examples is in the index, such as "
            f"{training_set[0].positives[0]!r}: are these of this corpus? Passages that came along "
            "with the examples are indexed by index.upsert(training_set.passages)"
            if len(training_set)
            else "there are no examples to learn from"
        )
    lacking = len(training_set) - len(kept)
    if lacking:
        warnings.warn(
            f"{lacking:,} of {len(training_set):,} examples have no positive in the index, and are "
            "left out: are these of this corpus?",
            DegradedWarning,
            stacklevel=4,
        )
    if len(kept) > 1 and len({frozenset(each.positives) for each in kept}) == 1:
        raise InputError(
            f"all {len(kept):,} examples have the same positives ({kept[0].positives[0]!r}): there "
            "is nothing to tell apart"
        )
    if len(kept) > 1 and len({each.query for each in kept}) == 1:
        raise InputError(f"all {len(kept):,} examples have the same query {kept[0].query!r:.80}")
    # In an order of its own, so that the same examples teach the same.
    return TrainingSet(tuple(sorted(kept, key=lambda each: each.query_id)))


def drop_known_queries(
    view: IndexView, known: TrainingSet, extra: TrainingSet | None
) -> TrainingSet:
    """Return the extra examples that can be learned from, but for queries that are known.

    A held-out query would otherwise be learned from after all. Raises InputError as ``usable``.
    """
    if extra is None or not len(extra):
        return TrainingSet(())
    asked = {folded_query(each.query) for each in known}
    return TrainingSet(
        tuple(
            each for each in examples_in_index(view, extra) if folded_query(each.query) not in asked
        )
    )


def positions_in(training_set: TrainingSet, some: TrainingSet) -> NDArray[np.int64]:
    """Return the places in a training set of the examples of a part of it."""
    place_of = {each.query_id: place for place, each in enumerate(training_set)}
    return np.array([place_of[each.query_id] for each in some], np.int64)


def vectors_by_id(
    view: IndexView, given: TrainingSet, known: TrainingSet, vectors: Vectors | None
) -> Vectors:
    """Return the encoder's vectors of the known queries, or their part of the given ones."""
    if vectors is None:
        return view.encode_queries([each.query for each in known], adapted=False)
    try:
        own = np.asarray(vectors, np.float32)
    except ValueError as error:
        raise InputError(f"query vectors are no array of numbers: {error}") from error
    dim, metric = view.snapshot.settings.dim, view.metric
    if own.shape != (len(given), dim):
        raise InputError(
            f"query vectors have shape {own.shape}: ({len(given)}, {dim}) is wanted, one row an "
            "example"
        )
    for each, row in zip(given, own, strict=True):
        if not np.isfinite(row).all() or (metric is Metric.COSINE and not row.any()):
            raise InputError(
                f"the vector of query {each.query_id!r:.80} is not finite, or zero, which has no "
                "direction: leave that example out"
            )
    return own[positions_in(given, known)]


_AT_ONCE = 1_000


def match_passages(view: IndexView, training_set: TrainingSet) -> TrainingSet:
    """Return the examples with the index's own ids of passages that it has under another id.

    Only passages that came along are looked for, by their title and text.
    """
    lacking = {
        each.id: each.content
        for each in training_set.passages
        if view.row_of(each.id) is None and each.content
    }
    if not lacking:
        return training_set
    own = _ids_of(view, frozenset(lacking.values()))
    names = {brought: own[content] for brought, content in lacking.items() if content in own}
    if not names:
        return training_set
    rest = tuple(each for each in training_set.passages if each.id not in names)
    return TrainingSet(tuple(_renamed(each, names) for each in training_set), rest)


def _ids_of(view: IndexView, contents: frozenset[str]) -> dict[str, str]:
    """Return the first id of each content that the index has."""
    found: dict[str, str] = {}
    rows = view.rows
    for start in range(0, len(rows), _AT_ONCE):
        part = rows[start : start + _AT_ONCE]
        fetched = view.passages(part)
        for place in range(len(part)):
            passage = fetched[place]
            if passage.content in contents:
                found.setdefault(passage.content, passage.id)
    return found


def _renamed(example: Example, names: Mapping[str, str]) -> Example:
    """Return an example with other ids; what becomes a positive is no negative any more."""
    graded: dict[str, int] = {}
    for brought, grade in zip(example.positives, example.grades, strict=True):
        name = names.get(brought, brought)
        graded[name] = max(grade, graded.get(name, 0))
    negatives = dict.fromkeys(names.get(each, each) for each in example.negatives)
    return replace(
        example,
        positives=tuple(graded),
        grades=tuple(graded.values()),
        negatives=tuple(each for each in negatives if each not in graded),
    )
