"""Immutable segments of typed metadata columns, which filters are evaluated on."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.filters.instants import InstantRanks
from twofold.filters.values import ValueType, encode_value, flatten_metadata
from twofold.segment_checks import (
    check_ascending,
    check_below,
    check_offsets,
    check_strings,
    check_type,
)
from twofold.segments import PackedStrings, StringLookup, run_offsets
from twofold.types import Metadata, Rows

Flags = NDArray[np.bool_]
_SEARCH_COST = 64  # strings that are compared with a set in the time of one binary search
_PLAIN = ("rows", "field_ptr", "docs", "list_ptr")
_PACKED = ("ids", "fields", "strings")
_CELLS = ("cells", "elements")
_CELL_ARRAYS = ("types", "numbers", "codes")


@dataclass(frozen=True, slots=True)
class Cells:
    """Typed values in three parallel arrays: type, number and code of the string."""

    types: NDArray[np.uint8]
    numbers: NDArray[np.float64]
    codes: NDArray[np.uint32]

    @classmethod
    def from_values(
        cls, values: Sequence[tuple[ValueType, float, str]], codes: Mapping[str, int]
    ) -> "Cells":
        """Return cells of values from `encode_value`; ``codes`` maps each string to its code."""
        return cls(
            np.array([value_type for value_type, _, _ in values], np.uint8),
            np.array([number for _, number, _ in values], np.float64),
            np.array([codes[text] for _, _, text in values], np.uint32),
        )

    @classmethod
    def concatenate(cls, parts: Sequence["Cells"]) -> "Cells":
        """Return the cells of all parts, in order."""
        return cls(*(np.concatenate([getattr(p, name) for p in parts]) for name in _CELL_ARRAYS))

    def __len__(self) -> int:
        return len(self.types)

    def take(self, positions: Any) -> "Cells":
        """Return the cells at an index array, a mask or a slice."""
        return Cells(self.types[positions], self.numbers[positions], self.codes[positions])

    def recode(self, new_codes: NDArray[np.uint32]) -> "Cells":
        """Return the cells with each code c replaced by ``new_codes[c]``."""
        return Cells(self.types, self.numbers, new_codes[self.codes])

    def has_type(self, *types: ValueType) -> Flags:
        """Return which cells have one of the types."""
        flags: Flags = self.types == types[0]
        for value_type in types[1:]:
            flags |= self.types == value_type
        return flags


@dataclass(frozen=True, slots=True)
class ColumnSegment:
    """The ids and metadata of ascending rows, as sparse columns.

    ``cells`` has the values of one field after the other, ``docs`` each cell's position in
    ``rows``. ``field_ptr`` (fields + 1) delimits the fields in ``cells``, and ``list_ptr`` (cells +
    1) each cell's ``elements``; only lists have any. ``fields`` and ``strings`` are sorted by code
    point. A string's code is its position there, so that codes compare as their strings do.
    """

    rows: NDArray[np.uint32]
    ids: PackedStrings
    fields: PackedStrings
    strings: PackedStrings
    field_ptr: NDArray[np.int64]
    docs: NDArray[np.uint32]
    cells: Cells
    list_ptr: NDArray[np.int64]
    elements: Cells
    _lookup: StringLookup = field(
        default_factory=StringLookup, init=False, repr=False, compare=False
    )
    _instants: InstantRanks = field(
        default_factory=InstantRanks, init=False, repr=False, compare=False
    )

    @classmethod
    def build(cls, rows: Rows, ids: Sequence[str], metadata: Sequence[Metadata]) -> "ColumnSegment":
        """Build a segment from the ids and metadata of ascending rows."""
        entries: dict[str, list[tuple[int, Any]]] = {}
        for doc, values in enumerate(metadata):
            for name, value in flatten_metadata(values).items():
                entries.setdefault(name, []).append((doc, value))
        names = sorted(entries)
        flat = [entry for name in names for entry in entries[name]]
        lists = [value if isinstance(value, list | tuple) else () for _, value in flat]
        cells = [encode_value(value) for _, value in flat]
        elements = [encode_value(element) for items in lists for element in items]
        strings = sorted({text for _, _, text in (*cells, *elements)})
        codes = {text: code for code, text in enumerate(strings)}
        return cls(
            rows=rows.astype(np.uint32),
            ids=PackedStrings.from_strings(ids),
            fields=PackedStrings.from_strings(names),
            strings=PackedStrings.from_strings(strings),
            field_ptr=run_offsets([len(entries[name]) for name in names]),
            docs=np.array([doc for doc, _ in flat], np.uint32),
            cells=Cells.from_values(cells, codes),
            list_ptr=run_offsets([len(items) for items in lists]),
            elements=Cells.from_values(elements, codes),
        )

    @classmethod
    def merge(cls, parts: Sequence["ColumnSegment"], live: Sequence[Flags]) -> "ColumnSegment":
        """Merge the rows that ``live`` flags in segments whose rows ascend from one to the next."""
        kept = [(part, alive, alive[part.docs]) for part, alive in zip(parts, live, strict=True)]
        names = sorted({name for part, _, keep in kept for name in part.used_fields(keep)})
        strings = sorted({text for part, _, keep in kept for text in part._used_strings(keep)})
        field_numbers = {name: number for number, name in enumerate(names)}
        codes = {text: code for code, text in enumerate(strings)}
        fields: list[NDArray[np.int64]] = []
        docs: list[NDArray[np.int64]] = []
        cells: list[Cells] = []
        lists: list[NDArray[np.int64]] = []
        elements: list[Cells] = []
        base = 0
        for part, alive, keep in kept:
            # Strings and fields that only deleted rows have get 0, which no kept cell uses.
            new_codes = np.array([codes.get(text, 0) for text in part.strings.tolist()], np.uint32)
            numbers = [field_numbers.get(name, 0) for name in part.fields.tolist()]
            counts = np.diff(part.list_ptr)
            fields.append(np.repeat(np.array(numbers, np.int64), np.diff(part.field_ptr))[keep])
            docs.append((np.cumsum(alive) - 1)[part.docs[keep]] + base)
            cells.append(part.cells.take(keep).recode(new_codes))
            lists.append(counts[keep])
            elements.append(part.elements.take(np.repeat(keep, counts)).recode(new_codes))
            base += int(alive.sum())
        field_of_cell = np.concatenate(fields)
        counts = np.concatenate(lists)
        order = np.argsort(field_of_cell, kind="stable")  # the docs of a field ascend already
        starts = run_offsets(counts)[:-1][order]
        list_ptr = run_offsets(counts[order])
        positions = np.repeat(starts - list_ptr[:-1], counts[order]) + np.arange(list_ptr[-1])
        ids = [part.ids.take(np.flatnonzero(alive)) for part, alive, _ in kept]
        return cls(
            rows=np.concatenate([part.rows[alive] for part, alive, _ in kept]),
            ids=PackedStrings.concatenate(ids),
            fields=PackedStrings.from_strings(names),
            strings=PackedStrings.from_strings(strings),
            field_ptr=run_offsets(np.bincount(field_of_cell, minlength=len(names))),
            docs=np.concatenate(docs)[order].astype(np.uint32),
            cells=Cells.concatenate(cells).take(order),
            list_ptr=list_ptr,
            elements=Cells.concatenate(elements).take(positions),
        )

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "ColumnSegment":
        """Return the segment whose ``arrays()`` these are."""
        values: dict[str, Any] = {name: arrays[name] for name in _PLAIN}
        for name in _PACKED:
            values[name] = PackedStrings(arrays[f"{name}_offsets"], arrays[f"{name}_data"])
        for name in _CELLS:
            values[name] = Cells(*(arrays[f"{name}_{part}"] for part in _CELL_ARRAYS))
        segment = cls(**values)
        segment._check()
        return segment

    def _check(self) -> None:
        """Raise CorruptIndexError unless every array is in the bounds that filters rely on."""
        check_type("rows", self.rows, None, np.uint32)
        check_ascending("rows", self.rows)
        check_strings("ids", self.ids, len(self.rows))
        check_strings("fields", self.fields)
        check_strings("strings", self.strings)
        for name in _CELLS:
            cells: Cells = getattr(self, name)
            check_type(f"{name}_types", cells.types, None, np.uint8)
            check_below(f"{name}_types", cells.types, max(ValueType) + 1, minimum=1)
            check_type(f"{name}_numbers", cells.numbers, len(cells), np.float64)
            check_type(f"{name}_codes", cells.codes, len(cells), np.uint32)
            check_below(f"{name}_codes", cells.codes, len(self.strings))
        check_type("docs", self.docs, len(self.cells), np.uint32)
        check_below("docs", self.docs, len(self.rows))
        check_offsets("field_ptr", self.field_ptr, len(self.fields), len(self.cells))
        check_ascending("docs", self.docs, self.field_ptr)
        check_offsets("list_ptr", self.list_ptr, len(self.cells), len(self.elements))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the content as named arrays, for storage."""
        out: dict[str, NDArray[Any]] = {name: getattr(self, name) for name in _PLAIN}
        for name in _PACKED:
            packed: PackedStrings = getattr(self, name)
            out |= {f"{name}_offsets": packed.offsets, f"{name}_data": packed.data}
        for name in _CELLS:
            cells: Cells = getattr(self, name)
            out |= {f"{name}_{part}": getattr(cells, part) for part in _CELL_ARRAYS}
        return out

    def __len__(self) -> int:
        return len(self.rows)

    def field(self, name: str) -> slice:
        """Return the slice of a field's cells, which is empty if no row has the field."""
        number = bisect_left(range(len(self.fields)), name, key=self.fields.__getitem__)
        if number == len(self.fields) or self.fields[number] != name:
            return slice(0, 0)
        return slice(int(self.field_ptr[number]), int(self.field_ptr[number + 1]))

    def find_ids(
        self, wanted: Sequence[str], hashes: NDArray[np.uint64]
    ) -> Iterator[tuple[int, int]]:
        """Yield (position in ``wanted``, position in ``rows``) of each row with a wanted id.

        ``hashes`` are the ``hash_strings`` of ``wanted``.
        """
        return self._lookup.find(self.ids, wanted, hashes)

    def used_fields(self, keep: Flags) -> list[str]:
        """Return the names of the fields of the cells that ``keep`` flags."""
        fields = np.repeat(np.arange(len(self.fields)), np.diff(self.field_ptr))
        return [self.fields[number] for number in np.unique(fields[keep]).tolist()]

    def lower_bound(self, text: str) -> int:
        """Return the first code whose string is >= ``text``."""
        return bisect_left(range(len(self.strings)), text, key=self.strings.__getitem__)

    def find_code(self, text: str) -> int:
        """Return the code of ``text``, or -1 if no value has it."""
        code = self.lower_bound(text)
        return code if code < len(self.strings) and self.strings[code] == text else -1

    def find_codes(self, texts: Sequence[str]) -> list[int]:
        """Return the codes of ``texts`` in any order, leaving out those that no value has."""
        if len(texts) * _SEARCH_COST < len(self.strings):
            return [code for code in map(self.find_code, texts) if code >= 0]
        wanted = frozenset(texts)
        return [code for code, text in enumerate(self.strings.tolist()) if text in wanted]

    def rank_instants(self, instant: str) -> tuple[NDArray[np.float64], float]:
        """Return the ranks in time of the strings by code, and that of ``instant``."""
        return self._instants.find(self.strings, instant)

    def _used_strings(self, keep: Flags) -> list[str]:
        """Return the strings of the cells that ``keep`` flags, and of their list elements."""
        elements = self.elements.codes[np.repeat(keep, np.diff(self.list_ptr))]
        codes = np.unique(np.concatenate([self.cells.codes[keep], elements]))
        return self.strings.take(codes.astype(np.int64)).tolist()
