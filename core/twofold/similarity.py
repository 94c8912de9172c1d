"""Vector similarity: dot product, cosine and negative Euclidean distance."""

from enum import Enum

import numpy as np
from numpy.typing import NDArray

from twofold.errors import InputError, VectorError

_FLOAT32_EPS = float(np.finfo(np.float32).eps)


class Metric(str, Enum):
    """A vector similarity. Higher scores mean closer vectors for every metric.

    Example:
        >>> from twofold import Index, Metric
        >>> Index.open(None, dim=2, metric=Metric.EUCLIDEAN).metric
        <Metric.EUCLIDEAN: 'euclidean'>
    """

    DOT = "dot"
    COSINE = "cosine"
    EUCLIDEAN = "euclidean"

    @classmethod
    def from_name(cls, name: "Metric | str") -> "Metric":
        """Return the metric called ``name``; raise InputError for an unknown name."""
        try:
            return cls(name)
        except ValueError:
            names = ", ".join(repr(member.value) for member in cls)
            raise InputError(f"unknown metric {name!r}: use one of {names}") from None

    def can_compare(self, vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return for each of ``vectors`` (n, dim) whether it has scores: cosine needs a length."""
        if self is not Metric.COSINE:
            return np.ones(len(vectors), np.bool_)
        return np.asarray(vectors.any(axis=1))

    def prepare(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return ``vectors`` (n, dim) as the index stores them: of unit length if cosine.

        Raises:
            VectorError: The metric is cosine, and a vector has length zero.
        """
        if self is not Metric.COSINE:
            return vectors
        wide = vectors.astype(np.float64)
        norms = np.sqrt(np.einsum("ij,ij->i", wide, wide))
        if not norms.all():
            position = int(np.flatnonzero(norms == 0)[0])
            raise VectorError(
                f"vector {position} has length zero, which has no cosine: leave that vector out, "
                "or use metric='dot'"
            )
        return np.asarray(wide / norms[:, None], np.float32)

    def score(
        self,
        query: NDArray[np.float32],
        vectors: NDArray[np.float32],
        positions: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float64]:
        """Return exact scores of stored vectors for one query.

        Each score depends only on its two vectors, not on the other vectors of the call.

        Args:
            query: Query vector (dim,).
            vectors: Stored vectors (m, dim).
            positions: Positions (n,) of the vectors to score. Default: all.

        Returns:
            Scores (n,). Euclidean scores are negative distances.
        """
        from twofold import _similarity_kernels as kernels

        point = query.astype(np.float64)
        positions = positions if positions is not None else np.arange(len(vectors))
        if self is Metric.EUCLIDEAN:
            return np.asarray(-kernels.distances(point, vectors, positions))
        if self is Metric.DOT:
            return np.asarray(kernels.products(point, vectors, positions))
        cosines = kernels.cosines(point, vectors, positions) / np.sqrt(point @ point)
        return np.asarray(np.clip(cosines, -1.0, 1.0))

    def error_bound(self, dim: int, query_length: float, max_length: float) -> float:
        """Return an upper bound on the rounding error of a score that is computed in float32.

        This is gamma_n of Higham (Accuracy and Stability of Numerical Algorithms, section 3.1),
        doubled to cover the rounding of the inputs. It holds for any order of summation. For
        Euclidean it bounds the squared distance. ``query_length`` is the L2 norm of the query
        vector, ``max_length`` the largest of the stored vectors.
        """
        gamma = 2 * (dim + 8) * _FLOAT32_EPS
        if self is Metric.EUCLIDEAN:
            return gamma * (query_length + max_length) ** 2
        return gamma * query_length * max_length
