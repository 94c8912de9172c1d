"""Conversion of metadata values to JSON: one contract for every write and every filter.

JSON values are stored as they are: strings, finite numbers, booleans, None, lists, and dicts with
string keys. These types are converted, in metadata and in filters alike:

- ``datetime``, ``date``, ``time`` and ``numpy.datetime64`` to ISO 8601 strings
- a ``Decimal`` to a number: an integer if it is whole, else the nearest float
- an ``Enum`` to its value
- a ``UUID`` and a ``pathlib`` path to a string
- numpy numbers, booleans and strings to Python's
- tuples, sets and numpy arrays to lists, sets in sorted order

All other values are refused, so that no value comes back as something else.
"""

import json
import math
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

import numpy as np

from twofold.errors import PassageError

_DIGITS = 300  # of a Decimal that is stored as an integer
MAX_DEPTH = 100
"""Levels of nested lists and dicts that are stored. Some JSON parsers fail at a few hundred."""

_PLAIN = frozenset((str, int, float, bool, type(None)))
_SCALAR_KINDS = "biufU"  # numpy's booleans, numbers and strings
_TOO_DEEP = f"it contains itself, or more than {MAX_DEPTH} levels: pass fewer levels"
_FINITE = "pass a finite number or None, or leave the field out"
_OTHER_ADVICE = (
    "pass a string, a finite number, a boolean, None, a date, a list, or a dict with string keys"
)
_ADVICE: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (Decimal, _FINITE),
    ((bytes, bytearray, memoryview), "pass text, such as value.decode() or value.hex()"),
    ((timedelta, np.timedelta64), "pass a number, such as value.total_seconds()"),
    ((datetime, np.datetime64), "it is not a time: pass None, or leave the field out"),
    (np.ndarray, "pass a list, such as value.tolist()"),
)


def encode_metadata(metadata: Any, name: str) -> str:
    """Return the metadata of the passage ``name`` as JSON.

    Raises PassageError with the path of a value that has no JSON form.
    """
    if type(metadata) is dict and not metadata:
        return "{}"
    if not isinstance(metadata, dict):
        raise PassageError(
            f"passage {name}: metadata must be a dict with string keys, got {metadata!r:.60}"
        )
    try:
        if _has_string_keys(metadata, MAX_DEPTH):
            text = _ENCODER.encode(metadata)
            text.encode()
            return text
    except (TypeError, ValueError, RecursionError):
        pass  # found again below, with its path
    raise PassageError(f"passage {name}: {_describe_refused(metadata, 'metadata')}")


def find_json_problem(value: Any, name: str) -> str | None:
    """Return what keeps a parsed JSON value from being stored, None if nothing does.

    Strings with half a surrogate pair are no text, NaN and infinite numbers are no JSON, and
    values nested more than ``MAX_DEPTH`` deep can't be written again. ``name`` starts the path.
    """
    try:
        if _has_string_keys(value, MAX_DEPTH):
            _ENCODER.encode(value).encode()
            return None
    except (TypeError, ValueError, RecursionError):
        pass
    return _describe_refused(value, name)


