"""Which rows a filter lets through: each condition is one pass over a typed column."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from twofold.filters.columns import Cells, ColumnSegment, Flags, kind_flags
from twofold.filters.parser import ID, All, Condition, Either, Node, Not, Operator
from twofold.filters.values import EXACT, Kind, nearest_float, typed
from twofold.segments import PackedStrings
from twofold.types import Mask

_EMPTY_JSON = ("[]", "{}")
_FEW = 30
"""Ids up to which each is looked for by itself."""
_COMPARE: dict[Operator, Callable[[Any, Any], Any]] = {
    Operator.GT: operator.gt,
    Operator.GTE: operator.ge,
    Operator.LT: operator.lt,
    Operator.LTE: operator.le,
}


def matching(node: Node, segments: Sequence[ColumnSegment]) -> Mask:
    """Return the rows that match, as one flag a row number from 0 to the last row."""
    last = max((int(each.rows[-1]) for each in segments if len(each)), default=-1)
    mask = np.zeros(last + 1, np.bool_)
    for each in segments:
        mask[each.rows] = flags(node, each)
    return mask


def flags(node: Node, segment: ColumnSegment) -> Flags:
    """Return one flag a row of one segment."""
    match node:
        case Condition():
            return _condition(node, segment)
        case Not(part):
            return ~flags(part, segment)
        case All(parts):
            out = np.ones(len(segment), np.bool_)
            for part in parts:
                out &= flags(part, segment)
            return out
        case Either(parts):
            out = np.zeros(len(segment), np.bool_)
            for part in parts:
                out |= flags(part, segment)
            return out


def _condition(node: Condition, segment: ColumnSegment) -> Flags:
    """Compare one field; rows that lack it match only a negative question about its presence."""
    if node.field == ID:
        return _among(segment.ids, node.value if node.operator is Operator.IN else (node.value,))
    span = segment.field(node.field)
    cells = segment.cells.take(span)
    present = np.zeros(len(segment), np.bool_)
    present[segment.docs[span]] = True
    if node.operator is Operator.EXISTS:
        return present if node.value else ~present
    if node.operator is Operator.EMPTY:
        filled = np.zeros(len(segment), np.bool_)
        filled[segment.docs[span]] = ~_is_empty(cells, segment)
        return ~filled if node.value else filled
    out = np.zeros(len(segment), np.bool_)
    out[segment.docs[span]] = _cells_match(node, cells, segment, span)
    return out


def _among(ids: PackedStrings, wanted: Sequence[str]) -> Flags:
    """Return which rows have one of these ids."""
    out = np.zeros(len(ids), np.bool_)
    if len(wanted) > _FEW:
        known = frozenset(wanted)
        return np.fromiter((each in known for each in ids.tolist()), np.bool_, len(ids))
    for each in wanted:
        out[ids.places(each)] = True
    return out


def _cells_match(node: Condition, cells: Cells, segment: ColumnSegment, span: slice) -> Flags:
    """Return which cells of one field satisfy a condition on its value."""
    match node.operator:
        case Operator.EQ:
            return _any_equal(cells, (node.value,), segment)
        case Operator.IN:
            return _any_equal(cells, node.value, segment)
        case Operator.TEXT | Operator.ITEXT:
            return _has_text(cells, node.value, segment, fold=node.operator is Operator.ITEXT)
        case Operator.CONTAINS:
            return _list_has(segment, span, (node.value,), len(cells.kinds))
        case Operator.ANY:
            return _list_has(segment, span, node.value, len(cells.kinds))
        case Operator.ALL:
            out = kind_flags(cells, Kind.LIST)
            for value in node.value:
                out &= _list_has(segment, span, (value,), len(out))
            return out
        case _:
            return _ordered(cells, node.operator, node.value, segment)


def _any_equal(cells: Cells, values: Sequence[Any], segment: ColumnSegment) -> Flags:
    """Return which cells hold one of these values."""
    wanted: dict[Kind, list[float]] = {}
    for kind, number, text in map(typed, values):
        counted = kind in (Kind.NULL, Kind.BOOL, Kind.NUMBER)
        wanted.setdefault(kind, []).append(number if counted else segment.code_of(text))
    out = np.zeros(len(cells.kinds), np.bool_)
    for kind, numbers in wanted.items():
        held = cells.numbers if kind in (Kind.NULL, Kind.BOOL, Kind.NUMBER) else cells.codes
        out |= (cells.kinds == kind) & np.isin(held, numbers)
    return out


def _ordered(cells: Cells, asked: Operator, value: float | str, segment: ColumnSegment) -> Flags:
    """Return which cells lie on one side of a value of their own type."""
    compare = _COMPARE[asked]
    if isinstance(value, str):
        # Codes are ordered as their strings are: the border is the first code not below. Where
        # no cell has the string itself, the border lies between two codes.
        border = segment.code_from(value) - (0 if segment.code_of(value) >= 0 else 0.5)
        side = compare(cells.codes.astype(np.float64), border)
        return np.asarray(kind_flags(cells, Kind.STRING) & side)
    number = nearest_float(value) if isinstance(value, int) else value
    numeric = kind_flags(cells, Kind.NUMBER, Kind.BIG)
    out = numeric & compare(cells.numbers, number)
    # What rounds to the same float is told apart exactly, which Python's own numbers can.
    for at in np.flatnonzero(numeric & (cells.numbers == number)).tolist():
        big = cells.kinds[at] == Kind.BIG
        exact = int(segment.strings[int(cells.codes[at])]) if big else float(cells.numbers[at])
        out[at] = compare(exact, value)
        if not big and abs(number) < EXACT:
            break  # small numbers are exact, and all alike
    return np.asarray(out)


def _has_text(cells: Cells, wanted: str, segment: ColumnSegment, *, fold: bool) -> Flags:
    """Return which cells are strings that contain ``wanted``."""
    is_text = kind_flags(cells, Kind.STRING)
    needle = wanted.casefold() if fold else wanted
    hits = [
        code
        for code in np.unique(cells.codes[is_text]).tolist()
        if needle in (segment.strings[code].casefold() if fold else segment.strings[code])
    ]
    return np.asarray(is_text & np.isin(cells.codes, hits))


def _list_has(segment: ColumnSegment, span: slice, values: Sequence[Any], count: int) -> Flags:
    """Return which cells of a field are lists with at least one of these elements."""
    pointers = segment.list_ptr[span.start : span.start + count + 1]
    elements = segment.elements.take(slice(int(pointers[0]), int(pointers[-1])))
    hits = _any_equal(elements, values, segment)
    owners = np.repeat(np.arange(count), np.diff(pointers))
    return np.bincount(owners[hits], minlength=count) > 0


def _is_empty(cells: Cells, segment: ColumnSegment) -> Flags:
    """Return which cells are null, an empty string, an empty list or an empty object."""
    out = kind_flags(cells, Kind.NULL)
    out |= (cells.kinds == Kind.STRING) & (cells.codes == np.int64(segment.code_of("")))
    for text in _EMPTY_JSON:
        code = np.int64(segment.code_of(text))
        out |= kind_flags(cells, Kind.LIST, Kind.OBJECT) & (cells.codes == code)
    return np.asarray(out)
