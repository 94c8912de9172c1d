"""LlamaIndex's metadata filters as twofold's ``where``."""

from typing import Any

from llama_index.core.vector_stores import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)

_OPERATORS = {
    FilterOperator.EQ: "$eq",
    FilterOperator.NE: "$ne",
    FilterOperator.GT: "$gt",
    FilterOperator.GTE: "$gte",
    FilterOperator.LT: "$lt",
    FilterOperator.LTE: "$lte",
    FilterOperator.IN: "$in",
    FilterOperator.NIN: "$nin",
    FilterOperator.ANY: "$any",
    FilterOperator.ALL: "$all",
    FilterOperator.CONTAINS: "$contains",
    FilterOperator.TEXT_MATCH: "$text",
    FilterOperator.TEXT_MATCH_INSENSITIVE: "$itext",
}


def as_where(filters: MetadataFilters | None) -> dict[str, Any] | None:
    """Return filters, nested ones too, as a ``where``; None and an empty list let all through."""
    if filters is None or not filters.filters:
        return None
    parts = [_part(each) for each in filters.filters]
    if filters.condition is FilterCondition.OR:
        return {"$or": parts}
    if filters.condition is FilterCondition.NOT:  # none of them matches
        return {"$not": {"$or": parts}}
    return {"$and": parts}


def _part(each: MetadataFilter | MetadataFilters) -> dict[str, Any]:
    if isinstance(each, MetadataFilters):
        where = as_where(each)
        return where if where is not None else {}
    if each.operator is FilterOperator.IS_EMPTY:
        return {each.key: {"$empty": True}}
    return {each.key: {_OPERATORS[each.operator]: each.value}}
