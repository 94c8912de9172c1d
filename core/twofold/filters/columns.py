"""Typed columns of metadata: immutable pieces over some rows, kept beside the legs."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.filters.values import Kind, flattened, typed
from twofold.segments import PackedStrings
from twofold.types import Metadata, Rows

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Cells:
    """Typed values side by side: kind, number and code of the string, all of one length."""

    kinds: NDArray[np.uint8]
    numbers: NDArray[np.float64]
    codes: NDArray[np.uint32]

    def take(self, places: Any) -> "Cells":
        """Return some of the cells."""
        return Cells(self.kinds[places], self.numbers[places], self.codes[places])


@dataclass(frozen=True, slots=True)
class ColumnSegment:
    """The ids and metadata of some rows, field after field; missing values take no place.

    ``field_ptr`` (fields + 1) cuts ``docs`` and ``cells`` by field; ``list_ptr`` (cells + 1) cuts
    ``elements``, which only lists have. ``strings`` are sorted by code point, so codes compare as
    their strings do.
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

    @classmethod
    def build(cls, rows: Rows, ids: Sequence[str], metadata: Sequence[Metadata]) -> "ColumnSegment":
        """Type the metadata of ascending rows."""
        entries: dict[str, list[tuple[int, Any]]] = {}
        for doc, values in enumerate(metadata):
            for name, value in flattened(values).items():
                entries.setdefault(name, []).append((doc, value))
        names = sorted(entries)
        flat = [entry for name in names for entry in entries[name]]
        lists = [value if isinstance(value, list | tuple) else () for _, value in flat]
        cells = [typed(value) for _, value in flat]
        elements = [typed(element) for each in lists for element in each]
        strings = sorted({text for _, _, text in (*cells, *elements)})
        codes = {text: code for code, text in enumerate(strings)}
        return cls(
            rows=rows.astype(np.uint32),
            ids=PackedStrings.of(ids),
            fields=PackedStrings.of(names),
            strings=PackedStrings.of(strings),
            field_ptr=_pointers([len(entries[name]) for name in names]),
            docs=np.array([doc for doc, _ in flat], np.uint32),
            cells=_cells(cells, codes),
            list_ptr=_pointers([len(each) for each in lists]),
            elements=_cells(elements, codes),
        )

    @classmethod
    def merge(cls, parts: Sequence["ColumnSegment"], live: Sequence[Flags]) -> "ColumnSegment":
        """Return one segment of the live rows of several with ascending rows."""
        kept_cells = [alive[part.docs] for part, alive in zip(parts, live, strict=True)]
        pairs = list(zip(parts, kept_cells, strict=True))
        names = sorted({name for part, keep in pairs for name in part.used_fields(keep)})
        strings = sorted({text for part, keep in pairs for text in part.used_strings(keep)})
        number = {name: place for place, name in enumerate(names)}
        code = {text: place for place, text in enumerate(strings)}
        fields: list[NDArray[np.int64]] = []
        docs: list[NDArray[np.int64]] = []
        cells: list[Cells] = []
        lists: list[NDArray[np.int64]] = []
        elements: list[Cells] = []
        base = 0
        for (part, keep), alive in zip(pairs, live, strict=True):
            # Strings and fields that went with dead rows have no new number, and no cell.
            recode = np.array([code.get(text, 0) for text in part.strings.tolist()], np.uint32)
            refield = np.array([number.get(name, 0) for name in part.fields.tolist()], np.int64)
            counts = np.diff(part.list_ptr)
            fields.append(np.repeat(refield, np.diff(part.field_ptr))[keep])
            docs.append((np.cumsum(alive) - 1)[part.docs[keep]] + base)
            cells.append(_recoded(part.cells.take(keep), recode))
            lists.append(counts[keep])
            elements.append(_recoded(part.elements.take(np.repeat(keep, counts)), recode))
            base += int(alive.sum())
        field_of = np.concatenate(fields)
        counts = np.concatenate(lists)
        order = np.lexsort((np.concatenate(docs), field_of))
        starts = _pointers(counts)[:-1][order]
        list_ptr = _pointers(counts[order])
        places = np.repeat(starts - list_ptr[:-1], counts[order]) + np.arange(list_ptr[-1])
        kept = list(zip(parts, live, strict=True))
        return cls(
            rows=np.concatenate([part.rows[alive] for part, alive in kept]),
            ids=PackedStrings.concatenate(
                [part.ids.take(np.flatnonzero(alive)) for part, alive in kept]
            ),
            fields=PackedStrings.of(names),
            strings=PackedStrings.of(strings),
            field_ptr=_pointers(np.bincount(field_of, minlength=len(names))),
            docs=np.concatenate(docs)[order].astype(np.uint32),
            cells=_joined(cells).take(order),
            list_ptr=list_ptr,
            elements=_joined(elements).take(places),
        )

    def used_fields(self, keep: Flags) -> list[str]:
        """Return the fields that at least one kept cell has."""
        fields = np.repeat(np.arange(len(self.fields)), np.diff(self.field_ptr))
        return [self.fields[number] for number in np.unique(fields[keep]).tolist()]

    def used_strings(self, keep: Flags) -> list[str]:
        """Return the strings that at least one kept cell or list element has."""
        elements = self.elements.codes[np.repeat(keep, np.diff(self.list_ptr))]
        codes = np.unique(np.concatenate([self.cells.codes[keep], elements]))
        return self.strings.take(codes.astype(np.int64)).tolist()

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "ColumnSegment":
        """Return the segment that ``arrays()`` described."""
        strings = {
            name: PackedStrings(arrays[f"{name}_offsets"], arrays[f"{name}_data"])
            for name in ("ids", "fields", "strings")
        }
        cells = {
            name: Cells(*(arrays[f"{name}_{part}"] for part in ("kinds", "numbers", "codes")))
            for name in ("cells", "elements")
        }
        plain = {name: arrays[name] for name in ("rows", "field_ptr", "docs", "list_ptr")}
        return cls(**strings, **cells, **plain)  # type: ignore[arg-type]  # by name

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything as named arrays, for storage."""
        out: dict[str, NDArray[Any]] = {
            "rows": self.rows,
            "field_ptr": self.field_ptr,
            "docs": self.docs,
            "list_ptr": self.list_ptr,
        }
        for name in ("ids", "fields", "strings"):
            packed: PackedStrings = getattr(self, name)
            out |= {f"{name}_offsets": packed.offsets, f"{name}_data": packed.data}
        for name in ("cells", "elements"):
            cells: Cells = getattr(self, name)
            out |= {
                f"{name}_{part}": getattr(cells, part) for part in ("kinds", "numbers", "codes")
            }
        return out

    def __len__(self) -> int:
        return len(self.rows)

    def field(self, name: str) -> slice:
        """Return the cells of a field; an empty slice where no row has it."""
        at = bisect_left(range(len(self.fields)), name, key=self.fields.__getitem__)
        if at == len(self.fields) or self.fields[at] != name:
            return slice(0, 0)
        return slice(int(self.field_ptr[at]), int(self.field_ptr[at + 1]))

    def code_from(self, text: str) -> int:
        """Return the first code whose string is not less than ``text``."""
        return bisect_left(range(len(self.strings)), text, key=self.strings.__getitem__)

    def code_of(self, text: str) -> int:
        """Return the code of ``text``, -1 if no value has it."""
        at = self.code_from(text)
        return at if at < len(self.strings) and self.strings[at] == text else -1


def kind_flags(cells: Cells, *kinds: Kind) -> Flags:
    """Return which cells are of one of these kinds."""
    return np.isin(cells.kinds, kinds)


def _cells(values: Sequence[tuple[Kind, float, str]], codes: Mapping[str, int]) -> Cells:
    """Put typed values side by side."""
    return Cells(
        np.array([kind for kind, _, _ in values], np.uint8),
        np.array([number for _, number, _ in values], np.float64),
        np.array([codes[text] for _, _, text in values], np.uint32),
    )


def _recoded(cells: Cells, recode: NDArray[np.uint32]) -> Cells:
    """Return cells whose codes are of another segment."""
    return Cells(cells.kinds, cells.numbers, recode[cells.codes])


def _joined(parts: Sequence[Cells]) -> Cells:
    """Return all cells of all parts."""
    return Cells(
        np.concatenate([part.kinds for part in parts]),
        np.concatenate([part.numbers for part in parts]),
        np.concatenate([part.codes for part in parts]),
    )


def _pointers(counts: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where each of several runs starts, and where the last one ends."""
    pointers = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=pointers[1:])
    return pointers
