"""Vectors on a plane: PCA or UMAP of the passages, and everything else by the fitted transform."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from twofold.concurrency import limit_native_threads
from twofold.errors import InputError
from twofold.types import Mask, Vectors

Method = Literal["pca", "umap"]
METHODS: tuple[Method, ...] = get_args(Method)
Points = NDArray[np.float64]
"""Places on the plane (n, 2)."""

NEIGHBORS = 15  # umap-learn's default: how many neighbours make up what it calls local
FEWEST = 4  # below that, UMAP's spectral start has more dimensions than the graph has nodes
_NOTHING = 1e-12  # a share of variance that is rounding


@dataclass(frozen=True, slots=True)
class Projection:
    """Where passages (n, 2) and queries (m, 2) lie.

    ``shares`` are the parts of the variance along the two axes; None under UMAP, and where the
    fitted vectors don't vary.
    """

    passages: Points
    queries: Points
    shares: tuple[float, float] | None


def project(
    vectors: Vectors, fitted: Mask, queries: Vectors, method: Method, seed: int
) -> Projection:
    """Fit a plane to the ``fitted`` ones of ``vectors`` (n, dim), and put all of them on it.

    ``queries`` (m, dim) never have a say in where passages lie, unless the passages leave an axis
    free: two passages span a line, and then the queries' differences from it are the other axis.
    Raises InputError for UMAP of fewer than 4 passages.
    """
    if method == "umap" and fitted.sum() < FEWEST:
        raise InputError(
            f"UMAP needs {FEWEST} passages with vectors or more, and {fitted.sum()} are to be "
            "mapped: use method 'pca'"
        )
    with limit_native_threads():
        if method == "pca" or not np.ptp(vectors[fitted], axis=0).any():
            return _pca(vectors, fitted, queries)
        return _umap(vectors, fitted, queries, seed)


def _pca(vectors: Vectors, fitted: Mask, queries: Vectors) -> Projection:
    """Principal component analysis (Hotelling, 1933), exact and without a random start."""
    wide = np.concatenate([vectors, queries]).astype(np.float64)
    known = wide[: len(vectors)][fitted]
    axes, shares = _principal(known)
    offsets = wide - known.mean(axis=0)
    free = 2 - len(axes)
    if free:
        _, lengths, others = np.linalg.svd(offsets - offsets @ axes.T @ axes, full_matrices=False)
        others = others[lengths > _NOTHING * max(1.0, math.sqrt(float((offsets**2).sum())))]
        axes = np.concatenate([axes, others[:free]])
        axes = np.concatenate([axes, np.zeros((2 - len(axes), wide.shape[1]))])
    points = offsets @ axes.T
    return Projection(points[: len(vectors)], points[len(vectors) :], shares)


def _principal(known: NDArray[np.float64]) -> tuple[Points, tuple[float, float] | None]:
    """Return up to two axes (a, dim) along which rows vary, and their shares of the variance."""
    from sklearn.decomposition import PCA

    if not np.ptp(known, axis=0).any():
        return np.empty((0, known.shape[1])), None
    fit = PCA(min(2, *known.shape), svd_solver="covariance_eigh").fit(known)
    ratios = fit.explained_variance_ratio_
    kept = ratios > _NOTHING
    first, second = [*ratios[kept].tolist(), 0.0, 0.0][:2]
    return fit.components_[kept], (first, second)


def _umap(vectors: Vectors, fitted: Mask, queries: Vectors, seed: int) -> Projection:
    """Uniform manifold approximation and projection (McInnes, Healy and Melville, 2018)."""
    from umap import UMAP

    fit = UMAP(
        n_neighbors=min(NEIGHBORS, int(fitted.sum()) - 1),
        random_state=seed,
        transform_seed=seed,
        n_jobs=1,  # the only one that a seed makes repeatable
    ).fit(vectors[fitted])
    points = np.empty((len(vectors), 2))
    points[fitted] = fit.embedding_
    others = np.concatenate([vectors[~fitted], queries])
    moved = fit.transform(others) if len(others) else np.empty((0, 2))
    points[~fitted] = moved[: len(others) - len(queries)]
    return Projection(points, moved[len(others) - len(queries) :].astype(np.float64), None)
