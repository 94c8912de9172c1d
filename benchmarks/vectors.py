"""Vectors for the benchmarks: clusters drawn by a seeded generator, block by block."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Block = NDArray[np.float32]
CLUSTER = 1000
"""Vectors a cluster, on average."""
SPREAD = 0.8
"""Length of the noise around a centre of unit length: neighbours have a cosine of about .6."""


def clustered(count: int, dim: int, *, block: int, seed: int = 0) -> Iterator[Block]:
    """Yield ``count`` unit vectors, (block, dim) at a time, around seeded centres."""
    centres = _centres(count, dim, seed)
    for number, start in enumerate(range(0, count, block)):
        rng = np.random.default_rng([seed, 1, number])
        yield _around(centres, min(block, count - start), rng)


def clustered_queries(count: int, dim: int, *, of: int, seed: int = 0) -> Block:
    """Return ``count`` more vectors around the centres of ``of`` vectors."""
    return _around(_centres(of, dim, seed), count, np.random.default_rng([seed, 2]))


def _centres(count: int, dim: int, seed: int) -> Block:
    rng = np.random.default_rng([seed, 0])
    return _unit(rng.standard_normal((max(count // CLUSTER, 16), dim), dtype=np.float32))


def _around(centres: Block, count: int, rng: np.random.Generator) -> Block:
    dim = centres.shape[1]
    out = rng.standard_normal((count, dim), dtype=np.float32)
    out *= SPREAD / np.sqrt(dim)
    out += centres[rng.integers(0, len(centres), count)]
    return _unit(out)


def _unit(vectors: Block) -> Block:
    out: Block = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return out
