"""Vectors of a FAISS index that others have filled."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from twofold.errors import InputError
from twofold.similarity import Metric
from twofold.types import Vectors

_METRICS = {0: Metric.DOT, 1: Metric.EUCLIDEAN}
"""FAISS's numbers of the inner product and of L2; its others have no twin here."""


@dataclass(frozen=True, slots=True)
class ImportedVectors:
    """Vectors (n, dim) as they came, FAISS's own numbers of them, and what it compares by."""

    ids: tuple[int, ...]
    vectors: Vectors
    metric: Metric


def read_faiss_vectors(index: Any) -> ImportedVectors:
    """Read a FAISS index, one with a map of ids too.

    Raises InputError for another metric than the inner product and L2, and where the index keeps
    codes (PQ, LSH and others), of which other vectors would come back than went in.
    """
    import faiss

    kind, metric = type(index).__name__, _METRICS.get(index.metric_type)
    if metric is None:
        raise InputError(
            f"{kind} compares by FAISS's metric {index.metric_type}: the inner product and L2 can "
            "be moved; index the texts anew"
        )
    ids = range(index.ntotal)
    if hasattr(index, "id_map"):
        ids = faiss.vector_to_array(index.id_map).tolist()
        index = faiss.downcast_index(index.index)
        kind = type(index).__name__
    if "Flat" not in kind:
        raise InputError(f"{kind} doesn't keep vectors as they came: index the texts anew")
    vectors = np.asarray(index.reconstruct_n(0, index.ntotal), np.float32)
    return ImportedVectors(tuple(ids), vectors, metric)
