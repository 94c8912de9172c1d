"""How much of a learned map is mixed with the identity."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twofold.training.acceptance import Gain, Values, compute_gains, no_regression, select_queries
from twofold.training.adapter.fit import FitResult
from twofold.training.adapter.plan import AdapterPlan
from twofold.types import Mask, Mode, Vectors


@dataclass(frozen=True, slots=True)
class InterpolationChoice:
    """What each blend gives queries (n,) that nothing was learned from, beside what is in use.

    ``folds`` (n,) tell which fold held a query out, ``unseen`` flags those that ask for passages
    never learned from, and ``judges`` those that what is in use didn't learn from either. By the
    blends that are ``remembering``, queries of another kind lose no more than allowed.
    """

    plan: AdapterPlan
    mode: Mode
    before: Values
    tried: Mapping[float, Values]
    folds: NDArray[np.int64]
    unseen: Mask
    judges: Mask
    remembering: tuple[float, ...]

    def gains(self, after: Values, among: Mask | None = None) -> tuple[Gain, ...]:
        """Return the gains of those that judge, or of those of them that are ``among`` some."""
        mask = self.judges if among is None else self.judges & among
        before, now = select_queries(self.before, mask), select_queries(after, mask)
        return compute_gains(before, now, self.unseen[mask], level=self.plan.level)

    def blend(self, among: Mask | None = None) -> float:
        """Return the blend of the best mean of those that lose nothing elsewhere, by some queries.

        All of them say what is best, and those that judge what is harmless.
        """
        every = among if among is not None else np.ones_like(self.judges)
        safe = [
            blend
            for blend in self.remembering
            if no_regression(self.gains(self.tried[blend], every), self.plan)
        ]
        candidates = safe if safe else self.plan.blends[-1:]
        return max(candidates, key=lambda each: float(self.tried[each][self.mode][every].mean()))

    def without_each_fold(self) -> Values:
        """Return each fold's values by the blend that the other folds' queries choose."""
        after = {mode: np.empty_like(values) for mode, values in self.before.items()}
        for fold in np.unique(self.folds):
            own = self.folds == fold
            chosen = self.tried[self.blend(~own)]
            for mode, values in after.items():
                values[own] = chosen[mode][own]
        return after


@dataclass(frozen=True, slots=True)
class CrossValidated:
    """What was learned without each query, and which of them ask for passages never learned from.

    ``plain`` and ``learned`` (n, dim) are the encoder's vectors and what the folds' maps make of
    them, unmixed; ``folds`` (n,) tells which fold held each out.
    """

    plain: Vectors
    learned: Vectors
    unseen: Mask
    folds: NDArray[np.int64]
    fits: tuple[FitResult, ...]

    def blended(self, blend: float) -> Vectors:
        """Return vectors between the encoder's own and the learned ones."""
        return np.asarray(self.plain + blend * (self.learned - self.plain), np.float32)


def interpolate(matrix: Vectors, blend: float) -> Vectors:
    """Return a matrix (dim, dim) between the identity and a learned one."""
    eye = np.eye(len(matrix), dtype=np.float32)
    return np.asarray(eye + np.float32(blend) * (matrix - eye), np.float32)
