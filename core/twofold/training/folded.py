"""What the folds of an adapter's training learned without each query."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twofold.training.fitting import Fitted
from twofold.types import Mask, Vectors


@dataclass(frozen=True, slots=True)
class Folded:
    """What was learned without each query, and which of them ask for passages never learned from.

    ``plain`` and ``learned`` (n, dim) are the encoder's vectors and what the folds' maps make of
    them, unmixed; ``folds`` (n,) tells which fold held each out.
    """

    plain: Vectors
    learned: Vectors
    unseen: Mask
    folds: NDArray[np.int64]
    fits: tuple[Fitted, ...]

    def blended(self, blend: float) -> Vectors:
        """Return vectors between the encoder's own and the learned ones."""
        return np.asarray(self.plain + blend * (self.learned - self.plain), np.float32)


def mixed(matrix: Vectors, blend: float) -> Vectors:
    """Return a matrix (dim, dim) between the identity and a learned one."""
    eye = np.eye(len(matrix), dtype=np.float32)
    return np.asarray(eye + np.float32(blend) * (matrix - eye), np.float32)
