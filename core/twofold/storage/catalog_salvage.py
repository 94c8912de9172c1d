"""Reads what a damaged catalog still holds: each row whose checksum is right."""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from twofold.errors import CorruptIndexError
from twofold.storage.catalog import has_schema, passage_checksum
from twofold.storage.records import (
    BlockRecord,
    IndexSettings,
    SegmentRecord,
    State,
    StoredPassage,
    VectorSetRecord,
    field_values,
    has_valid_types,
    row_checksum,
    verify_record,
)
from twofold.storage.sqlite_pages import Cell, DamagedCellError, SqlitePages, guess_page_sizes
from twofold.types import Rows

_PASSAGE_COLUMNS = 7
_COLUMNS = {
    "settings": 2,
    "state": 9,
    "segments": 10,
    "vector_sets": 5,
    "vector_blocks": 8,
    "tombstones": 3,
}
"""The number of columns of the other tables, which tells their rows apart in damaged pages."""
_UNREADABLE = (sqlite3.DatabaseError, UnicodeDecodeError)
T = TypeVar("T")


class CatalogSalvage:
    """The rows of a damaged catalog.

    SQLite tells which rows are current. The rows of a table that it can't read are searched for in
    all pages, where deleted ones may be among them. SQLite may change the file: pass a copy.

    Attributes:
        problems: Descriptions of what is damaged.
        cells: The place of each passage whose checksum is right, by its row.
        damaged: The ids of passages whose checksum is wrong, by row.
    """

    def __init__(self, path: Path) -> None:
        self.problems: list[str] = []
        self.cells: dict[int, Cell] = {}
        self.damaged: dict[int, str] = {}
        self._found: dict[int, list[list[Any]]] = {}  # other rows, by number of columns
        self._pages = self._scan_best(path)
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._is_readable = self._has_schema()
        if not self._is_readable:
            self.problems.append("catalog: its tables are not those of an index")
            return
        try:
            checked = self._connection.execute("PRAGMA integrity_check").fetchall()
            self.problems += [f"catalog: {text}" for (text,) in checked if text != "ok"]
        except _UNREADABLE as error:
            self.problems.append(f"catalog: {error}")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def passage(self, row: int) -> StoredPassage:
        """Return the passage of a row in ``cells``."""
        _, (_, *values, _) = self._pages.read_row(self.cells[row])
        return StoredPassage(row, *values)

    def current_rows(self) -> Rows | None:
        """Return the rows of all passages by SQLite, ascending; None if it can't read them."""
        if not self._is_readable:
            return None
        try:
            rows = self._connection.execute("SELECT row FROM passages ORDER BY row").fetchall()
        except _UNREADABLE:
            return None
        return np.array([row for (row,) in rows], np.int64)

    def settings(self) -> IndexSettings | None:
        """Return the settings, None if they are lost."""
        for text, checksum in self._select("settings")[0]:
            with suppress(CorruptIndexError, TypeError, AttributeError):
                if row_checksum(text) == checksum:
                    return IndexSettings.from_json(text)
        self.problems.append("the settings are lost")
        return None

    def state(self) -> State | None:
        """Return the newest state, None if it is lost."""
        states: list[State] = []
        for *values, digest, checksum in self._select("state")[0]:
            with suppress(TypeError, ValueError, AttributeError):
                fields: list[Any] = [*values, int(digest)]
                state = State(*fields)
                if has_valid_types(state) and row_checksum(*field_values(state)) == checksum:
                    states.append(state)
        if not states:
            self.problems.append("the counters of the catalog are lost")
            return None
        return max(states, key=lambda state: state.generation)

    def segments(self) -> list[SegmentRecord] | None:
        """Return the records of all segments; None if some are lost."""
        records, complete = self._records("segments", SegmentRecord)
        return records if complete else None

    def vector_sets(self) -> list[VectorSetRecord]:
        """Return the records of the vectors' encoders."""
        return self._records("vector_sets", VectorSetRecord)[0]

    def blocks(self) -> list[BlockRecord]:
        """Return the records of vector blocks, in the order in which they were written."""
        records = self._records("vector_blocks", BlockRecord)[0]
        return sorted(records, key=lambda record: record.number)

    def dead_rows(self) -> tuple[Rows, bool]:
        """Return the recorded rows of deleted passages, ascending, and whether these are all."""
        parts = [np.empty(0, np.int64)]
        rows, complete = self._select("tombstones")
        for number, data, checksum in rows:
            with suppress(TypeError, AttributeError, ValueError):
                if row_checksum(number, data) == checksum:
                    parts.append(np.frombuffer(data, "<u4").astype(np.int64))
                    continue
            complete = False
        if not complete:
            self.problems.append("records of deletions are damaged")
        return np.unique(np.concatenate(parts)), complete

    def _has_schema(self) -> bool:
        """Return whether the tables are those of an index: views and triggers would run code."""
        try:
            return has_schema(self._connection)
        except _UNREADABLE:
            return False

    def _scan_best(self, path: Path) -> SqlitePages:
        """Find all rows in the pages, with the page size by which most passages are found."""
        best: SqlitePages | None = None
        found = self.cells, self.damaged, self._found
        for page_size, reserved in guess_page_sizes(path):
            self.cells, self.damaged, self._found = {}, {}, {}
            pages = SqlitePages(path, page_size, reserved)
            self._scan(pages)
            if best is None or len(self.cells) > len(found[0]):
                best, found = pages, (self.cells, self.damaged, self._found)
        assert best is not None  # there is a default page size
        self.cells, self.damaged, self._found = found
        return best

    def _scan(self, pages: SqlitePages) -> None:
        """Find all rows in the pages."""
        for cell in pages.cells():
            try:
                key, values = pages.read_row(cell)
            except DamagedCellError:
                continue
            if len(values) != _PASSAGE_COLUMNS:
                if values and values[0] is None:
                    values[0] = key  # a primary key is stored as the row's key alone
                self._found.setdefault(len(values), []).append(values)
                continue
            _, name, title, text, metadata, content, checksum = values
            with suppress(TypeError, AttributeError):
                passage = StoredPassage(key, name, title, text, metadata, content)
                intact = passage_checksum(key, name, title, text, metadata, content) == checksum
                if intact and has_valid_types(passage):
                    self.cells[key] = cell
                    continue
            if isinstance(name, str):
                self.damaged[key] = name
        self.damaged = {row: name for row, name in self.damaged.items() if row not in self.cells}

    def _select(self, table: str) -> tuple[list[list[Any]], bool]:
        """Return the rows of a table, and whether SQLite could read them."""
        rows: list[Any] | None = None
        if self._is_readable:
            with suppress(*_UNREADABLE):
                rows = self._connection.execute(f"SELECT * FROM {table}").fetchall()
        if rows is None:
            return self._found.get(_COLUMNS[table], []), False
        return [list(row) for row in rows], True

    def _records(self, table: str, kind: Callable[..., T]) -> tuple[list[T], bool]:
        """Return the records of a table whose checksums are right, and whether these are all."""
        records: list[T] = []
        rows, complete = self._select(table)
        for *values, checksum in rows:
            with suppress(CorruptIndexError, TypeError, AttributeError, ValueError):
                records.append(verify_record(table, checksum, kind(*values)))
        complete = complete and len(records) == len(rows)
        if not complete:
            self.problems.append(f"records of the table {table} are damaged")
        return records, complete
