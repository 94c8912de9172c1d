"""A learned linear map of query vectors."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.errors import VectorError
from twofold.types import Vectors


@dataclass(frozen=True, slots=True, eq=False)
class QueryAdapter:
    """Maps a query vector q to ``matrix @ q``. The passages' vectors are not mapped.

    Args:
        matrix: The matrix (dim, dim) of finite numbers. The identity changes nothing.
        model: The fingerprint of the encoder that the matrix was trained for, "" if unknown.
        metadata: A description of the training, as JSON values.
    """

    matrix: NDArray[np.float32]
    model: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    _transposed: NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, np.float32)
        square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1] > 0
        if not square or not np.isfinite(matrix).all():
            raise VectorError(
                f"an adapter's matrix must have shape (dim, dim) and finite numbers, got shape "
                f"{matrix.shape} with {np.isfinite(matrix).sum():,} finite numbers"
            )
        matrix.flags.writeable = False
        object.__setattr__(self, "matrix", matrix)
        # float64, so that a query has the same float32 vector alone and in a batch.
        object.__setattr__(self, "_transposed", np.ascontiguousarray(matrix.T, np.float64))

    @property
    def dim(self) -> int:
        """The number of dimensions of the vectors."""
        return len(self.matrix)

    @property
    def strength(self) -> float:
        """The Frobenius norm of matrix - identity, divided by that of the identity."""
        return float(np.linalg.norm(self.matrix - np.eye(self.dim))) / math.sqrt(self.dim)

    def __call__(self, vectors: Vectors) -> Vectors:
        """Return query vectors (n, dim), or one vector (dim,), multiplied by the matrix."""
        given = np.asarray(vectors)
        if given.ndim not in (1, 2) or given.shape[-1] != self.dim:
            raise VectorError(
                f"query vectors for this adapter must have shape (n, {self.dim}), got {given.shape}"
            )
        return np.asarray(given.astype(np.float64) @ self._transposed, np.float32)

    def __repr__(self) -> str:
        return f"QueryAdapter(dim={self.dim}, strength={self.strength:.3f})"
