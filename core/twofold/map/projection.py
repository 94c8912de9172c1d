"""Projects vectors to two dimensions by PCA or UMAP."""

import math
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from twofold.concurrency import limit_native_threads
from twofold.errors import InputError
from twofold.types import Mask, Vectors

Method = Literal["pca", "umap"]
METHODS: tuple[Method, ...] = get_args(Method)
Points = NDArray[np.float64]
"""Points in two dimensions (n, 2)."""
_NEIGHBORS = 15  # umap-learn's default
_MIN_UMAP = 4  # below, UMAP's spectral start has more dimensions than the graph has nodes
_ROUNDING = 1e-12  # a share of variance that is rounding error


Projection = tuple[Points, Points, tuple[float, float] | None]
"""The points of passages (n, 2) and queries (m, 2), and the axes' shares of the variance."""


def project(
    vectors: Vectors, fitted: Mask, queries: Vectors, method: Method, seed: int
) -> Projection:
    """Fit a projection to the ``fitted`` rows of ``vectors`` (n, dim); project all and ``queries``.

    ``queries`` (m, dim) affect the axes only if the passages vary along fewer than two axes. The
    offsets of the queries from the passages' mean then give the missing axes. Raises InputError if
    UMAP has fewer than 4 passages to fit to.
    """
    if method == "umap" and fitted.sum() < _MIN_UMAP:
        raise InputError(
            f"UMAP needs {_MIN_UMAP} passages with vectors, and there are {fitted.sum()}: pass "
            "method='pca'"
        )
    with limit_native_threads():
        if method == "pca" or not np.ptp(vectors[fitted], axis=0).any():
            return _project_pca(vectors, fitted, queries)
        return _project_umap(vectors, fitted, queries, seed)


def _project_pca(vectors: Vectors, fitted: Mask, queries: Vectors) -> Projection:
    """Principal component analysis (Hotelling, 1933), exact and deterministic."""
    wide = np.concatenate([vectors, queries]).astype(np.float64)
    known = wide[: len(vectors)][fitted]
    axes, shares = _principal_axes(known)
    offsets = wide - known.mean(axis=0)
    free = 2 - len(axes)
    if free:
        _, lengths, others = np.linalg.svd(offsets - offsets @ axes.T @ axes, full_matrices=False)
        others = others[lengths > _ROUNDING * max(1.0, math.sqrt(float((offsets**2).sum())))]
        axes = np.concatenate([axes, others[:free]])
        axes = np.concatenate([axes, np.zeros((2 - len(axes), wide.shape[1]))])
    points = offsets @ axes.T
    return points[: len(vectors)], points[len(vectors) :], shares


def _principal_axes(known: NDArray[np.float64]) -> tuple[Points, tuple[float, float] | None]:
    """Return the first a <= 2 principal axes (a, dim) of rows, and two shares of the variance."""
    from sklearn.decomposition import PCA

    if not np.ptp(known, axis=0).any():
        return np.empty((0, known.shape[1])), None
    fit = PCA(min(2, *known.shape), svd_solver="covariance_eigh").fit(known)
    ratios = fit.explained_variance_ratio_
    varying = ratios > _ROUNDING
    first, second = [*ratios[varying].tolist(), 0.0, 0.0][:2]
    return fit.components_[varying], (first, second)


def _project_umap(vectors: Vectors, fitted: Mask, queries: Vectors, seed: int) -> Projection:
    """Uniform manifold approximation and projection (McInnes, Healy and Melville, 2018)."""
    from umap import UMAP

    fit = UMAP(
        n_neighbors=min(_NEIGHBORS, int(fitted.sum()) - 1),
        random_state=seed,
        transform_seed=seed,
        n_jobs=1,  # a seed is repeatable with one thread only
    ).fit(vectors[fitted])
    points = np.empty((len(vectors), 2))
    points[fitted] = fit.embedding_
    others = np.concatenate([vectors[~fitted], queries])
    moved = fit.transform(others) if len(others) else np.empty((0, 2))
    points[~fitted] = moved[: len(others) - len(queries)]
    return points, moved[len(others) - len(queries) :].astype(np.float64), None
