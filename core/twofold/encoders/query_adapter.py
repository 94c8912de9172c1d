"""A linear map of query vectors, learned while the passages' vectors stay as they are."""

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
    """Turns a query vector q of an encoder into ``matrix @ q``; the identity changes nothing.

    ``matrix`` is (dim, dim). ``model`` is the fingerprint of the encoder that it was learned for,
    empty where that has none. ``metadata`` records how it was trained, as JSON values. Raises VectorError
    for a matrix that is not square or not finite.
    """

    matrix: NDArray[np.float32]
    model: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    _wide: NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, np.float32)
        square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1] > 0
        if not square or not np.isfinite(matrix).all():
            raise VectorError(
                f"an adapter's matrix has shape {matrix.shape} and {np.isfinite(matrix).sum():,} "
                "finite numbers: (dim, dim) finite ones are wanted"
            )
        matrix.flags.writeable = False
        object.__setattr__(self, "matrix", matrix)
        # In float64, so that a query alone and among others gives the same float32 vector.
        object.__setattr__(self, "_wide", np.ascontiguousarray(matrix.T, np.float64))

    @property
    def dim(self) -> int:
        """The dimensions of the vectors that it takes and gives."""
        return len(self.matrix)

    @property
    def strength(self) -> float:
        """How far the matrix is from the identity, in parts of the identity's own size."""
        return float(np.linalg.norm(self.matrix - np.eye(self.dim))) / math.sqrt(self.dim)

    def __call__(self, vectors: Vectors) -> Vectors:
        """Return the vectors (n, dim) or (dim,) that search in place of these."""
        given = np.asarray(vectors)
        if given.ndim not in (1, 2) or given.shape[-1] != self.dim:
            raise VectorError(
                f"query vectors have shape {given.shape}, and the adapter was learned for (n, "
                f"{self.dim})"
            )
        return np.asarray(given.astype(np.float64) @ self._wide, np.float32)

    def __repr__(self) -> str:
        return f"QueryAdapter(dim={self.dim}, strength={self.strength:.3f})"
