"""Parses a ``where`` mapping into a tree of conditions."""

import math
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass
from enum import Enum
from typing import Any

from twofold.errors import FilterError
from twofold.limits import check_limit
from twofold.metadata import MAX_DEPTH, advice_on, to_json_value
from twofold.types import Where
from twofold.validation import did_you_mean


class Operator(str, Enum):
    """Operators of a condition. ``$ne``, ``$nin`` and ``$not`` become ``Not`` nodes."""

    EQ = "$eq"
    GT = "$gt"
    GTE = "$gte"
    LT = "$lt"
    LTE = "$lte"
    IN = "$in"
    EXISTS = "$exists"
    EMPTY = "$empty"
    CONTAINS = "$contains"
    ANY = "$any"
    ALL = "$all"
    TEXT = "$text"
    ITEXT = "$itext"


@dataclass(frozen=True, slots=True)
class Condition:
    """Compares one field with one value."""

    field: str
    operator: Operator
    value: Any


@dataclass(frozen=True, slots=True)
class Not:
    """Matches what ``part`` does not match, including passages without the field."""

    part: "Filter"


@dataclass(frozen=True, slots=True)
class And:
    """Matches what every part matches; everything if there are no parts."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Matches what at least one part matches."""

    parts: tuple["Filter", ...]


Filter = Condition | Not | And | Or
"""A parsed filter."""

ID = "$id"  # the field name that stands for the passage id
_ID_OPERATORS = ("$eq", "$ne", "$in", "$nin")
_NEGATED = {"$ne": Operator.EQ, "$nin": Operator.IN}
_FIELD_OPERATORS = (*(op.value for op in Operator), *_NEGATED, "$not")
_ORDERINGS = (Operator.GT, Operator.GTE, Operator.LT, Operator.LTE)
_LISTS = (Operator.IN, Operator.ANY, Operator.ALL)
_MAX_BITS = 10_000  # of the largest integer that is compared; Python can't print much larger ones


def parse_filter(where: Where) -> Filter:
    """Parse a ``where`` mapping into a tree of conditions.

    A bare value means ``$eq``. Several fields or operators are combined with ``$and``. Values are
    converted as in ``twofold.metadata``, so that a date finds what was stored as a date.

    Raises:
        FilterError: An operator is unknown, or an operand has the wrong type.
    """
    if isinstance(where, Mapping):
        _check_size(where)
    try:
        return _parse_mapping(where)
    except RecursionError:  # a list nested in lists
        raise FilterError("the filter is nested too deeply: use fewer levels") from None


def _check_size(where: Mapping[Any, Any]) -> None:
    """Raise FilterError for a filter of too many conditions or levels."""
    level: list[Any] = [where]
    count = 0
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for part in level:
            for name, value in part.items() if isinstance(part, Mapping) else ():
                if name in ("$and", "$or") and _is_sequence(value):
                    inner += value
                elif isinstance(value, Mapping):
                    inner.append(value)
                else:
                    count += 1
        size, advice = count + len(inner), "use $in for values of one field"
        check_limit("filter_conditions", size, "a filter", "conditions", advice, error=FilterError)
        if not inner:
            return
        level = inner
    raise FilterError(f"the filter is nested too deeply: use at most {MAX_DEPTH} levels")


def _parse_mapping(where: object) -> Filter:
    """Parse a filter whose size was checked."""
    if not isinstance(where, Mapping):
        raise FilterError(
            f"a filter must be a mapping such as {{'year': {{'$gte': 2019}}}}, got {where!r:.80}"
        )
    return _join([_parse_entry(name, value) for name, value in where.items()])


def _join(parts: list[Filter]) -> Filter:
    """Return what every part matches."""
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def _unite(parts: list[Filter]) -> Filter:
    """Return what at least one part matches; conditions of equality on a field become one."""
    values: dict[str, list[Any]] = {}
    others: list[Filter] = []
    for part in parts:
        if isinstance(part, Condition) and part.operator in (Operator.EQ, Operator.IN):
            several = part.operator is Operator.IN
            values.setdefault(part.field, []).extend(part.value if several else (part.value,))
        else:
            others.append(part)
    if len(values) + len(others) == len(parts):
        return Or(tuple(parts))
    united = [Condition(field, Operator.IN, found) for field, found in values.items()]
    return Or((*united, *others))


def _parse_entry(name: object, value: Any) -> Filter:
    """Parse one entry of a filter."""
    if not isinstance(name, str):
        raise FilterError(f"field names of a filter must be strings, got {name!r}")
    if name in ("$and", "$or"):
        if not _is_sequence(value) or not value:
            raise FilterError(f"{name} takes a list of at least one filter, got {value!r:.80}")
        parts = [_parse_mapping(part) for part in value]
        return _join(parts) if name == "$and" else _unite(parts)
    if name == "$not":
        return Not(_parse_mapping(value))
    if name == ID:
        return _parse_id(value)
    if name.startswith("$"):
        raise _unknown_operator(name, ("$and", "$or", "$not", ID), "instead of a field name")
    if isinstance(value, Mapping):
        if not value:
            raise FilterError(f"field {name!r} has an empty filter: pass an operator or a value")
        return _join([_parse_condition(name, key, operand) for key, operand in value.items()])
    return _parse_condition(name, Operator.EQ.value, value)


