"""Structured queries, as a model writes them for self-querying, in twofold's ``where``."""

from collections.abc import Mapping
from typing import Any

from langchain_core.structured_query import (
    Comparator,
    Comparison,
    Operation,
    Operator,
    StructuredQuery,
    Visitor,
)

from twofold.errors import FilterError

_COMPARATORS = {
    Comparator.EQ: "$eq",
    Comparator.NE: "$ne",
    Comparator.GT: "$gt",
    Comparator.GTE: "$gte",
    Comparator.LT: "$lt",
    Comparator.LTE: "$lte",
    Comparator.IN: "$in",
    Comparator.NIN: "$nin",
}


class TwofoldTranslator(Visitor):
    """What a SelfQueryRetriever needs: ``structured_query_translator=TwofoldTranslator()``.

    ``contain`` means an element of a list, or a part of a string; of several values, any. ``like``
    looks for its text anywhere in a field, in upper or lower case; what stands between signs % must
    all occur, in any order, and a whole number is looked for as a number too. Dates are compared as
    the strings that metadata holds, ISO 8601. An operation without arguments lets everything
    through.
    """

    allowed_operators = (Operator.AND, Operator.OR, Operator.NOT)
    allowed_comparators = (*_COMPARATORS, Comparator.CONTAIN, Comparator.LIKE)

    def visit_operation(self, operation: Operation) -> dict[str, Any]:
        """Return several conditions; ``not`` means that none of them holds."""
        self._validate_func(operation.operator)
        parts = [each.accept(self) for each in operation.arguments]
        if not parts:
            return {}
        if operation.operator is Operator.NOT:
            return {"$not": {"$or": parts}}
        return {f"${operation.operator.value}": parts}

    def visit_comparison(self, comparison: Comparison) -> dict[str, Any]:
        """Return one condition on a field; raise FilterError for a value that can't be asked."""
        self._validate_func(comparison.comparator)
        field, value = comparison.attribute, _plain(comparison.value)
        match comparison.comparator:
            case Comparator.CONTAIN:
                parts = [_contains(field, each) for each in _several(value)]
                return {"$or": parts} if parts else {field: {"$in": []}}
            case Comparator.LIKE:
                return _like(field, value)
            case Comparator.IN | Comparator.NIN:
                value = _several(value)
        return {field: {_COMPARATORS[comparison.comparator]: value}}

    def visit_structured_query(
        self, structured_query: StructuredQuery
    ) -> tuple[str, dict[str, Any]]:
        """Return the text to look for, and the search's keyword arguments."""
        if structured_query.filter is None:
            return structured_query.query, {}
        return structured_query.query, {"filter": structured_query.filter.accept(self)}


def _contains(field: str, value: Any) -> dict[str, Any]:
    """Return the condition that a list has an element, or a string a part."""
    element = {field: {"$contains": value}}
    return {"$or": [element, {field: {"$text": value}}]} if isinstance(value, str) else element


def _like(field: str, value: Any) -> dict[str, Any]:
    """Return the condition that a string has all parts of a pattern."""
    if isinstance(value, str):
        parts = [part for part in value.split("%") if part]
        return {"$and": [{field: {"$itext": part}} for part in parts or [""]]}
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return {"$or": [{field: value}, {field: {"$itext": str(value)}}]}
    raise FilterError(f"like on field {field!r} takes a text or a whole number, not {value!r:.80}")


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _plain(value: Any) -> Any:
    """Return a value without the type that a query's grammar adds to dates."""
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return value.get("date", value.get("datetime", value))
    return value
