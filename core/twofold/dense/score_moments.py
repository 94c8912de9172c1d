"""Mean and deviation of a query's scores over all vectors, from sums that no query changes."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from twofold.dense.vector_block import VectorPart
from twofold.similarity import Metric
from twofold.types import Moments, Vectors

_STEP = 8_192
"""Vectors widened to float64 at once: 25 MB at 384 dimensions."""
_WORN = 1e3
"""Times what is left that may have been taken off before rounding is worth another reading."""
_ROUNDING = 1e-14
"""Part of the greatest possible variance below which there is none."""

_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class VectorMoments:
    """The count, sum and sum of outer products of vectors, less an ``origin`` among them (dim,).

    The mean of the scores q.v is q.mu, and their variance q'Sq with the covariance S. Cosine takes
    the vectors at unit length; Euclidean appends |v|^2 to each (dim + 1), which makes the squared
    distance as linear as a product. ``taken`` is the trace of all products ever taken off. Not
    ``exact``: of a sample.
    """

    metric: Metric
    origin: _Floats
    count: int
    total: _Floats
    products: _Floats
    taken: float = 0.0
    exact: bool = True

    @classmethod
    def of(
        cls, metric: Metric, dim: int, parts: Sequence[VectorPart], *, exact: bool = True
    ) -> "VectorMoments":
        """Return the moments of all live vectors of some parts, read block by block."""
        blocks = (each for part in parts for _, each, _ in part.chunks(part.live))
        size = dim + 1 if metric is Metric.EUCLIDEAN else dim
        empty = cls(metric, np.zeros(dim), 0, np.zeros(size), np.zeros((size, size)), exact=exact)
        return empty._changed(blocks, 1)

    def plus(self, vectors: Vectors) -> "VectorMoments":
        """Return the moments of these vectors (n, dim) too."""
        return self._changed([vectors], 1)

    def minus(self, vectors: Vectors) -> "VectorMoments":
        """Return the moments without these vectors (n, dim), which are among them."""
        return self._changed([vectors], -1)

    @property
    def worn(self) -> bool:
        """Whether so much was taken off that rounding shows in what is left."""
        return self.taken > _WORN * float(np.trace(self.products))

    def scores(self, query: Vectors) -> Moments:
        """Return mean and population deviation of the scores for one query (dim,) in metric form.

        Under Euclidean those of the distance follow from those of its square by the delta method,
        so they are not exact. Both are 0 without vectors.
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
        """Return mean and variance of the products with one direction."""
        mean = float(direction @ self.total) / self.count
        variance = float(direction @ self.products @ direction) / self.count - mean * mean
        most = float(direction @ direction) * float(np.trace(self.products)) / self.count
        return mean, variance if variance > _ROUNDING * most else 0.0

    def _changed(self, blocks: Iterable[Vectors], sign: int) -> "VectorMoments":
        origin, count = self.origin, self.count
        total, products = self.total.copy(), self.products.copy()
        for block in blocks:
            for start in range(0, len(block), _STEP):
                wide = self._widened(block[start : start + _STEP])
                if count == 0:  # differences lose no digits where all vectors are far off
                    origin = wide[0].copy()
                wide -= origin
                if self.metric is Metric.EUCLIDEAN:
                    wide = np.column_stack([wide, np.einsum("ij,ij->i", wide, wide)])
                total += sign * wide.sum(axis=0)
                products += sign * (wide.T @ wide)
                count += sign * len(wide)
        taken = self.taken
        if sign < 0:
            taken += max(float(np.trace(self.products) - np.trace(products)), 0.0)
        return replace(
            self, origin=origin, count=count, total=total, products=products, taken=taken
        )

    def _widened(self, vectors: Vectors) -> _Floats:
        wide = vectors.astype(np.float64)
        if self.metric is Metric.COSINE:
            wide /= np.sqrt(np.einsum("ij,ij->i", wide, wide))[:, None]
        return wide
