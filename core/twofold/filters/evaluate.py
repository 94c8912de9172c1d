"""Evaluates a filter: each condition is one pass over a typed column."""

import operator
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.filters.columns import Cells, ColumnSegment, Flags
from twofold.filters.instants import parse_instant
from twofold.filters.parser import ID, And, Condition, Filter, Not, Operator, Or
from twofold.filters.values import MAX_EXACT, ValueType, encode_value, nearest_float
from twofold.segments import PackedStrings, hash_strings
from twofold.types import Mask

_EMPTY_JSON = ("[]", "{}")
_COMPARE: dict[Operator, Callable[[Any, Any], Any]] = {
    Operator.GT: operator.gt,
    Operator.GTE: operator.ge,
    Operator.LT: operator.lt,
    Operator.LTE: operator.le,
}


def match_rows(where: Filter, segments: Sequence[ColumnSegment]) -> Mask:
    """Return the mask of matching rows, from row 0 to the last row of the segments."""
    last = max((int(segment.rows[-1]) for segment in segments if len(segment)), default=-1)
    mask = np.zeros(last + 1, np.bool_)
    for segment in segments:
        mask[segment.rows] = match_segment(where, segment)
    return mask


def match_segment(where: Filter, segment: ColumnSegment) -> Flags:
    """Return which rows of a segment match."""
    match where:
        case Condition():
            return _match_condition(where, segment)
        case Not(part):
            return ~match_segment(part, segment)
        case And(parts):
            matches = (match_segment(part, segment) for part in parts)
            return reduce(operator.and_, matches, np.ones(len(segment), np.bool_))
        case Or(parts):
            matches = (match_segment(part, segment) for part in parts)
            return reduce(operator.or_, matches, np.zeros(len(segment), np.bool_))


def _match_condition(condition: Condition, segment: ColumnSegment) -> Flags:
    """Return which rows match; without the field, only by ``$exists`` or ``$empty``."""
    value = condition.value
    if condition.field == ID:
        return _match_ids(segment, value if condition.operator is Operator.IN else (value,))
    span = segment.field(condition.field)
    cells = segment.cells.take(span)
    flags = np.zeros(len(segment), np.bool_)
    if condition.operator is Operator.EXISTS:
        flags[segment.docs[span]] = True
        return flags if value else ~flags
    if condition.operator is Operator.EMPTY:
        flags[segment.docs[span]] = ~_is_empty(cells, segment)
        return ~flags if value else flags
    flags[segment.docs[span]] = _match_cells(condition, cells, segment, span)
    return flags


def _match_ids(segment: ColumnSegment, searched: Sequence[str]) -> Flags:
    """Return which rows have one of the ids ``searched``."""
    hashes = hash_strings(PackedStrings.from_strings(searched))
    flags = np.zeros(len(segment), np.bool_)
    flags[[position for _, position in segment.find_ids(searched, hashes)]] = True
    return flags


def _match_cells(condition: Condition, cells: Cells, segment: ColumnSegment, span: slice) -> Flags:
    """Return which cells of one field satisfy a condition on its value."""
    value = condition.value
    match condition.operator:
        case Operator.EQ:
            return _equals_any(cells, (value,), segment)
        case Operator.IN:
            return _equals_any(cells, value, segment)
        case Operator.TEXT | Operator.ITEXT:
            fold_case = condition.operator is Operator.ITEXT
            return _contains_text(cells, value, segment, fold_case=fold_case)
        case Operator.CONTAINS:
            return _list_contains_any(segment, span, (value,), len(cells))
        case Operator.ANY:
            return _list_contains_any(segment, span, value, len(cells))
        case Operator.ALL:
            flags = cells.has_type(ValueType.LIST)
            for item in value:
                flags &= _list_contains_any(segment, span, (item,), len(cells))
            return flags
        case _:
            return _compare(cells, condition.operator, value, segment)


