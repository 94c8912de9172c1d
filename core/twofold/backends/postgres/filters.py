"""Translates a parsed filter to a condition on the table of passages.

Values are parameters of the statement, and never part of its text. ``fields`` has the metadata as
filters see them, ``instants`` the strings that are moments in time in a form that sorts by time,
and ``folded`` those strings without case that SQL would fold in another way.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from psycopg.types.json import Jsonb

from twofold.backends.postgres.connections import Cursor
from twofold.filters import Filter
from twofold.filters.instants import parse_instant
from twofold.filters.parser import ID, And, Condition, Not, Operator, Or
from twofold.filters.values import canonicalize, flatten_metadata

_COMPARE = {Operator.GT: ">", Operator.GTE: ">=", Operator.LT: "<", Operator.LTE: "<="}
_FALSE, _TRUE = "FALSE", "TRUE"
_ASCII_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


def storable_fields(metadata: Mapping[str, Any]) -> tuple[str, str | None, str | None]:
    """Return the columns ``fields``, ``instants`` and ``folded`` of a passage, as JSON."""
    fields = {name: canonicalize(value) for name, value in flatten_metadata(metadata).items()}
    instants: dict[str, Any] = {}
    folded: dict[str, str] = {}
    for name, value in fields.items():
        if isinstance(value, str):
            moment = parse_instant(value)
            if moment is not None:
                instants[name] = moment
            lower = value.casefold()
            if lower != value.translate(_ASCII_LOWER):
                folded[name] = lower
        elif isinstance(value, list):
            moments = [parse_instant(item) for item in value if isinstance(item, str)]
            if found := [moment for moment in moments if moment is not None]:
                instants[name] = found
    return (
        _dump(fields),
        _dump(instants) if instants else None,
        _dump(folded) if folded else None,
    )


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


class FilterCompiler:
    """Compiles filters to conditions on the table of passages, which is called ``d``.

    Attributes:
        parameters: The values by the names that the conditions use.
    """

    def __init__(self) -> None:
        self.parameters: dict[str, Any] = {}

    def compile(self, where: Filter) -> str:
        """Return the condition of a filter, which is never NULL."""
        match where:
            case Condition():
                return f"COALESCE({self._condition(where)}, FALSE)"
            case Not(part):
                return f"NOT {self.compile(part)}"
            case And(parts):
                return f"({' AND '.join(map(self.compile, parts))})" if parts else _TRUE
            case Or(parts):
                return f"({' OR '.join(map(self.compile, parts))})" if parts else _FALSE

    def _condition(self, condition: Condition) -> str:
        operator, value = condition.operator, condition.value
        if condition.field == ID:
            ids = list(value) if operator is Operator.IN else [value]
            return f"d.id = ANY({self._texts(ids)})"
        if not _is_storable(condition.field):
            return _TRUE if (operator, value) in _ABSENT else _FALSE
        field = self._add(condition.field, "text")
        match operator:
            case Operator.EXISTS:
                exists = f"jsonb_exists(d.fields, {field})"
                return exists if value else f"NOT {exists}"
            case Operator.EMPTY:
                empty = (
                    f"(NOT jsonb_exists(d.fields, {field}) OR d.fields -> {field} IN "
                    "('null'::jsonb, '\"\"'::jsonb, '[]'::jsonb, '{}'::jsonb))"
                )
                return empty if value else f"NOT {empty}"
            case Operator.EQ:
                return self._equals(field, [value])
            case Operator.IN:
                return self._equals(field, value)
            case Operator.TEXT | Operator.ITEXT:
                return self._contains_text(field, value, fold=operator is Operator.ITEXT)
            case Operator.CONTAINS:
                return self._has_element(field, [value])
            case Operator.ANY:
                return self._has_element(field, value)
            case Operator.ALL:
                each = [self._has_element(field, [item]) for item in value]
                return " AND ".join([f"jsonb_typeof(d.fields -> {field}) = 'array'", *each])
            case _:
                return self._compare(field, operator, value)

    def _equals(self, field: str, values: Sequence[Any]) -> str:
        """Return whether a field has one of the values, or is the same moment as one."""
        found = f"d.fields -> {field} = ANY({self._json_values(values)})"
        instants = self._instants(values)
        if instants is None:
            return found
        return f"({found} OR d.instants ->> {field} = ANY({instants}))"

    def _has_element(self, field: str, values: Sequence[Any]) -> str:
        """Return whether a field is a list with one of the values."""
        items = _elements(f"d.fields -> {field}")
        known = self._json_values(values)
        found = f"EXISTS (SELECT 1 FROM {items} AS item WHERE item = ANY({known}))"
        instants = self._instants(values)
        if instants is None:
            return found
        moments = _elements(f"d.instants -> {field}")
        same = f"EXISTS (SELECT 1 FROM {moments} AS item WHERE item #>> '{{}}' = ANY({instants}))"
        return f"({found} OR {same})"

    def _contains_text(self, field: str, value: str, *, fold: bool) -> str:
        if not _is_storable(value):
            return _FALSE
        text = f"d.fields ->> {field}"
        if fold:
            value = value.casefold()
            text = f'COALESCE(d.folded ->> {field}, lower(({text}) COLLATE "C"))'
        searched = self._add(value, "text")
        is_string = f"jsonb_typeof(d.fields -> {field}) = 'string'"
        return f'{is_string} AND strpos(({text}) COLLATE "C", {searched}) > 0'

    def _compare(self, field: str, operator: Operator, value: Any) -> str:
        sign = _COMPARE[operator]
        if not isinstance(value, str):
            return self._compare_number(field, operator, value)
        is_string = f"jsonb_typeof(d.fields -> {field}) = 'string'"
        if _is_storable(value):
            text = self._add(value, "text")
            by_text = f'(d.fields ->> {field}) COLLATE "C" {sign} {text}'
        else:  # no stored string has such characters, but it has a place among them
            text = self._add(value.encode("utf-8", "surrogatepass"), "bytea")
            by_text = f"convert_to(d.fields ->> {field}, 'UTF8') {sign} {text}"
        instant = parse_instant(value)
        if instant is None:
            return f"{is_string} AND {by_text}"
        moment = f"d.instants ->> {field}"
        return (
            f"{is_string} AND CASE WHEN {moment} IS NOT NULL "
            f'THEN ({moment}) COLLATE "C" {sign} {self._add(instant, "text")} ELSE {by_text} END'
        )

    def _compare_number(self, field: str, operator: Operator, value: float) -> str:
        is_number = f"jsonb_typeof(d.fields -> {field}) = 'number'"
        if isinstance(value, float) and math.isinf(value):
            below = operator in (Operator.LT, Operator.LTE)
            return is_number if below == (value > 0) else _FALSE
        # Numbers of jsonb compare by value, and exactly.
        number = self._add(Jsonb(canonicalize(value)), "jsonb")
        return f"{is_number} AND d.fields -> {field} {_COMPARE[operator]} {number}"

    def _instants(self, values: Sequence[Any]) -> str | None:
        found = [parse_instant(value) for value in values if isinstance(value, str)]
        moments = [moment for moment in found if moment is not None]
        return self._add(moments, "text[]") if moments else None

    def _json_values(self, values: Sequence[Any]) -> str:
        known = [Jsonb(canonicalize(value)) for value in values if _is_json(value)]
        return self._add(known, "jsonb[]")

    def _texts(self, values: Sequence[str]) -> str:
        return self._add([value for value in values if _is_storable(value)], "text[]")

    def _add(self, value: Any, kind: str) -> str:
        """Add a parameter and return how the statement names it."""
        name = f"w{len(self.parameters)}"
        self.parameters[name] = value
        return f"%({name})s::{kind}"


_ABSENT = ((Operator.EXISTS, False), (Operator.EMPTY, True))
"""The conditions that passages without the field satisfy."""


def _elements(value: str) -> str:
    """Return the elements of a JSON array as a set, none of another value."""
    return (
        f"jsonb_array_elements(CASE WHEN jsonb_typeof({value}) = 'array' THEN {value} "
        "ELSE '[]'::jsonb END)"
    )


def _is_storable(text: str) -> bool:
    """Return whether PostgreSQL can store a string: no NUL, no half of a surrogate pair."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def _is_json(value: Any) -> bool:
    """Return whether jsonb can hold a value."""
    if isinstance(value, str):
        return _is_storable(value)
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, list | tuple):
        return all(map(_is_json, value))
    return True


def find_unstorable(value: Any) -> str | None:
    """Return the first string within a JSON value that PostgreSQL can't store, None if none."""
    if isinstance(value, str):
        return None if _is_storable(value) else value
    if isinstance(value, Mapping):
        parts: Sequence[Any] = [*value, *value.values()]
    elif isinstance(value, list | tuple):
        parts = value
    else:
        return None
    return next((found for part in parts if (found := find_unstorable(part)) is not None), None)


def list_fields(cursor: Cursor) -> list[str]:
    """Return the names of all metadata fields, sorted."""
    cursor.execute("SELECT DISTINCT jsonb_object_keys(d.fields) FROM passages d")
    return sorted(name for (name,) in cursor.fetchall())
