"""Vector similarity: dot product, cosine, negative Euclidean distance. Higher is better in all."""

from enum import Enum

import numpy as np
from numpy.typing import NDArray

from twofold.errors import InputError, VectorError

FLOAT32_EPS = float(np.finfo(np.float32).eps)
BLOCK = 8192
"""Vectors widened to float64 at once: 25 MB at 384 dimensions."""


class Metric(str, Enum):
    """How near two vectors are; every score grows with nearness."""

    DOT = "dot"
    COSINE = "cosine"
    EUCLIDEAN = "euclidean"

    @classmethod
    def of(cls, value: "Metric | str") -> "Metric":
        """Return the member named by ``value``; raise InputError for an unknown name."""
        try:
            return cls(value)
        except ValueError:
            names = ", ".join(repr(member.value) for member in cls)
            raise InputError(f"unknown metric {value!r}: use one of {names}") from None

    def stored(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return ``vectors`` (n, dim) as the index keeps them: of unit length under cosine.

        Raises VectorError for a vector of zero length under cosine, which has no direction.
        """
        if self is not Metric.COSINE:
            return vectors
        wide = vectors.astype(np.float64)
        norms = np.sqrt(np.einsum("ij,ij->i", wide, wide))
        if not norms.all():
            place = int(np.flatnonzero(norms == 0)[0])
            raise VectorError(
                f"vector {place} has zero length, and cosine needs a direction: "
                "leave that passage out or use metric='dot'"
            )
        return np.asarray(wide / norms[:, None], np.float32)

    def scores(
        self, query: NDArray[np.float32], vectors: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """Return the exact scores, float64 (n,), of stored ``vectors`` (n, dim) for one query.

        Each row is reduced by itself in one fixed order, so that a score depends on nothing but
        its two vectors. Euclidean gives the negative distance.
        """
        blocks = [
            self._block_scores(query.astype(np.float64), vectors[at : at + BLOCK])
            for at in range(0, len(vectors), BLOCK)
        ]
        return np.concatenate([np.empty(0), *blocks])

    def error_bound(self, dim: int, query_length: float, longest: float) -> float:
        """Bound what float32 arithmetic in any order can err in a search score.

        The bound is the classical gamma_n of Higham (Accuracy and Stability of Numerical
        Algorithms, section 3.1), times two for the rounding of the inputs; under Euclidean it is
        on the squared distance.
        """
        gamma = 2 * (dim + 8) * FLOAT32_EPS
        if self is Metric.EUCLIDEAN:
            return gamma * (query_length + longest) ** 2
        return gamma * query_length * longest

    def _block_scores(
        self, point: NDArray[np.float64], vectors: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        wide = vectors.astype(np.float64)
        if self is Metric.EUCLIDEAN:
            gap = wide - point
            return np.asarray(-np.sqrt(_row_sums(gap * gap)))
        products = _row_sums(wide * point)
        if self is Metric.DOT:
            return products
        lengths = np.sqrt(_row_sums(wide * wide)) * np.sqrt(_row_sums((point * point)[None, :]))
        return np.asarray(np.clip(products / lengths, -1.0, 1.0))


def _row_sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum each row in one fixed order, whatever the number of rows."""
    # np.sum over a contiguous last axis adds pairwise within each row and never across rows.
    return np.asarray(np.add.reduce(np.ascontiguousarray(values), axis=1))
