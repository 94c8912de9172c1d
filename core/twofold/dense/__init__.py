"""The dense leg: stored vectors, searched by FAISS."""

from twofold.dense.approximate import TAIL, ApproximateIndex, BuildPlan
from twofold.dense.faiss_index import AnnStructure
from twofold.dense.flat import FlatIndex, nearness
from twofold.dense.index_types import (
    HNSW,
    IVF,
    IVFPQ,
    Auto,
    Flat,
    IndexType,
    OneBit,
    as_dict,
    check_index_type,
    index_type_from_dict,
    index_type_from_name,
    resolved,
)
from twofold.dense.score_moments import VectorMoments
from twofold.dense.vector_block import VectorPart
from twofold.integrations.faiss_import import ImportedVectors, read_faiss_vectors
from twofold.validation import check_effort, check_vectors

__all__ = [
    "HNSW",
    "IVF",
    "IVFPQ",
    "TAIL",
    "AnnStructure",
    "ApproximateIndex",
    "Auto",
    "BuildPlan",
    "Flat",
    "FlatIndex",
    "ImportedVectors",
    "IndexType",
    "OneBit",
    "VectorMoments",
    "VectorPart",
    "as_dict",
    "check_effort",
    "check_index_type",
    "check_vectors",
    "index_type_from_dict",
    "index_type_from_name",
    "nearness",
    "read_faiss_vectors",
    "resolved",
]
