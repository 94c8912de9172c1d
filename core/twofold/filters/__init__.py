"""Metadata filters: parsed once, evaluated on typed columns into one mask for both legs."""

from twofold.filters.columns import ColumnSegment
from twofold.filters.evaluate import match_rows
from twofold.filters.mismatches import find_mismatches, type_name
from twofold.filters.parser import Filter, parse_filter

__all__ = [
    "ColumnSegment",
    "Filter",
    "find_mismatches",
    "match_rows",
    "parse_filter",
    "type_name",
]
