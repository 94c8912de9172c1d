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
    """Maps a query vector q to ``matrix @ q``, while the passages' vectors stay as they are.

    Args:
        matrix: The map (dim, dim), finite. The identity changes nothing.
        model: The fingerprint of the encoder it was trained for, "" if that has none.
        metadata: How it was trained, as JSON values.
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
        """The distance of the matrix from the identity, relative to the identity's norm."""
        return float(np.linalg.norm(self.matrix - np.eye(self.dim))) / math.sqrt(self.dim)

    def __call__(self, vectors: Vectors) -> Vectors:
        """Return the adapted query vectors, of shape (n, dim) or (dim,) as given."""
        given = np.asarray(vectors)
        if given.ndim not in (1, 2) or given.shape[-1] != self.dim:
            raise VectorError(
                f"query vectors must have shape (n, {self.dim}) for this adapter, got {given.shape}"
            )
        return np.asarray(given.astype(np.float64) @ self._transposed, np.float32)

    def __repr__(self) -> str:
        return f"QueryAdapter(dim={self.dim}, strength={self.strength:.3f})"
