"""Conversion of FAISS filters and structured queries to twofold's ``where``."""

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
from twofold.metadata import to_json_value

_FAISS_OPERATORS = {"$neq": "$ne"}
_SEQUENCES = (list, tuple, set, frozenset)
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


def where_of_faiss(filter: Mapping[str, Any] | None) -> dict[str, Any] | None:  # noqa: A002  # its name there
    """Convert a filter of langchain-community's FAISS store to a ``where``.

    A list matches any of its values, and ``$neq`` means not equal. All entries of a mapping must
    hold; FAISS ignores entries next to ``$and``, ``$or`` or ``$not``. An empty ``$and`` matches
    everything, an empty ``$or`` nothing. Unknown operators are refused later, by the search. Raises
    TypeError for a function, which an index can't evaluate, and FilterError for other values that
    are not mappings.
    """
    if filter is None:
        return None
    if callable(filter):
        raise TypeError(
            "filter must be a mapping, got a function: pass conditions on metadata, such as "
            "{'year': {'$gte': 2019}}"
        )
    if not isinstance(filter, Mapping):
        raise FilterError(f"filter must be a mapping of metadata fields, got {filter!r:.80}")
    return {"$and": [_faiss_clause(*entry) for entry in filter.items()]} if filter else {}


def _faiss_clause(name: str, value: Any) -> dict[str, Any]:
    """Convert one filter entry. A value of a wrong type is unchanged; the search refuses it."""
    value = to_json_value(value)
    if name in ("$and", "$or") and isinstance(value, _SEQUENCES):
        if not value:  # all of none hold, and none of them does
            return {} if name == "$and" else {"$not": {}}
        return {name: list(map(_faiss_operand, value))}
    if name in ("$and", "$or"):
        return {name: value}
    if name == "$not":
        return {name: _faiss_operand(value)}
    if isinstance(value, Mapping):
        return {name: _faiss_condition(value)}
    return {name: {"$in": list(value)} if isinstance(value, _SEQUENCES) else value}


def _faiss_operand(operand: Any) -> Any:
    return where_of_faiss(operand) if isinstance(operand, Mapping) else operand


def _faiss_condition(condition: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the operators on one field, including those inside ``$not``."""
    return {
        _FAISS_OPERATORS.get(operator, operator): _faiss_condition(operand)
        if operator == "$not" and isinstance(operand, Mapping)
        else operand
        for operator, operand in condition.items()
    }


class TwofoldTranslator(Visitor):
    """Translates the structured queries of a ``SelfQueryRetriever`` to ``where`` filters.

    ``contain`` matches an element of a list or a substring; for several values, any of them.
    ``like`` is a case-insensitive substring match. The parts between ``%`` signs must all occur, in
    any order, and an integer also matches as a number. Dates compare as ISO 8601 strings. An
    operation without arguments matches everything.

    Example:
        >>> retriever = SelfQueryRetriever.from_llm(  # doctest: +SKIP
        ...     llm, store, "Papers", fields, structured_query_translator=TwofoldTranslator()
        ... )
    """

    allowed_operators = (Operator.AND, Operator.OR, Operator.NOT)
    allowed_comparators = (*_COMPARATORS, Comparator.CONTAIN, Comparator.LIKE)

    def visit_operation(self, operation: Operation) -> dict[str, Any]:
        """Translate a combination of conditions; ``not`` means that none of them holds."""
        self._validate_func(operation.operator)
        parts = [argument.accept(self) for argument in operation.arguments]
        if not parts:
            return {}
        if operation.operator is Operator.NOT:
            return {"$not": {"$or": parts}}
        return {f"${operation.operator.value}": parts}

    def visit_comparison(self, comparison: Comparison) -> dict[str, Any]:
        """Translate one condition. Raises FilterError for a value that ``like`` can't match."""
        self._validate_func(comparison.comparator)
        field, value = comparison.attribute, _plain_value(comparison.value)
        match comparison.comparator:
            case Comparator.CONTAIN:
                parts = [_contains(field, element) for element in _as_list(value)]
                return {"$or": parts} if parts else {field: {"$in": []}}
            case Comparator.LIKE:
                return _like(field, value)
            case Comparator.IN | Comparator.NIN:
                value = _as_list(value)
        return {field: {_COMPARATORS[comparison.comparator]: value}}

    def visit_structured_query(
        self, structured_query: StructuredQuery
    ) -> tuple[str, dict[str, Any]]:
        """Return the query text, and the keyword arguments of the search, such as ``filter``."""
        if structured_query.filter is None:
            return structured_query.query, {}
        return structured_query.query, {"filter": structured_query.filter.accept(self)}


def _contains(field: str, value: Any) -> dict[str, Any]:
    """Return a condition that a list has an element, or a string a substring."""
    element = {field: {"$contains": value}}
    return {"$or": [element, {field: {"$text": value}}]} if isinstance(value, str) else element


def _like(field: str, value: Any) -> dict[str, Any]:
    """Return a condition that a string contains all parts of a pattern."""
    if isinstance(value, str):
        parts = [part for part in value.split("%") if part]
        return {"$and": [{field: {"$itext": part}} for part in parts or [""]]}
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return {"$or": [{field: value}, {field: {"$itext": str(value)}}]}
    raise FilterError(f"like on field {field!r} takes a string or an integer, got {value!r:.80}")


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _plain_value(value: Any) -> Any:
    """Return a value without the type tag that the query grammar adds to dates."""
    if isinstance(value, list | tuple):
        return [_plain_value(element) for element in value]
    if isinstance(value, Mapping):
        return value.get("date", value.get("datetime", value))
    return value
