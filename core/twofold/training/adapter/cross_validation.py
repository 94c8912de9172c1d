"""Cross-validated query vectors, and the choice of how much of the learned matrix to use."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twofold.training.acceptance import Gain, QueryMeasures, compute_gains, no_regression
from twofold.training.adapter.fit import FitResult
from twofold.training.adapter.plan import AdapterPlan
from twofold.types import Mask, Mode, Vectors


@dataclass(frozen=True, slots=True)
class CrossValidated:
    """Query vectors (n, dim), each ``adapted`` by a matrix that was fitted without that query.

    ``folds`` (n,) has the number of the fold that held out each query, and ``unseen`` (n,) flags
    queries that share no relevant passage with the other folds.
    """

    base: Vectors
    adapted: Vectors
    unseen: Mask
    folds: NDArray[np.int64]
    fits: tuple[FitResult, ...]

    def interpolate(self, weight: float) -> Vectors:
        """Return vectors between the base (0) and the adapted ones (1)."""
        return np.asarray(self.base + weight * (self.adapted - self.base), np.float32)


def interpolate_matrix(matrix: Vectors, weight: float) -> Vectors:
    """Return a matrix (dim, dim) between the identity (0) and a learned one (1)."""
    eye = np.eye(len(matrix), dtype=np.float32)
    return np.asarray(eye + np.float32(weight) * (matrix - eye), np.float32)


@dataclass(frozen=True, slots=True)
class InterpolationChoice:
    """Chooses the interpolation weight by the held-out queries' measures in one mode.

    ``before`` are measures by the index as it is, and ``candidates`` cross-validated ones by
    weight. ``counted`` (n,) flags queries that the active adapter was not trained on. At ``safe``
    weights, control queries don't regress.
    """

    plan: AdapterPlan
    mode: Mode
    before: QueryMeasures
    candidates: Mapping[float, QueryMeasures]
    cross_validated: CrossValidated
    counted: Mask
    safe: tuple[float, ...]

    def gains(self, after: QueryMeasures, among: Mask | None = None) -> tuple[Gain, ...]:
        """Return the gains of the counted queries, restricted to those ``among`` flags."""
        mask = self.counted if among is None else self.counted & among
        unseen, confidence = self.cross_validated.unseen, self.plan.confidence
        return compute_gains(self.before, after, unseen, confidence=confidence, among=mask)

    def best_weight(self, among: Mask | None = None) -> float:
        """Return the weight with the best mean over some queries, and without regression."""
        mask = among if among is not None else np.ones_like(self.counted)
        allowed = [
            weight
            for weight in self.safe
            if no_regression(self.gains(self.candidates[weight], mask), self.plan)
        ]
        scores = {
            weight: float(self.candidates[weight][self.mode][mask].mean())
            for weight in allowed or self.plan.interpolations[-1:]
        }
        return max(scores, key=scores.__getitem__)

    def measure_folds(self) -> QueryMeasures:
        """Return each fold's measures at the weight that the other folds choose."""
        after = {mode: np.empty_like(scores) for mode, scores in self.before.items()}
        folds = self.cross_validated.folds
        for number in np.unique(folds):
            fold = folds == number
            chosen = self.candidates[self.best_weight(~fold)]
            for mode, scores in after.items():
                scores[fold] = chosen[mode][fold]
        return after
