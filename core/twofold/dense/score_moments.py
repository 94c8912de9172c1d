"""Mean and standard deviation of a query's scores over all vectors, without scoring them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from twofold.dense.vector_block import VectorBlock
from twofold.similarity import Metric
from twofold.types import Moments, Vectors

_CHUNK_ROWS = 8_192  # vectors widened to float64 at once: 25 MB at 384 dimensions
_MAX_REMOVED = 1e3
"""Removed over remaining products above which rounding errors are worth a recount."""
_ROUNDING = 1e-14  # share of the greatest possible variance below which the variance is 0

_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class VectorMoments:
    """Sums over vectors that give the moments of any query's scores.

    The mean of the scores q.v is q.mu, and their variance q'Sq with the covariance S. Cosine takes
    unit vectors. Euclidean appends |v|^2 to each vector, which makes the squared distance linear.
    ``origin`` (dim,) is subtracted from all vectors, to keep digits; ``total`` and ``products`` are
    the sums of the vectors and of their outer products; ``removed`` is the trace of all products
    ever subtracted. ``exact`` is False for a sample.
    """

    metric: Metric
    origin: _Floats
    count: int
    total: _Floats
    products: _Floats
    removed: float = 0.0
    exact: bool = True

    @classmethod
    def from_blocks(
        cls, metric: Metric, dim: int, blocks: Sequence[VectorBlock], *, exact: bool = True
    ) -> "VectorMoments":
        """Return the moments of all live vectors of some blocks."""
        chunks = (chunk for block in blocks for _, chunk, _ in block.chunks(block.live))
        size = dim + 1 if metric is Metric.EUCLIDEAN else dim
        empty = cls(metric, np.zeros(dim), 0, np.zeros(size), np.zeros((size, size)), exact=exact)
        return empty._update(chunks, 1)

    def plus(self, vectors: Vectors) -> "VectorMoments":
        """Return the moments with more vectors (n, dim)."""
        return self._update([vectors], 1)

    def minus(self, vectors: Vectors) -> "VectorMoments":
        """Return the moments without these vectors (n, dim), which are among them."""
        return self._update([vectors], -1)

    @property
    def is_worn(self) -> bool:
        """Whether so much was subtracted that rounding errors matter."""
        return self.removed > _MAX_REMOVED * float(np.trace(self.products))

    def scores(self, query: Vectors) -> Moments:
        """Return the mean and population standard deviation of the scores for one query (dim,).

        Euclidean moments follow from those of the squared distance by the delta method, so they
        are not exact. Both are 0 without vectors.
        """
        if self.count == 0:
            return Moments(0.0, 0.0)
        point = query.astype(np.float64)
        if self.metric is Metric.COSINE:
            point /= math.sqrt(float(point @ point))
        if self.metric is not Metric.EUCLIDEAN:
            mean, variance = self._along(point)
            return Moments(mean + float(point @ self.origin), math.sqrt(variance), self.exact)
        gap = point - self.origin  # |q - v|^2 = |gap|^2 - 2 gap.(v - origin) + |v - origin|^2
        mean, variance = self._along(np.append(-2 * gap, 1.0))
        mean += float(gap @ gap)
        if mean <= 0:
            return Moments(0.0, 0.0)
        root = math.sqrt(mean)
        distance = max(root - variance / (8 * mean * root), 0.0)
        return Moments(-distance, math.sqrt(variance) / (2 * root), exact=False)

    def _along(self, direction: _Floats) -> tuple[float, float]:
        """Return mean and variance of the stored vectors' dot products with one vector."""
        mean = float(direction @ self.total) / self.count
        variance = float(direction @ self.products @ direction) / self.count - mean * mean
        most = float(direction @ direction) * float(np.trace(self.products)) / self.count
        return mean, variance if variance > _ROUNDING * most else 0.0

    def _update(self, blocks: Iterable[Vectors], sign: int) -> "VectorMoments":
        """Return the moments after adding (sign 1) or removing (-1) vectors."""
        origin, count = self.origin, self.count
        total, products = self.total.copy(), self.products.copy()
        for block in blocks:
            for start in range(0, len(block), _CHUNK_ROWS):
                wide = block[start : start + _CHUNK_ROWS].astype(np.float64)
                if self.metric is Metric.COSINE:
                    wide /= np.sqrt(np.einsum("ij,ij->i", wide, wide))[:, None]
                if count == 0:  # differences keep their digits where all vectors are far off
                    origin = wide[0].copy()
                wide -= origin
                if self.metric is Metric.EUCLIDEAN:
                    wide = np.column_stack([wide, np.einsum("ij,ij->i", wide, wide)])
                total += sign * wide.sum(axis=0)
                products += sign * (wide.T @ wide)
                count += sign * len(wide)
        removed = self.removed
        if sign < 0:
            removed += max(float(np.trace(self.products) - np.trace(products)), 0.0)
        return replace(
            self, origin=origin, count=count, total=total, products=products, removed=removed
        )
