"""The filter dialect of langchain-community's FAISS store as twofold's ``where``."""

from collections.abc import Mapping
from typing import Any

_OPERATORS = {"$neq": "$ne"}
_SEQUENCES = (list, tuple, set, frozenset)


def where_of_faiss(filter: Mapping[str, Any] | None) -> dict[str, Any] | None:  # noqa: A002  # its name there
    """Return a filter for FAISS as a ``where``: a list means any of it, ``$neq`` not equal.

    All of a mapping's entries hold, where FAISS leaves those beside ``$and``, ``$or`` or ``$not``
    out. Operators that are unknown here too are refused by the query. Raises TypeError for a
    function, which can't be asked of an index.
    """
    if filter is None:
        return None
    if callable(filter):
        raise TypeError(
            "a function can't filter before the search: give conditions on metadata, such as "
            "{'year': {'$gte': 2019}}"
        )
    if not isinstance(filter, Mapping):
        raise TypeError(f"a filter is a mapping of metadata fields, not {filter!r:.80}")
    return {"$and": [_clause(name, value) for name, value in filter.items()]} if filter else {}


def _clause(name: str, value: Any) -> dict[str, Any]:
    if name in ("$and", "$or"):
        return {name: [where_of_faiss(part) for part in value]}
    if name == "$not":
        return {name: where_of_faiss(value)}
    if isinstance(value, Mapping):
        return {name: {_OPERATORS.get(op, op): operand for op, operand in value.items()}}
    return {name: {"$in": list(value)} if isinstance(value, _SEQUENCES) else value}
