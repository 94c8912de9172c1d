"""One Euclidean space for all metrics, so that each structure needs to know only one."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twofold.metrics import Metric
from twofold.types import Vectors

ALIGNED = 16
"""Dimensions are filled up with zeros to a multiple, for which FAISS has vector instructions."""


@dataclass(frozen=True, slots=True)
class Space:
    """Points whose squared distances order stored vectors as the metric does.

    Under the dot product a vector x becomes (x, sqrt(reach^2 - |x|^2)), ``reach`` being the
    greatest length, and a query (q, 0): Bachrach et al., Speeding Up the Xbox Recommender System
    Using a Euclidean Transformation for Inner-Product Spaces (RecSys 2014).
    """

    metric: Metric
    dim: int
    reach: float

    @property
    def width(self) -> int:
        """Dimensions of the points."""
        needed = self.dim + 1 if self.metric is Metric.DOT else self.dim
        return -(-needed // ALIGNED) * ALIGNED

    def points(self, vectors: Vectors, lengths: NDArray[np.float64]) -> Vectors:
        """Return stored vectors (n, dim) of these lengths as points, float32 (n, width)."""
        if self.width == self.dim:
            return np.ascontiguousarray(vectors)
        out = np.zeros((len(vectors), self.width), np.float32)
        out[:, : self.dim] = vectors
        if self.metric is Metric.DOT:
            out[:, self.dim] = np.sqrt(np.maximum(self.reach**2 - lengths**2, 0.0))
        return out

    def queries(self, queries: Vectors) -> Vectors:
        """Return prepared queries (n, dim) as points, float32 (n, width).

        Under the dot product they are brought to the length ``reach``, which changes no order and
        puts them among the vectors.
        """
        if self.width == self.dim:
            return np.ascontiguousarray(queries)
        out = np.zeros((len(queries), self.width), np.float32)
        out[:, : self.dim] = queries
        if self.metric is Metric.DOT:
            lengths = np.linalg.norm(queries.astype(np.float64), axis=1)
            out *= (self.reach / np.maximum(lengths, np.finfo(np.float64).tiny))[:, None]
        return out
