"""Says why a filter that matches nothing does so: unknown fields, and values of another type."""

from collections.abc import Callable, Iterator

from twofold.filters.parser import ID, And, Condition, Filter, Not, Operator, Or
from twofold.filters.values import ValueType, encode_value

_NAMES = {
    ValueType.NULL: "null",
    ValueType.BOOL: "booleans",
    ValueType.NUMBER: "numbers",
    ValueType.BIG: "numbers",
    ValueType.STRING: "strings",
    ValueType.LIST: "lists",
    ValueType.OBJECT: "objects",
}
_LISTED = (Operator.IN, Operator.ANY, Operator.ALL)
_OF_ELEMENTS = (Operator.CONTAINS, Operator.ANY, Operator.ALL)
_UNTYPED = (Operator.EXISTS, Operator.EMPTY)


def type_name(value_type: int) -> str:
    """Return the plural name of a value's type."""
    return _NAMES[ValueType(value_type)]


def find_mismatches(where: Filter, field_types: Callable[[str], frozenset[str]]) -> list[str]:
    """Return a sentence for each condition that no stored value can satisfy.

    Args:
        where: The filter. Negated conditions, which a missing field satisfies, are left out.
        field_types: Returns the names of the types that a field has, none for an unknown field.
    """
    found: list[str] = []
    for condition in _conditions(where):
        stored = field_types(condition.field)
        if not stored:
            found.append(f"no passage has the field {condition.field!r}")
            continue
        wanted = _wanted_types(condition)
        if wanted and stored.isdisjoint(wanted):
            found.append(
                f"the field {condition.field!r} has {' and '.join(sorted(stored))}, and "
                f"{condition.operator.value} {_verb(condition)} {' and '.join(sorted(wanted))}"
            )
    return list(dict.fromkeys(found))


def _conditions(where: Filter) -> Iterator[Condition]:
    match where:
        case Condition():
            if where.field != ID and where.operator not in _UNTYPED:
                yield where
        case And(parts) | Or(parts):
            for part in parts:
                yield from _conditions(part)
        case Not():
            return


def _verb(condition: Condition) -> str:
    return "looks into" if condition.operator in _OF_ELEMENTS else "compares it with"


def _wanted_types(condition: Condition) -> frozenset[str]:
    """Return the names of the types that a field needs to satisfy a condition."""
    if condition.operator in _OF_ELEMENTS:
        return frozenset({"lists"})
    values = condition.value if condition.operator in _LISTED else (condition.value,)
    return frozenset(type_name(encode_value(value)[0]) for value in values)