def to_json_metadata(metadata: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the metadata of the passage ``name`` as it comes back; raise PassageError."""
    if all(
        type(v) in _PLAIN and (type(v) is not int or abs(v) < 1 << 63) for v in metadata.values()
    ):
        return metadata
    converted: dict[str, Any] = json.loads(encode_metadata(metadata, name))
    return converted


def to_json_value(value: Any) -> Any:
    """Return a value of a filter as it is stored; return a value without a JSON form unchanged."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, list | tuple):
        return [to_json_value(item) for item in value]
    if isinstance(value, set | frozenset):
        return [to_json_value(item) for item in _sort_set(value)]
    try:
        converted = _convert(value)
    except TypeError:
        return value
    return to_json_value(converted) if isinstance(converted, list) else converted


def advice_on(value: object) -> str:
    """Return what to pass instead of a value without a JSON form, "" for one of a JSON type."""
    if isinstance(value, float | np.floating):
        return "" if math.isfinite(value) else _FINITE
    if type(value) in _PLAIN or isinstance(value, list | tuple | dict | set | frozenset):
        return ""
    return next((advice for kind, advice in _ADVICE if isinstance(value, kind)), _OTHER_ADVICE)


def _convert(value: Any) -> Any:
    """Return an object that isn't JSON as JSON, its elements perhaps not; or raise TypeError."""
    if isinstance(value, Enum) and type(value.value) in {*_PLAIN, Decimal}:
        return value.value
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.kind == "M":
            return _datetime_to_text(value)
        if value.dtype.kind in _SCALAR_KINDS and value.dtype.char != "g":  # "g" is a long double
            return value.tolist()
    elif isinstance(value, date | time) and value == value:  # pandas' NaT isn't
        return value.isoformat()
    elif isinstance(value, UUID | PurePath):
        return str(value)
    elif isinstance(value, Decimal) and value.is_finite():
        return _decimal_to_number(value)
    elif isinstance(value, set | frozenset):
        return _sort_set(value)
    raise TypeError


def _decimal_to_number(value: Decimal) -> int | float:
    """Return a Decimal as JSON has numbers; raise TypeError for one beyond them."""
    if value.adjusted() < _DIGITS and value == value.to_integral_value():
        return int(value)
    number = float(value)
    if not math.isfinite(number):
        raise TypeError
    return number


def _sort_set(value: Any) -> list[Any]:
    """Return the elements of a set in an order that is always the same."""
    try:
        return sorted(value)
    except TypeError:
        return sorted(value, key=lambda item: (type(item).__name__, repr(item)))


def _datetime_to_text(value: Any) -> Any:
    """Return a ``numpy.datetime64`` as Python writes the same date or time; arrays as lists."""
    if value.ndim:
        return list(value)
    item = value.item()
    if isinstance(item, int):  # finer than Python's microseconds, or outside of its years
        short = value.astype("datetime64[us]")
        item = short.item() if short == value else item
    if item is None:  # NaT
        raise TypeError
    return item.isoformat() if isinstance(item, date) else str(value)


_ENCODER = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_convert
)


def _has_string_keys(value: Any, depth: int) -> bool:
    """Return whether all keys are strings, and at most ``depth`` containers are nested."""
    if isinstance(value, dict):
        return depth > 0 and all(
            isinstance(k, str) and (type(v) in _PLAIN or _has_string_keys(v, depth - 1))
            for k, v in value.items()
        )
    if isinstance(value, list | tuple | set | frozenset):
        return depth > 0 and all(
            type(item) in _PLAIN or _has_string_keys(item, depth - 1) for item in value
        )
    return True


def _find_refused(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    """Yield the path of each value without a JSON form, and the problem."""
    if isinstance(value, np.ndarray) and value.ndim and value.dtype.kind in _SCALAR_KINDS + "M":
        value = list(value)
    if isinstance(value, set | frozenset):
        value = _sort_set(value)
    if isinstance(value, dict | list | tuple) and not depth:
        yield path, _TOO_DEEP
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                yield path, f"its keys must be strings, got {key!r:.40}: pass {str(key)!r:.40}"
                continue
            inner = f"{path}[{json.dumps(key, ensure_ascii=not key.isprintable())}]"
            yield from _find_refused(key, f"the key of {inner}", depth)
            yield from _find_refused(item, inner, depth - 1)
    elif isinstance(value, list | tuple):
        for position, item in enumerate(value):
            yield from _find_refused(item, f"{path}[{position}]", depth - 1)
    else:
        try:
            _ENCODER.encode(value).encode()
        except UnicodeEncodeError:
            yield path, "it has half a surrogate pair: decode it with errors='replace'"
        except (TypeError, ValueError):
            given = f"got {_shorten(value)} of type {type(value).__name__}"
            yield path, f"{given}: {advice_on(value) or 'pass a string'}"


def _describe_refused(value: Any, name: str) -> str:
    """Return the path of the first part of a value without a JSON form, and the problem."""
    path, problem = next(_find_refused(value, name, MAX_DEPTH), (name, _TOO_DEEP))
    return f"{path:.300} can't be stored as JSON: {problem}"


def _shorten(value: object) -> str:
    """Return the start of a value's repr; Python has none for integers of many digits."""
    try:
        return f"{value!r:.60}"
    except ValueError:
        return "an integer of too many digits"
