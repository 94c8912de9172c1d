"""Training data of a query adapter as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from twofold.fusion.rules import DENSE_WEIGHT
from twofold.index import IndexView
from twofold.similarity import Metric
from twofold.training.adapter.plan import AdapterPlan
from twofold.training.data.examples import Example, TrainingSet
from twofold.types import Rows, Vectors

_FLOOR = 1e-12


@dataclass(frozen=True, slots=True)
class TrainingArrays:
    """Passage vectors (m, dim), and query vectors (n, dim) with their weights (n,).

    ``positives`` has the grades of each query's relevant passages, by position. ``lexical`` has the
    lexical parts of the fused scores (k, m) of the first k queries, for validation; it is None
    without a lexical leg.
    """

    passages: Vectors
    metric: Metric
    vectors: Vectors
    positives: Sequence[dict[int, int]]
    weights: NDArray[np.float32]
    lexical: Vectors | None = None

    @classmethod
    def from_view(
        cls,
        view: IndexView,
        examples: TrainingSet,
        vectors: Vectors,
        plan: AdapterPlan,
        *,
        judged: int,
    ) -> "TrainingArrays":
        """Collect the arrays of a training set with query vectors (n, dim).

        If there are more than ``plan.max_passages``, all relevant passages and a sample are used.
        The first ``judged`` examples get lexical scores.
        """
        dense = view.snapshot.dense
        assert dense is not None  # checked before
        rows = dense.live_rows
        grades = [_grades_by_row(view, example) for example in examples]
        if len(rows) > plan.max_passages:
            relevant = np.unique(np.array([row for graded in grades for row in graded], np.int64))
            others = np.setdiff1d(rows, relevant)
            size = min(max(plan.max_passages - len(relevant), 0), len(others))
            sample = np.random.default_rng(plan.seed).choice(others, size, replace=False)
            rows = np.union1d(relevant, sample)
        points, found = view.vectors(rows)
        rows, points = rows[found], points[found]
        position_of = {row: position for position, row in enumerate(rows.tolist())}
        positives = [
            {position_of[row]: grade for row, grade in graded.items() if row in position_of}
            for graded in grades
        ]
        weights = np.array([example.weight for example in examples], np.float32)
        lexical = _lexical_parts(view, examples[:judged], rows)
        return cls(points, dense.metric, vectors, positives, weights, lexical)

    def select(self, positions: NDArray[np.int64], *, lexical: bool = True) -> "TrainingArrays":
        """Return the queries at some positions, with or without the lexical scores."""
        return replace(
            self,
            vectors=self.vectors[positions],
            positives=[self.positives[position] for position in positions.tolist()],
            weights=self.weights[positions],
            lexical=self.lexical[positions] if self.lexical is not None and lexical else None,
        )


def _grades_by_row(view: IndexView, example: Example) -> dict[int, int]:
    rows = [view.row_of(passage_id) for passage_id in example.positives]
    pairs = zip(rows, example.grades, strict=True)
    return {row: grade for row, grade in pairs if row is not None}


def _lexical_parts(view: IndexView, examples: Sequence[Example], rows: Rows) -> Vectors | None:
    """Return the lexical part of the default fusion, float32 (queries, rows), from 0 up.

    It is divided by the dense weight, to be added to dense scores from 0 to 1.
    """
    if view.snapshot.lexical is None:
        return None
    share = (1 - DENSE_WEIGHT) / DENSE_WEIGHT
    parts = np.zeros((len(examples), len(rows)), np.float32)
    for position, example in enumerate(examples):
        scores = view.lexical_scores(example.query, rows)
        parts[position] = share * scores / max(float(scores.max(initial=0.0)), _FLOOR)
    return parts
