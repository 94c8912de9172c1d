"""Vector similarity: dot product, cosine, negative Euclidean distance. Higher is better in all."""

from enum import Enum

import numpy as np
from numpy.typing import NDArray

from twofold.errors import InputError, VectorError

FLOAT32_EPS = float(np.finfo(np.float32).eps)


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
        self,
        query: NDArray[np.float32],
        vectors: NDArray[np.float32],
        places: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float64]:
        """Return the exact scores, float64 (n,), of stored vectors for one query (dim,).

        These are ``vectors[places]``, or all of ``vectors`` (n, dim). A score depends on nothing
        but its two vectors. Euclidean gives the negative distance.
        """
        from twofold import _similarity_kernels as reductions

        point = query.astype(np.float64)
        places = places if places is not None else np.arange(len(vectors))
        if self is Metric.EUCLIDEAN:
            return np.asarray(-reductions.distances(point, vectors, places))
        if self is Metric.DOT:
            return np.asarray(reductions.products(point, vectors, places))
        cosines = reductions.cosines(point, vectors, places) / np.sqrt(point @ point)
        return np.asarray(np.clip(cosines, -1.0, 1.0))

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
