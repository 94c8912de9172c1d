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

_COMPARATORS = {
    Comparator.EQ: "$eq",
    Comparator.NE: "$ne",
    Comparator.GT: "$gt",
    Comparator.GTE: "$gte",
    Comparator.LT: "$lt",
    Comparator.LTE: "$lte",
    Comparator.CONTAIN: "$contains",
    Comparator.LIKE: "$itext",
    Comparator.IN: "$in",
    Comparator.NIN: "$nin",
}


class TwofoldTranslator(Visitor):
    """What a SelfQueryRetriever needs: ``structured_query_translator=TwofoldTranslator()``.

    ``like`` looks for its text anywhere in a field, in upper or lower case; the signs % at its
    ends are left out. Dates are compared as the strings that metadata holds, ISO 8601.
    """

    allowed_operators = (Operator.AND, Operator.OR, Operator.NOT)
    allowed_comparators = tuple(_COMPARATORS)

    def visit_operation(self, operation: Operation) -> dict[str, Any]:
        """Return several conditions; ``not`` means that none of them holds."""
        self._validate_func(operation.operator)
        parts = [each.accept(self) for each in operation.arguments]
        if operation.operator is Operator.NOT:
            return {"$not": {"$or": parts}}
        return {f"${operation.operator.value}": parts}

    def visit_comparison(self, comparison: Comparison) -> dict[str, Any]:
        """Return one condition on a field."""
        self._validate_func(comparison.comparator)
        value = _plain(comparison.value)
        if comparison.comparator is Comparator.LIKE and isinstance(value, str):
            value = value.strip("%")
        return {comparison.attribute: {_COMPARATORS[comparison.comparator]: value}}

    def visit_structured_query(
        self, structured_query: StructuredQuery
    ) -> tuple[str, dict[str, Any]]:
        """Return the text to look for, and the search's keyword arguments."""
        if structured_query.filter is None:
            return structured_query.query, {}
        return structured_query.query, {"filter": structured_query.filter.accept(self)}


def _plain(value: Any) -> Any:
    """Return a value without the type that a query's grammar adds to dates."""
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return value.get("date", value.get("datetime", value))
    return value
