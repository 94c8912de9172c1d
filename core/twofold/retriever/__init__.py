"""The retriever: text in, hits out."""

from twofold.retriever.pool import DEPTH, Pool
from twofold.retriever.retriever import Retriever

__all__ = ["DEPTH", "Pool", "Retriever"]
