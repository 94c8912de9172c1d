"""Reads the stored vectors of a FAISS index, so that a framework's FAISS store can be imported."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from twofold.errors import InputError
from twofold.similarity import Metric
from twofold.types import Vectors

_METRICS = {0: Metric.DOT, 1: Metric.EUCLIDEAN}
"""FAISS's METRIC_INNER_PRODUCT and METRIC_L2; twofold has none of its other metrics."""


@dataclass(frozen=True, slots=True)
class ImportedVectors:
    """The content of a FAISS index.

    Attributes:
        ids: FAISS's number of each vector: its position, or its id in an ``IndexIDMap``.
        vectors: The vectors (n, dim), in the order of ``ids``.
        metric: The similarity that FAISS compares them by.
    """

    ids: tuple[int, ...]
    vectors: Vectors
    metric: Metric


def read_faiss_vectors(index: Any) -> ImportedVectors:
    """Read the vectors of a flat FAISS index, or of an ``IndexIDMap`` over one.

    Args:
        index: Any ``faiss.Index``, such as the ``.index`` of LangChain's FAISS store.

    Returns:
        The vectors with FAISS's number of each, and the metric.

    Raises:
        InputError: The index compares by another metric than the inner product or L2, or stores
            codes (PQ, LSH and others), which don't give back the original vectors.
    """
    import faiss

    name, metric = type(index).__name__, _METRICS.get(index.metric_type)
    if metric is None:
        raise InputError(
            f"{name} compares by FAISS's metric {index.metric_type}, and only the inner product "
            "and L2 can be imported: index the texts anew"
        )
    ids = range(index.ntotal)
    if hasattr(index, "id_map"):
        ids = faiss.vector_to_array(index.id_map).tolist()
        index = faiss.downcast_index(index.index)
        name = type(index).__name__
    if "Flat" not in name:
        raise InputError(f"{name} doesn't store the original vectors: index the texts anew")
    vectors = np.asarray(index.reconstruct_n(0, index.ntotal), np.float32)
    return ImportedVectors(tuple(ids), vectors, metric)
