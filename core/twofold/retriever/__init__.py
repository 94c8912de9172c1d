"""The retriever: text in, hits out."""

from twofold.retriever.candidates import Pool
from twofold.retriever.retriever import SPLIT, Retriever
from twofold.retriever.search_plan import DEPTH

__all__ = ["DEPTH", "SPLIT", "Pool", "Retriever"]
