"""The dense leg: stored vectors, searched by FAISS."""

from twofold.dense.approximate import TAIL, ApproximateIndex, Piece
from twofold.dense.faiss_index import Neighbours
from twofold.dense.flat import FlatIndex, nearness
from twofold.dense.index_types import (
    HNSW,
    IVF,
    IVFPQ,
    Auto,
    Flat,
    Kind,
    OneBit,
    as_dict,
    check_kind,
    kind_named,
    kind_of,
    resolved,
)
from twofold.dense.score_moments import VectorMoments
from twofold.dense.vector_block import VectorPart
from twofold.integrations.faiss_import import MovedVectors, moved_vectors
from twofold.validation import check_effort, check_vectors

__all__ = [
    "HNSW",
    "IVF",
    "IVFPQ",
    "TAIL",
    "ApproximateIndex",
    "Auto",
    "Flat",
    "FlatIndex",
    "Kind",
    "MovedVectors",
    "Neighbours",
    "OneBit",
    "Piece",
    "VectorMoments",
    "VectorPart",
    "as_dict",
    "check_effort",
    "check_kind",
    "check_vectors",
    "kind_named",
    "kind_of",
    "moved_vectors",
    "nearness",
    "resolved",
]
