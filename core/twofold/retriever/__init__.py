"""Retrieval: options, the stages of a search, and why a passage is not among the hits."""

from twofold.retriever.retriever import Retriever
from twofold.retriever.search_plan import DEPTH, SearchOptions, SearchPlan, plan_search

__all__ = ["DEPTH", "Retriever", "SearchOptions", "SearchPlan", "plan_search"]
