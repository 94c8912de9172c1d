"""The dense leg: stored vectors, searched by FAISS."""

from twofold.dense.flat import FlatIndex, VectorPart, check_vectors

__all__ = ["FlatIndex", "VectorPart", "check_vectors"]
