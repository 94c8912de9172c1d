"""A training set as arrays over the vectors of one view of an index."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twofold.fusion.rules import DENSE_WEIGHT
from twofold.index import IndexView
from twofold.similarity import Metric
from twofold.training.adapter.fit import BatchArrays
from twofold.training.adapter.plan import AdapterPlan
from twofold.training.data.examples import Example, TrainingSet
from twofold.types import Rows, Vectors

_FLOOR = 1e-12


@dataclass(frozen=True, slots=True)
class TrainingArrays:
    """Passages' vectors (n, dim) as they are stored, and the queries that they answer."""

    passages: Vectors
    metric: Metric
    asking: BatchArrays

    @classmethod
    def of(
        cls,
        view: IndexView,
        training_set: TrainingSet,
        vectors: Vectors,
        plan: AdapterPlan,
        *,
        checked: int,
    ) -> "TrainingArrays":
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
        return cls(points, dense.metric, BatchArrays(vectors, places, weights, words))


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
