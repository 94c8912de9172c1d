"""Training data of a query adapter as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

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
class BatchArrays:
    """Query vectors and the passages that are relevant to them.

    Attributes:
        vectors: Vectors by the encoder, float32 (n, dim).
        positives: For each query, the grades of its relevant passages by position.
        weights: Weight of each query in the loss, float32 (n,).
        lexical: Lexical parts of the fused scores, float32 (m, passages), of the first m queries;
            None without a lexical leg. Only validation needs them.
    """

    vectors: Vectors
    positives: Sequence[dict[int, int]]
    weights: NDArray[np.float32]
    lexical: Vectors | None = None

    def select(self, positions: NDArray[np.int64], *, lexical: bool = True) -> "BatchArrays":
        """Return the queries at some positions, with or without the lexical scores."""
        positives = [self.positives[position] for position in positions.tolist()]
        scores = self.lexical[positions] if self.lexical is not None and lexical else None
        return BatchArrays(self.vectors[positions], positives, self.weights[positions], scores)

    def __len__(self) -> int:
        return len(self.positives)


@dataclass(frozen=True, slots=True)
class TrainingArrays:
    """The stored passage vectors (n, dim) of an index, its metric, and the training queries."""

    passages: Vectors
    metric: Metric
    queries: BatchArrays

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
        """Collect the arrays of a training set.

        Args:
            view: View of the index.
            examples: Judged examples, followed by extra ones.
            vectors: Query vectors of all examples, float32 (n, dim).
            plan: Gives the largest number of passages, and the seed of their sample.
            judged: Number of judged examples, which get lexical scores for validation.
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
        return cls(points, dense.metric, BatchArrays(vectors, positives, weights, lexical))


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
