"""Conversion of LlamaIndex metadata filters to twofold's ``where``."""

from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.vector_stores import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)

from twofold.integrations import as_ids

Filters = MetadataFilters | Mapping[str, Any] | None
"""LlamaIndex filters, or a ``where``, twofold's filter syntax."""

_OPERATORS = {
    FilterOperator.EQ: "$eq",
    FilterOperator.NE: "$ne",
    FilterOperator.GT: "$gt",
    FilterOperator.GTE: "$gte",
    FilterOperator.LT: "$lt",
    FilterOperator.LTE: "$lte",
    FilterOperator.IN: "$in",
    FilterOperator.NIN: "$nin",
    FilterOperator.TEXT_MATCH: "$text",
    FilterOperator.TEXT_MATCH_INSENSITIVE: "$itext",
}
_MATCH_NOTHING: Mapping[str, Any] = {"$not": {}}


def as_where(filters: Filters) -> Mapping[str, Any] | None:
    """Convert filters to a ``where``; None and an empty list match everything.

    The meaning is that of LlamaIndex's ``build_metadata_filter_fn``, with two differences: nested
    filters work, and values of different types don't match instead of raising TypeError. A
    ``where`` is returned unchanged. Raises TypeError for any other value.
    """
    if filters is None or isinstance(filters, Mapping):
        return filters
    if not isinstance(filters, MetadataFilters):
        raise TypeError(
            "filters must be MetadataFilters or a mapping such as {'year': {'$gte': 2019}}, got "
            f"{filters!r:.80}"
        )
    if not filters.filters:
        return None
    parts = [_convert(part) for part in filters.filters]
    if filters.condition is FilterCondition.OR:
        return {"$or": parts}
    if filters.condition is FilterCondition.NOT:  # none of them matches
        return {"$not": {"$or": parts}}
    return {"$and": parts}


def restrict_where(
    filters: Filters,
    *,
    ids: Sequence[str] | None = None,
    documents: Sequence[str] | None = None,
    where: Mapping[str, Any] | None = None,
) -> Mapping[str, Any] | None:
    """Return ``filters`` that also require ``where``, and one of the node or document ids."""
    parts = [where, as_where(filters)]
    if ids is not None:
        parts.append({"$id": {"$in": as_ids(ids)}})
    if documents is not None:
        parts.append({"ref_doc_id": {"$in": as_ids(documents)}})
    present = [part for part in parts if part is not None]
    return {"$and": present} if len(present) > 1 else next(iter(present), None)


def _convert(part: MetadataFilter | MetadataFilters) -> Mapping[str, Any]:
    if isinstance(part, MetadataFilters):
        where = as_where(part)
        return where if where is not None else {}
    if part.operator is FilterOperator.IS_EMPTY:
        return {part.key: {"$empty": True}}
    if part.operator is FilterOperator.CONTAINS:
        return _contains(part.key, part.value)
    if part.operator in (FilterOperator.ANY, FilterOperator.ALL):
        values = part.value if isinstance(part.value, list) else [part.value]
        matches_all = part.operator is FilterOperator.ALL
        if not values:
            return {part.key: {"$exists": True}} if matches_all else _MATCH_NOTHING
        return {"$and" if matches_all else "$or": [_contains(part.key, value) for value in values]}
    return {part.key: {_OPERATORS[part.operator]: part.value}}


def _contains(key: str, value: Any) -> Mapping[str, Any]:
    """Return a condition that a list has an element, or a string a substring."""
    element = {key: {"$contains": value}}
    return {"$or": [element, {key: {"$text": value}}]} if isinstance(value, str) else element
