"""Retrieval: options, the way of a query, and why a passage is missing."""

from twofold.retriever.retriever import Retriever
from twofold.retriever.search_plan import DEPTH, SearchOptions, SearchPlan, plan_search

__all__ = ["DEPTH", "Retriever", "SearchOptions", "SearchPlan", "plan_search"]
