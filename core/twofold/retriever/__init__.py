"""The retriever: text in, hits out."""

from twofold.retriever.candidates import CandidateSet
from twofold.retriever.retriever import SPLIT, Retriever
from twofold.retriever.search_plan import DEPTH

__all__ = ["DEPTH", "SPLIT", "CandidateSet", "Retriever"]
