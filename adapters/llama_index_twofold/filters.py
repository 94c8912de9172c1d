"""LlamaIndex's metadata filters as twofold's ``where``."""

from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.vector_stores import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)

Filters = MetadataFilters | Mapping[str, Any] | None
"""LlamaIndex's filters, or twofold's own ``where``."""

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


def as_where(filters: Filters) -> Mapping[str, Any] | None:
    """Return filters, nested ones too, as a ``where``; None and an empty list let all through.

    They mean what ``build_metadata_filter_fn`` of LlamaIndex says, but for two things: nested ones
    work, and values of different types don't match where it raises TypeError.
    """
    if filters is None or isinstance(filters, Mapping):
        return filters
    if not isinstance(filters, MetadataFilters):
        raise TypeError(
            f"filters are MetadataFilters or a mapping such as {{'year': {{'$gte': 2019}}}}, not "
            f"{filters!r:.80}"
        )
    if not filters.filters:
        return None
    parts = [_part(each) for each in filters.filters]
    if filters.condition is FilterCondition.OR:
        return {"$or": parts}
    if filters.condition is FilterCondition.NOT:  # none of them matches
        return {"$not": {"$or": parts}}
    return {"$and": parts}


def restricted(
    filters: Filters, *, ids: Sequence[str] | None = None, documents: Sequence[str] | None = None
) -> Mapping[str, Any] | None:
    """Return a ``where`` that also asks for these ids, and for nodes of these documents."""
    parts = [as_where(filters)]
    if ids is not None:
        parts.append({"$id": {"$in": list(ids)}})
    if documents is not None:
        parts.append({"ref_doc_id": {"$in": list(documents)}})
    given = [each for each in parts if each is not None]
    return {"$and": given} if len(given) > 1 else next(iter(given), None)


def _part(each: MetadataFilter | MetadataFilters) -> Mapping[str, Any]:
    if isinstance(each, MetadataFilters):
        where = as_where(each)
        return where if where is not None else {}
    if each.operator is FilterOperator.IS_EMPTY:
        return {each.key: {"$empty": True}}
    if each.operator is FilterOperator.CONTAINS:
        return _has(each.key, each.value)
    if each.operator in (FilterOperator.ANY, FilterOperator.ALL):
        values = each.value if isinstance(each.value, list) else [each.value]
        if not values:
            return (
                {each.key: {"$exists": True}} if each.operator is FilterOperator.ALL else _NOTHING
            )
        join = "$or" if each.operator is FilterOperator.ANY else "$and"
        return {join: [_has(each.key, value) for value in values]}
    return {each.key: {_OPERATORS[each.operator]: each.value}}


_NOTHING: Mapping[str, Any] = {"$not": {}}


def _has(key: str, value: Any) -> Mapping[str, Any]:
    """Return a condition on a list's elements, or on the text of a string, as LlamaIndex has it."""
    element = {key: {"$contains": value}}
    return {"$or": [element, {key: {"$text": value}}]} if isinstance(value, str) else element
