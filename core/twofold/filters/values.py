"""Encodes metadata values as a type, a number and a string. Different types never match."""

import json
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from twofold.types import PAYLOAD

MAX_EXACT = 1 << 53  # integers up to this size are exact as floats


class ValueType(IntEnum):
    """The type of a stored value. ``BIG`` is an integer above ``MAX_EXACT``."""

    NULL = 1
    BOOL = 2
    NUMBER = 3
    BIG = 4
    STRING = 5
    LIST = 6
    OBJECT = 7


def encode_value(value: Any) -> tuple[ValueType, float, str]:
    """Return the type, number and string of a JSON value.

    The number is 0.0 and the string empty if the type has none. Integers above ``MAX_EXACT`` keep
    their digits as the string, so that equality is exact. Lists and objects have JSON as string.
    """
    if value is None:
        return ValueType.NULL, 0.0, ""
    if isinstance(value, bool):
        return ValueType.BOOL, float(value), ""
    if isinstance(value, str):
        return ValueType.STRING, 0.0, value
    if isinstance(value, int | float):
        if isinstance(value, float) and not value.is_integer():
            return ValueType.NUMBER, value, ""
        if abs(value) <= MAX_EXACT:
            return ValueType.NUMBER, float(value), ""
        return ValueType.BIG, nearest_float(int(value)), str(int(value))
    value_type = ValueType.OBJECT if isinstance(value, dict) else ValueType.LIST
    return value_type, 0.0, json.dumps(canonicalize(value), ensure_ascii=False, sort_keys=True)


def nearest_float(value: int) -> float:
    """Return ``value`` as a float, or signed infinity if it is too large."""
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def flatten_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that can be filtered on; nested fields are added under dotted names."""
    fields = {name: value for name, value in metadata.items() if name != PAYLOAD}
    nested: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            for inner, leaf in flatten_metadata(value).items():
                nested.setdefault(f"{name}.{inner}", leaf)
    return {**nested, **fields}


def canonicalize(value: Any) -> Any:
    """Return a JSON value in which equal numbers are written alike: 1.0 as 1."""
    if isinstance(value, dict):
        return {name: canonicalize(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [canonicalize(inner) for inner in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
