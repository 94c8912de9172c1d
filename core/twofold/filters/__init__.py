"""Filters on metadata, evaluated on typed columns into one bitmap for both legs."""

from twofold.filters.columns import ColumnSegment
from twofold.filters.evaluate import matching
from twofold.filters.parser import Node, parse

__all__ = ["ColumnSegment", "Node", "matching", "parse"]
