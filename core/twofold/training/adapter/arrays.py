"""Training data of a query adapter as arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from twofold.backend import Keys, SearchScope
from twofold.fusion.rules import DENSE_WEIGHT
from twofold.similarity import Metric
from twofold.training.adapter.plan import AdapterPlan
from twofold.training.data.examples import Example, TrainingSet
from twofold.types import Vectors

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
    def from_scope(
        cls,
        scope: SearchScope,
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
        keys, metric = scope.list_keys(), scope.metric
        assert metric is not None  # checked before
        known = scope.find_keys(sorted(examples.positives))
        grades = [_grades_by_key(known, example) for example in examples]
        if len(keys) > plan.max_passages:
            relevant = np.unique(np.array([key for graded in grades for key in graded], np.int64))
            others = np.setdiff1d(keys, relevant)
            size = min(max(plan.max_passages - len(relevant), 0), len(others))
            sample = np.random.default_rng(plan.seed).choice(others, size, replace=False)
            keys = np.union1d(relevant, sample)
        fetched = scope.session.fetch(keys, texts=False, vectors=True)
        assert fetched.vectors is not None  # asked for
        assert fetched.has_vector is not None
        keys, points = keys[fetched.has_vector], fetched.vectors[fetched.has_vector]
        position_of = {key: position for position, key in enumerate(keys.tolist())}
        positives = [
            {position_of[key]: grade for key, grade in graded.items() if key in position_of}
            for graded in grades
        ]
        weights = np.array([example.weight for example in examples], np.float32)
        lexical = _lexical_parts(scope, examples[:judged], keys)
        return cls(points, metric, vectors, positives, weights, lexical)

    def select(self, positions: NDArray[np.int64], *, lexical: bool = True) -> "TrainingArrays":
        """Return the queries at some positions, with or without the lexical scores."""
        return replace(
            self,
            vectors=self.vectors[positions],
            positives=[self.positives[position] for position in positions.tolist()],
            weights=self.weights[positions],
            lexical=self.lexical[positions] if self.lexical is not None and lexical else None,
        )


def _grades_by_key(known: Mapping[str, int], example: Example) -> dict[int, int]:
    pairs = zip(example.positives, example.grades, strict=True)
    return {known[passage_id]: grade for passage_id, grade in pairs if passage_id in known}


def _lexical_parts(scope: SearchScope, examples: Sequence[Example], keys: Keys) -> Vectors | None:
    """Return the lexical part of the default fusion, float32 (queries, passages), from 0 up.

    It is divided by the dense weight, to be added to dense scores from 0 to 1.
    """
    if not scope.has_lexical:
        return None
    share = (1 - DENSE_WEIGHT) / DENSE_WEIGHT
    parts = np.zeros((len(examples), len(keys)), np.float32)
    for position, example in enumerate(examples):
        scores = scope.lexical_scores(example.query, keys)
        parts[position] = share * scores / max(float(scores.max(initial=0.0)), _FLOOR)
    return parts
