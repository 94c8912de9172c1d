"""Mean and standard deviation of a query's scores over all vectors, without scoring them."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twofold.dense.passage_vectors import PassageVectors
from twofold.similarity import Metric
from twofold.types import Moments, Vectors

_CHUNK_ROWS = 8_192  # vectors widened to float64 at once: 25 MB at 384 dimensions
_ROUNDING = 1e-14  # share of the greatest possible variance below which the variance is 0

_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class VectorMoments:
    """First and second moments of vectors, which give the moments of any query's scores.

    The mean of the scores q.v is q.mu, and their variance q'Sq with the covariance S. Euclidean
    appends |v|^2 to each vector, which makes the squared distance linear. ``origin`` (dim,) is
    subtracted from all vectors, to keep digits. ``mean`` is the mean of these differences, and
    ``products`` the mean of their outer products.
    """

    metric: Metric
    origin: _Floats
    mean: _Floats
    products: _Floats

    @classmethod
    def from_vectors(cls, metric: Metric, vectors: Vectors) -> "VectorMoments":
        """Return the moments of one or more vectors (n, dim), none of length 0 under cosine."""
        origin = _widen(metric, vectors[:1])[0]
        size = len(origin) + (metric is Metric.EUCLIDEAN)
        total, products = np.zeros(size), np.zeros((size, size))
        for start in range(0, len(vectors), _CHUNK_ROWS):
            wide = _widen(metric, vectors[start : start + _CHUNK_ROWS]) - origin
            if metric is Metric.EUCLIDEAN:
                wide = np.column_stack([wide, np.einsum("ij,ij->i", wide, wide)])
            total += wide.sum(axis=0)
            products += wide.T @ wide
        return cls(metric, origin, total / len(vectors), products / len(vectors))

    def scores(self, query: Vectors) -> Moments:
        """Return the mean and population standard deviation of the scores for one query (dim,).

        Euclidean moments follow from those of the squared distance by the delta method, so they
        are not exact.
        """
        point = query.astype(np.float64)
        if self.metric is Metric.COSINE:
            point /= math.sqrt(float(point @ point))
        if self.metric is not Metric.EUCLIDEAN:
            mean, variance = self._along(point)
            return Moments(mean + float(point @ self.origin), math.sqrt(variance))
        gap = point - self.origin  # |q - v|^2 = |gap|^2 - 2 gap.(v - origin) + |v - origin|^2
        mean, variance = self._along(np.append(-2 * gap, 1.0))
        mean += float(gap @ gap)
        if mean <= 0:
            return Moments(0.0, 0.0)
        root = math.sqrt(mean)
        distance = max(root - variance / (8 * mean * root), 0.0)
        return Moments(-distance, math.sqrt(variance) / (2 * root))

    def _along(self, direction: _Floats) -> tuple[float, float]:
        """Return mean and variance of the differences' dot products with ``direction``."""
        mean = float(direction @ self.mean)
        variance = float(direction @ self.products @ direction) - mean * mean
        most = float(direction @ direction) * float(np.trace(self.products))
        return mean, variance if variance > _ROUNDING * most else 0.0


@dataclass(frozen=True, slots=True)
class SampledMoments:
    """Vectors of some passages, of which some have several, to score for each query.

    The best of several scores is not linear in the query, so that `VectorMoments` don't give it.
    ``starts`` is where each passage's vectors begin.
    """

    metric: Metric
    vectors: Vectors
    starts: NDArray[np.int64]

    @classmethod
    def from_passages(cls, metric: Metric, stored: PassageVectors) -> "SampledMoments":
        """Return the vectors of one or more passages."""
        return cls(metric, stored.vectors, np.flatnonzero(np.diff(stored.rows, prepend=-1)))

    def scores(self, query: Vectors) -> Moments:
        """Return the mean and population standard deviation of the scores for one query (dim,)."""
        scores = self.metric.score(query, self.vectors, np.arange(len(self.vectors)))
        best = np.maximum.reduceat(scores, self.starts)
        return Moments(float(best.mean()), float(best.std()))


def _widen(metric: Metric, vectors: Vectors) -> _Floats:
    """Return vectors in float64, of unit length under cosine."""
    wide = vectors.astype(np.float64)
    if metric is Metric.COSINE:
        wide /= np.sqrt(np.einsum("ij,ij->i", wide, wide))[:, None]
    return wide
