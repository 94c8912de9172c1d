"""Clustered random vectors for the benchmarks, drawn block by block from a seed."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Block = NDArray[np.float32]
CLUSTER = 1000
"""Mean vectors per cluster."""
SPREAD = 0.8
"""Length of the noise around a unit centroid: neighbors have a cosine of about 0.6."""


def draw_clustered_vectors(count: int, dim: int, *, block: int, seed: int = 0) -> Iterator[Block]:
    """Yield ``count`` unit vectors around seeded centroids, (block, dim) at a time."""
    centroids = _draw_centroids(count, dim, seed)
    for number, start in enumerate(range(0, count, block)):
        rng = np.random.default_rng([seed, 1, number])
        yield _draw_around(centroids, min(block, count - start), rng)


def draw_clustered_queries(count: int, dim: int, *, of: int, seed: int = 0) -> Block:
    """Return ``count`` more vectors around the centroids of a set of ``of`` vectors."""
    return _draw_around(_draw_centroids(of, dim, seed), count, np.random.default_rng([seed, 2]))


def _draw_centroids(count: int, dim: int, seed: int) -> Block:
    rng = np.random.default_rng([seed, 0])
    return _normalize(rng.standard_normal((max(count // CLUSTER, 16), dim), dtype=np.float32))


def _draw_around(centroids: Block, count: int, rng: np.random.Generator) -> Block:
    dim = centroids.shape[1]
    out = rng.standard_normal((count, dim), dtype=np.float32)
    out *= SPREAD / np.sqrt(dim)
    out += centroids[rng.integers(0, len(centroids), count)]
    return _normalize(out)


def _normalize(vectors: Block) -> Block:
    out: Block = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return out
