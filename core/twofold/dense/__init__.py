"""The dense leg: stored vectors, searched with FAISS."""

from twofold.dense.approximate import MAX_TAIL, ApproximateIndex
from twofold.dense.faiss_index import AnnStructure
from twofold.dense.flat import FlatIndex, float32_scores
from twofold.dense.index_types import (
    HNSW,
    IVF,
    IVFPQ,
    Auto,
    Flat,
    IndexType,
    OneBit,
    check_index_type,
    index_type_as_dict,
    index_type_from_dict,
    index_type_from_name,
    resolve_index_type,
)
from twofold.dense.passage_vectors import PassageVectors, Spans
from twofold.dense.score_moments import SampledMoments, VectorMoments
from twofold.dense.vector_block import VectorBlock

__all__ = [
    "HNSW",
    "IVF",
    "IVFPQ",
    "MAX_TAIL",
    "AnnStructure",
    "ApproximateIndex",
    "Auto",
    "Flat",
    "FlatIndex",
    "IndexType",
    "OneBit",
    "PassageVectors",
    "SampledMoments",
    "Spans",
    "VectorBlock",
    "VectorMoments",
    "check_index_type",
    "float32_scores",
    "index_type_as_dict",
    "index_type_from_dict",
    "index_type_from_name",
    "resolve_index_type",
]
