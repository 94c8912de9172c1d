"""The dense leg: stored vectors, searched by FAISS."""

from twofold.dense.approximate import ApproximateIndex
from twofold.dense.checking import check_effort, check_vectors
from twofold.dense.flat import FlatIndex
from twofold.dense.kinds import (
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
from twofold.dense.moments import VectorMoments
from twofold.dense.moved import MovedVectors, moved_vectors
from twofold.dense.neighbours import Neighbours
from twofold.dense.part import VectorPart
from twofold.dense.scanning import nearness
from twofold.dense.upkeep import TAIL, Piece

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
