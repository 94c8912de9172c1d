"""The filter dialect of langchain-community's FAISS store as twofold's ``where``."""

from collections.abc import Mapping
from typing import Any

from twofold.errors import FilterError

_OPERATORS = {"$neq": "$ne"}
_SEQUENCES = (list, tuple, set, frozenset)


def where_of_faiss(filter: Mapping[str, Any] | None) -> dict[str, Any] | None:  # noqa: A002  # its name there
    """Return a filter for FAISS as a ``where``: a list means any of it, ``$neq`` not equal.

    All of a mapping's entries hold, where FAISS leaves those beside ``$and``, ``$or`` or ``$not``
    out. Operators that are unknown here too are refused by the query. Raises FilterError for what
    is no filter, and TypeError for a function, which can't be asked of an index.
    """
    if filter is None:
        return None
    if callable(filter):
        raise TypeError(
            "a function can't filter before the search: give conditions on metadata, such as "
            "{'year': {'$gte': 2019}}"
        )
    if not isinstance(filter, Mapping):
        raise FilterError(f"a filter is a mapping of metadata fields, not {filter!r:.80}")
    return {"$and": [_clause(name, value) for name, value in filter.items()]} if filter else {}


def _clause(name: str, value: Any) -> dict[str, Any]:
    """Return one entry; what is no list or mapping where one is wanted is refused by the core."""
    if name in ("$and", "$or"):
        parts = [_part(part) for part in value] if isinstance(value, _SEQUENCES) else value
        return {name: parts}
    if name == "$not":
        return {name: _part(value)}
    if isinstance(value, Mapping):
        return {name: _condition(value)}
    return {name: {"$in": list(value)} if isinstance(value, _SEQUENCES) else value}


def _part(given: Any) -> Any:
    return where_of_faiss(given) if isinstance(given, Mapping) else given


def _condition(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the operators on one field, those below a ``$not`` too."""
    return {
        _OPERATORS.get(op, op): _condition(operand)
        if op == "$not" and isinstance(operand, Mapping)
        else operand
        for op, operand in asked.items()
    }
