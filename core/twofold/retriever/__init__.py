"""The retriever: text in, hits out."""

from twofold.retriever.pool import DEPTH, Pool
from twofold.retriever.retriever import SPLIT, Retriever

__all__ = ["DEPTH", "SPLIT", "Pool", "Retriever"]
