"""Metadata values as typed numbers: a kind, a float and a string code. Types never mix."""

import json
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from twofold.types import PAYLOAD

EXACT = 1 << 53
"""Integers up to this size are exact as floats."""


class Kind(IntEnum):
    """The type of a stored value."""

    NULL = 1
    BOOL = 2
    NUMBER = 3
    BIG = 4
    STRING = 5
    LIST = 6
    OBJECT = 7


def typed(value: Any) -> tuple[Kind, float, str]:
    """Return a JSON value's kind, number (0.0 if it has none) and string ("" if it has none).

    An integer beyond 2**53 keeps its digits as string, so that equality stays exact; lists and
    objects keep their JSON.
    """
    if value is None:
        return Kind.NULL, 0.0, ""
    if isinstance(value, bool):
        return Kind.BOOL, float(value), ""
    if isinstance(value, str):
        return Kind.STRING, 0.0, value
    if isinstance(value, int | float):
        if isinstance(value, float) and not value.is_integer():
            return Kind.NUMBER, value, ""
        if abs(value) <= EXACT:
            return Kind.NUMBER, float(value), ""
        return Kind.BIG, nearest_float(int(value)), str(int(value))
    kind = Kind.OBJECT if isinstance(value, dict) else Kind.LIST
    return kind, 0.0, json.dumps(_canonical(value), ensure_ascii=False, sort_keys=True)


def _canonical(value: Any) -> Any:
    """Return a JSON value in which equal numbers are written alike: 1.0 as 1."""
    if isinstance(value, dict):
        return {name: _canonical(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(inner) for inner in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def nearest_float(value: int) -> float:
    """Return ``value`` as float; infinity with its sign where it is too large."""
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def flattened(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields to filter by, those of nested objects under dotted names too."""
    fields = {name: value for name, value in metadata.items() if name != PAYLOAD}
    out: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            for inner, leaf in flattened(value).items():
                out.setdefault(f"{name}.{inner}", leaf)
    return {**out, **fields}
