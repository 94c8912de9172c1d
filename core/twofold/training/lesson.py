"""A training set as arrays over the vectors of one view of an index."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twofold.errors import DegradedWarning, InputError, QueryError
from twofold.fusion.sums import DENSE_WEIGHT
from twofold.index import IndexView
from twofold.metrics import Metric
from twofold.training.adapter_plan import AdapterPlan
from twofold.training.example import Example
from twofold.training.fitting import Asking
from twofold.training.matching import matched
from twofold.training.splitting import folded_query
from twofold.training.training_set import TrainingSet
from twofold.types import Rows, Vectors

_FLOOR = 1e-12


@dataclass(frozen=True, slots=True)
class Lesson:
    """Passages' vectors (n, dim) as they are stored, and the queries that they answer."""

    passages: Vectors
    metric: Metric
    asking: Asking

    @classmethod
    def of(
        cls,
        view: IndexView,
        training_set: TrainingSet,
        vectors: Vectors,
        plan: AdapterPlan,
        *,
        checked: int,
    ) -> "Lesson":
        """Take all passages with a vector, or, of too many, all answers and a seeded sample.

        ``vectors`` (queries, dim) are those of the queries, in their order. The first ``checked``
        of them may say when to stop, and so their words are scored.
        """
        dense = view.snapshot.dense
        assert dense is not None  # checked before
        rows = dense.live_rows
        answers = _answers(view, training_set)
        if len(rows) > plan.most_passages:
            kept = np.unique(np.array([row for own in answers for row in own], np.int64))
            others = np.setdiff1d(rows, kept)
            size = min(max(plan.most_passages - len(kept), 0), len(others))
            drawn = np.random.default_rng(plan.seed).choice(others, size, replace=False)
            rows = np.union1d(kept, drawn)
        points, found = view.vectors(rows)
        rows, points = rows[found], points[found]
        place_of = {row: place for place, row in enumerate(rows.tolist())}
        places = [
            {place_of[row]: grade for row, grade in own.items() if row in place_of}
            for own in answers
        ]
        weights = np.array([each.weight for each in training_set], np.float32)
        words = _words(view, training_set[:checked], rows)
        return cls(points, dense.metric, Asking(vectors, places, weights, words))


def usable(view: IndexView, training_set: TrainingSet) -> TrainingSet:
    """Return the examples with a positive in the index, by query id, before anything heavy starts.

    Passages that came along are found under the index's own ids, if it has their texts.

    Warns (DegradedWarning) of those without. Raises QueryError for an index that is empty or has no
    vectors, InputError where no positive is there, or where all examples have the same ones.
    """
    if not view.count:
        raise QueryError("the index is empty: upsert passages before training")
    if view.snapshot.dense is None:
        raise QueryError("the index has no vectors to learn from: give it some by reencode")
    training_set = matched(view, training_set)
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


def beside(view: IndexView, known: TrainingSet, extra: TrainingSet | None) -> TrainingSet:
    """Return the extra examples that can be learned from, but for queries that are known.

    A held-out query would otherwise be learned from after all. Raises InputError as ``usable``.
    """
    if extra is None or not len(extra):
        return TrainingSet(())
    asked = {folded_query(each.query) for each in known}
    return TrainingSet(
        tuple(each for each in usable(view, extra) if folded_query(each.query) not in asked)
    )


def _answers(view: IndexView, training_set: TrainingSet) -> Sequence[dict[int, int]]:
    """Return for each example the rows of its positives with their grades."""
    out: list[dict[int, int]] = []
    for each in training_set:
        rows = [view.row_of(own) for own in each.positives]
        pairs = zip(rows, each.grades, strict=True)
        out.append({row: grade for row, grade in pairs if row is not None})
    return out


def _words(view: IndexView, examples: Sequence[Example], rows: Rows) -> Vectors | None:
    """Return what words add to dense scores of 0 to 1, float32 (queries, rows): from 0 on.

    It is the lexical part of the library's default fusion by the dense part's weight.
    """
    if view.snapshot.lexical is None:
        return None
    share = (1 - DENSE_WEIGHT) / DENSE_WEIGHT
    out = np.zeros((len(examples), len(rows)), np.float32)
    for place, each in enumerate(examples):
        scores = view.lexical_scores(each.query, rows)
        out[place] = share * scores / max(float(scores.max(initial=0.0)), _FLOOR)
    return out


def places_in(training_set: TrainingSet, some: TrainingSet) -> NDArray[np.int64]:
    """Return the places in a training set of the examples of a part of it."""
    place_of = {each.query_id: place for place, each in enumerate(training_set)}
    return np.array([place_of[each.query_id] for each in some], np.int64)


def vectors_of(
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
    return own[places_in(given, known)]