def _equals_any(cells: Cells, values: Sequence[Any], segment: ColumnSegment) -> Flags:
    """Return which cells hold one of the values."""
    numeric = (ValueType.NULL, ValueType.BOOL, ValueType.NUMBER)
    numbers: dict[ValueType, list[float]] = {}
    texts: dict[ValueType, list[str]] = {}
    for value_type, number, text in map(encode_value, values):
        if value_type in numeric:
            numbers.setdefault(value_type, []).append(number)
        else:
            texts.setdefault(value_type, []).append(text)
    flags = np.zeros(len(cells), np.bool_)
    for value_type, searched in numbers.items():
        flags |= (cells.types == value_type) & np.isin(cells.numbers, searched)
    for value_type, strings in texts.items():
        codes = np.array(segment.find_codes(strings), np.uint32)
        if value_type == ValueType.STRING:
            codes = np.concatenate([codes, *_same_instants(strings, segment)])
        flags |= (cells.types == value_type) & np.isin(cells.codes, codes)
    return flags


def _same_instants(strings: Sequence[str], segment: ColumnSegment) -> list[NDArray[np.uint32]]:
    """Return the codes of the strings that are the same moments as some of ``strings``."""
    found: list[NDArray[np.uint32]] = []
    for instant in filter(None, map(parse_instant, strings)):
        ranks, place = segment.rank_instants(instant)
        found.append(np.flatnonzero(ranks == place).astype(np.uint32))
    return found


def _compare(cells: Cells, name: Operator, value: float | str, segment: ColumnSegment) -> Flags:
    """Return which cells satisfy ``name`` with ``value``; cells of another type never do."""
    compare = _COMPARE[name]
    if isinstance(value, str):
        # Codes have the order of their strings. If no cell has the string itself, the bound lies
        # between two codes.
        bound = segment.lower_bound(value) - (0 if segment.find_code(value) >= 0 else 0.5)
        matches = compare(cells.codes.astype(np.float64), bound)
        instant = parse_instant(value)
        if instant is not None:
            ranks, place = segment.rank_instants(instant)
            ranks = ranks[cells.codes]
            matches = np.where(np.isnan(ranks), matches, compare(ranks, place))
        return np.asarray(cells.has_type(ValueType.STRING) & matches)
    number = nearest_float(value) if isinstance(value, int) else value
    numeric = cells.has_type(ValueType.NUMBER, ValueType.BIG)
    flags = numeric & compare(cells.numbers, number)
    # Values that round to the same float are compared exactly, as Python numbers.
    for position in np.flatnonzero(numeric & (cells.numbers == number)).tolist():
        is_big = cells.types[position] == ValueType.BIG
        code = int(cells.codes[position])
        exact = int(segment.strings[code]) if is_big else float(cells.numbers[position])
        flags[position] = compare(exact, value)
        if not is_big and abs(number) < MAX_EXACT:
            break  # small numbers are exact, so all of them are equal
    return np.asarray(flags)


def _contains_text(
    cells: Cells, searched: str, segment: ColumnSegment, *, fold_case: bool
) -> Flags:
    """Return which cells are strings that contain ``searched``."""
    is_string = cells.has_type(ValueType.STRING)
    searched = searched.casefold() if fold_case else searched
    matching = [
        code
        for code in np.unique(cells.codes[is_string]).tolist()
        if searched in (segment.strings[code].casefold() if fold_case else segment.strings[code])
    ]
    return np.asarray(is_string & np.isin(cells.codes, matching))


def _list_contains_any(
    segment: ColumnSegment, span: slice, values: Sequence[Any], count: int
) -> Flags:
    """Return which of the ``count`` cells of a field are lists with one of ``values``."""
    pointers = segment.list_ptr[span.start : span.start + count + 1]
    elements = segment.elements.take(slice(int(pointers[0]), int(pointers[-1])))
    matches = _equals_any(elements, values, segment)
    owners = np.repeat(np.arange(count), np.diff(pointers))
    return np.bincount(owners[matches], minlength=count) > 0


def _is_empty(cells: Cells, segment: ColumnSegment) -> Flags:
    """Return which cells are null, an empty string, an empty list or an empty object."""
    flags = cells.has_type(ValueType.NULL)
    # np.int64, because find_code gives -1 for a string that no cell has.
    flags |= (cells.types == ValueType.STRING) & (cells.codes == np.int64(segment.find_code("")))
    for text in _EMPTY_JSON:
        code = np.int64(segment.find_code(text))
        flags |= cells.has_type(ValueType.LIST, ValueType.OBJECT) & (cells.codes == code)
    return np.asarray(flags)