def _parse_id(value: Any) -> Filter:
    """Parse a filter on the passage id."""
    conditions = value if isinstance(value, Mapping) else {"$eq": value}
    if not conditions:
        raise FilterError(f"field {ID!r} has an empty filter: pass an operator or an id")
    for name, operand in conditions.items():
        if name not in _ID_OPERATORS:
            raise _unknown_operator(str(name), _ID_OPERATORS, f"on {ID}")
        several = name in ("$in", "$nin") and isinstance(operand, list | tuple | set | frozenset)
        for id_ in operand if several else [operand]:
            if not isinstance(id_, str) or any("\ud800" <= char <= "\udfff" for char in id_):
                raise FilterError(
                    f"{name} on {ID} takes ids, which are strings of valid Unicode, got {id_!r:.80}"
                )
    return _join([_parse_condition(ID, name, operand) for name, operand in conditions.items()])


def _parse_condition(field: str, name: object, operand: Any) -> Filter:
    """Parse one operator on a field; raise FilterError if the operand has the wrong type."""
    if name == "$not":
        if not isinstance(operand, Mapping):
            raise FilterError(
                f"$not on field {field!r} takes a mapping of operators, got {operand!r:.80}"
            )
        return Not(_parse_entry(field, operand))
    if name in _NEGATED:
        return Not(_parse_condition(field, _NEGATED[str(name)], operand))
    if name not in _FIELD_OPERATORS:
        raise _unknown_operator(str(name), _FIELD_OPERATORS, f"on field {field!r}")
    operator = Operator(name)
    if isinstance(operand, Sized) and not isinstance(operand, str):
        _check_length(operator, field, operand)
    operand = to_json_value(operand)
    is_valid, description = _OPERANDS[operator]
    if not is_valid(operand):
        advice = f": {advice}" if (advice := advice_on(operand)) else ""
        raise FilterError(
            f"{operator.value} on field {field!r} takes {description}, got {_shorten(operand)}"
            f"{advice}"
        )
    return Condition(field, operator, operand)


def _check_length(operator: Operator, field: str, operand: Sized) -> None:
    """Raise FilterError for a list of too many values."""
    try:
        length = len(operand)
    except TypeError:  # a scalar of numpy
        return
    check_limit(
        "filter_values",
        length,
        f"{operator.value} on field {field!r}",
        "values",
        "pass fewer values",
        error=FilterError,
    )


def _is_sequence(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _shorten(value: object) -> str:
    """Return the start of a value's repr; Python has none for integers of many digits."""
    try:
        return f"{value!r:.80}"
    except ValueError:
        return f"a value with an integer of more than {_MAX_BITS:,} bits"


def _unknown_operator(name: str, known: Sequence[str], place: str) -> FilterError:
    listed = ", ".join(sorted(known)) + did_you_mean(name, known)
    return FilterError(f"unknown operator {name!r} {place}: use one of {listed}")


def _is_ordered(value: object) -> bool:
    """Return whether ``value`` is a string or a number that can be ordered."""
    if isinstance(value, float):
        return not math.isnan(value)
    return isinstance(value, int | str) and not isinstance(value, bool)


def _is_scalar(value: object) -> bool:
    """Return whether ``value`` can be compared with one field value."""
    if isinstance(value, int):
        return value.bit_length() <= _MAX_BITS
    if isinstance(value, float):
        return not math.isnan(value)
    return value is None or isinstance(value, str)


def _is_list(value: object) -> bool:
    """Return whether ``value`` is a list of comparable values."""
    return isinstance(value, list | tuple) and all(
        _is_scalar(item) or _is_list(item) for item in value
    )


def _is_string(value: object) -> bool:
    return isinstance(value, str)


_OPERANDS: dict[Operator, tuple[Callable[[Any], bool], str]] = {
    Operator.EQ: (lambda value: _is_scalar(value) or _is_list(value), "a value or a list"),
    **dict.fromkeys(_ORDERINGS, (_is_ordered, "a number or a string")),
    **dict.fromkeys(_LISTS, (_is_list, "a list of strings, numbers, booleans or None")),
    **dict.fromkeys(
        (Operator.EXISTS, Operator.EMPTY),
        (lambda value: isinstance(value, bool), "True or False"),
    ),
    Operator.CONTAINS: (_is_scalar, "a string, a number, a boolean or None"),
    **dict.fromkeys((Operator.TEXT, Operator.ITEXT), (_is_string, "a string")),
}
