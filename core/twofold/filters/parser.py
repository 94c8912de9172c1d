"""The filter language: a ``where`` mapping, checked and turned into a small tree."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from typing import Any

from twofold.errors import FilterError
from twofold.types import Where


class Operator(str, Enum):
    """What a condition asks of one field; negations are nodes of their own."""

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


_NEGATED = {"$ne": Operator.EQ, "$nin": Operator.IN}
_FIELD_OPERATORS = [*(op.value for op in Operator), *_NEGATED, "$not"]
_LISTS = (Operator.IN, Operator.ANY, Operator.ALL)


@dataclass(frozen=True, slots=True)
class Condition:
    """One field compared with one value."""

    field: str
    operator: Operator
    value: Any


@dataclass(frozen=True, slots=True)
class Not:
    """What ``part`` does not match, missing fields included."""

    part: "Node"


@dataclass(frozen=True, slots=True)
class All:
    """What every part matches; everything if there is no part."""

    parts: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Either:
    """What at least one part matches."""

    parts: tuple["Node", ...]


Node = Condition | Not | All | Either

ID = "$id"
"""The passage's own id, in the place of a field."""
_ID_OPERATORS = ("$eq", "$ne", "$in", "$nin")

_LONGEST = 10_000
"""Bits of the longest integer that is compared; Python prints no longer ones."""


def parse(where: Where) -> Node:
    """Return the tree of a filter.

    A bare value means ``$eq``; several fields or operators mean ``$and``. Raises FilterError for
    an unknown operator and for an operand of the wrong type.
    """
    if not isinstance(where, Mapping):
        raise FilterError(
            f"a filter is a mapping such as {{'year': {{'$gte': 2019}}}}, not {where!r:.80}"
        )
    return All(tuple(_clause(name, value) for name, value in where.items()))


def _clause(name: object, value: Any) -> Node:
    """Return the node of one entry of a filter."""
    if not isinstance(name, str):
        raise FilterError(f"a filter's field names are strings, not {name!r}")
    if name in ("$and", "$or"):
        if not isinstance(value, Sequence) or isinstance(value, str) or not value:
            raise FilterError(f"{name} takes a list of at least one filter, not {value!r:.80}")
        parts = tuple(parse(part) for part in value)
        return All(parts) if name == "$and" else Either(parts)
    if name == "$not":
        return Not(parse(value))
    if name == ID:
        return _identity(value)
    if name.startswith("$"):
        known = ["$and", "$or", "$not", ID]
        raise _unknown(name, known, "where a field name or $and, $or, $not, $id")
    if isinstance(value, Mapping):
        if not value:
            raise FilterError(f"field {name!r} has an empty filter: give an operator or a value")
        return All(tuple(_condition(name, key, operand) for key, operand in value.items()))
    return _condition(name, Operator.EQ.value, value)


def _identity(value: Any) -> Node:
    """Return the node of what is asked of a passage's id."""
    asked = value if isinstance(value, Mapping) else {"$eq": value}
    for name, operand in asked.items():
        if name not in _ID_OPERATORS:
            raise _unknown(str(name), list(_ID_OPERATORS), f"on {ID}")
        several = name in ("$in", "$nin") and isinstance(operand, list | tuple | set | frozenset)
        if not all(isinstance(each, str) for each in (operand if several else [operand])):
            raise FilterError(f"{name} on {ID} takes ids, which are strings, not {operand!r:.80}")
    return All(tuple(_condition(ID, name, operand) for name, operand in asked.items()))


def _condition(field: str, name: object, operand: Any) -> Node:
    """Return the node of one operator on a field."""
    if name == "$not":
        if not isinstance(operand, Mapping):
            raise FilterError(f"$not on field {field!r} takes operators, not {operand!r:.80}")
        return Not(_clause(field, operand))
    if name in _NEGATED:
        return Not(_checked(field, _NEGATED[str(name)], operand))
    if name not in _FIELD_OPERATORS:
        raise _unknown(str(name), _FIELD_OPERATORS, f"on field {field!r}")
    return _checked(field, Operator(name), operand)


def _checked(field: str, operator: Operator, operand: Any) -> Condition:
    """Return a condition whose operand has the type that its operator needs."""
    if operator in _LISTS and isinstance(operand, set | frozenset):
        operand = sorted(operand, key=repr)
    fits, wanted = _OPERANDS[operator]
    if not fits(operand):
        raise FilterError(
            f"{operator.value} on field {field!r} takes {wanted}, not {operand!r:.80}"
        )
    return Condition(field, operator, operand)


def _is_number(value: object) -> bool:
    """Whether a value is a number that can be ordered."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return not math.isnan(value)


def _is_scalar(value: object) -> bool:
    """Whether a value can be compared with one field value."""
    if isinstance(value, float) and math.isnan(value):
        return False
    if isinstance(value, int) and value.bit_length() > _LONGEST:
        return False
    return value is None or isinstance(value, str | int | float | bool)


def _unknown(name: str, known: list[str], place: str) -> FilterError:
    """Return the error for an operator that doesn't exist, with the nearest one that does."""
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else "known are " + ", ".join(sorted(known)) + "."
    return FilterError(f"unknown operator {name!r} {place}: {hint}")


def _is_list(value: object) -> bool:
    """Whether a value is a list of values that can be compared."""
    return isinstance(value, list | tuple) and all(
        _is_scalar(each) or _is_list(each) for each in value
    )


_SCALAR = "a string, a number, a boolean or None"
_OPERANDS: dict[Operator, tuple[Callable[[Any], bool], str]] = {
    Operator.EQ: (lambda value: _is_scalar(value) or _is_list(value), "one value"),
    **dict.fromkeys(
        (Operator.GT, Operator.GTE, Operator.LT, Operator.LTE),
        (lambda value: _is_number(value) or isinstance(value, str), "a number or a string"),
    ),
    **dict.fromkeys(_LISTS, (_is_list, "a list of strings, numbers, booleans or None")),
    **dict.fromkeys(
        (Operator.EXISTS, Operator.EMPTY),
        (lambda value: isinstance(value, bool), "True or False"),
    ),
    Operator.CONTAINS: (_is_scalar, _SCALAR),
    **dict.fromkeys(
        (Operator.TEXT, Operator.ITEXT), (lambda value: isinstance(value, str), "a string")
    ),
}
