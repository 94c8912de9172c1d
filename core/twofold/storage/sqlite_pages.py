"""Reads rows from the pages of a SQLite file that SQLite itself may refuse.

Every leaf page of a table is parsed, so damage elsewhere hides nothing. The format is that of
https://www.sqlite.org/fileformat2.html. Nothing read here is checked: rows have checksums of their
own. Pages that are free may hold rows that were deleted.
"""

import mmap
import struct
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

_LEAF = 0x0D  # type of the leaf pages of tables
_HEADER = 100  # bytes before the first page's own header
_LOG_HEADER, _FRAME_HEADER = 32, 24
_LOG_MAGIC = (0x377F0682, 0x377F0683)
_DEFAULT_PAGE = 4096
_MAX_COLUMNS = 16
_INTEGER_SIZES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
Cell = tuple[int, int]
"""A page's number, from 1, and a cell's offset in it."""


class DamagedCellError(ValueError):
    """A cell does not hold a row."""


class SqlitePages:
    """The pages of a SQLite file, with those of its write-ahead log in their place.

    Args:
        path: The file. A log is expected at ``path`` with ``-wal`` appended.
        page_size: Bytes of a page.
        reserved: Bytes at the end of each page that are not used.
    """

    def __init__(self, path: Path, page_size: int, reserved: int) -> None:
        self._data = path.read_bytes() if path.stat().st_size < _HEADER else _map(path)
        self.page_size = page_size
        self._usable = page_size - reserved
        self._log = self._read_log(path.with_name(path.name + "-wal"))
        self._count = -(-len(self._data) // page_size)
        self._size = len(self._data) + page_size * len(self._log)
        self._budget = 2 * self._size  # for overflow pages, of which each belongs to one cell

    def cells(self) -> Iterator[Cell]:
        """Yield all cells of the tables' leaf pages."""
        beyond = sorted(number for number in self._log if number > self._count)
        for number in chain(range(1, self._count + 1), beyond):
            page, start = self._page(number), _HEADER if number == 1 else 0
            if len(page) < start + 8 or page[start] != _LEAF:
                continue
            count = int.from_bytes(page[start + 3 : start + 5], "big")
            pointers = page[start + 8 : start + 8 + 2 * count]
            numbers = struct.iter_unpack(">H", pointers[: len(pointers) & ~1])
            for offset in sorted({offset for (offset,) in numbers}):
                yield number, offset

    def read_row(self, cell: Cell) -> tuple[int, list[Any]]:
        """Return the key and the columns of a row; raise DamagedCellError if it isn't whole."""
        try:
            return self._read_row(*cell)
        except (ValueError, IndexError, struct.error) as error:
            raise DamagedCellError(str(error)) from error

    def _page(self, number: int) -> bytes:
        if number in self._log:
            return self._log[number]
        start = (number - 1) * self.page_size
        return self._data[start : start + self.page_size]

    def _read_row(self, number: int, offset: int) -> tuple[int, list[Any]]:
        page = self._page(number)
        size, offset = _read_varint(page, offset)
        key, offset = _read_varint(page, offset)
        key -= 1 << 64 if key >> 63 else 0
        payload = self._read_payload(page, offset, size)
        length, place = _read_varint(payload, 0)
        kinds: list[int] = []
        while place < length:
            kind, place = _read_varint(payload, place)
            kinds.append(kind)
            if len(kinds) > _MAX_COLUMNS:
                raise DamagedCellError("too many columns")
        values: list[Any] = []
        for kind in kinds:
            value, place = _read_value(payload, place, kind)
            values.append(value)
        return key, values

    def _read_payload(self, page: bytes, offset: int, size: int) -> bytes:
        """Return a payload of ``size`` bytes, of which long ones continue on other pages."""
        usable = self._usable
        if size <= usable - 35:
            local = size
        else:
            least = (usable - 12) * 32 // 255 - 23
            local = least + (size - least) % (usable - 4)
            local = local if local <= usable - 35 else least
        if size > self._size or offset + local > len(page):
            raise DamagedCellError("the payload is longer than the file")
        parts, missing = [page[offset : offset + local]], size - local
        number = int.from_bytes(page[offset + local : offset + local + 4], "big")
        seen: set[int] = set()
        while missing > 0:
            overflow = self._page(number) if number else b""
            part = overflow[4 : 4 + min(missing, usable - 4)]
            if not part or number in seen or self._budget < 0:
                raise DamagedCellError("an overflow page is missing, or follows itself")
            seen.add(number)
            self._budget -= len(part)
            parts.append(part)
            missing -= len(part)
            number = int.from_bytes(overflow[:4], "big")
        return b"".join(parts)

    def _read_log(self, path: Path) -> dict[int, bytes]:
        """Return the pages that were committed to the log, the last version of each."""
        if not path.is_file():
            return {}
        data = path.read_bytes()
        if len(data) < _LOG_HEADER or int.from_bytes(data[:4], "big") not in _LOG_MAGIC:
            return {}
        salts, step = data[16:24], _FRAME_HEADER + self.page_size
        committed: dict[int, bytes] = {}
        pending: dict[int, bytes] = {}
        for start in range(_LOG_HEADER, len(data) - step + 1, step):
            frame = data[start : start + _FRAME_HEADER]
            if frame[8:16] != salts:
                break  # of an earlier round
            pending[int.from_bytes(frame[:4], "big")] = data[start + _FRAME_HEADER : start + step]
            if frame[4:8] != bytes(4):
                committed |= pending
                pending = {}
        return committed


def guess_page_sizes(path: Path) -> list[tuple[int, int]]:
    """Return the possible page sizes and reserved bytes of a file, those in its header first."""
    with path.open("rb") as file:
        header = file.read(_HEADER)
    size = int.from_bytes(header[16:18], "big")
    size = 1 << 16 if size == 1 else size
    found = [(_DEFAULT_PAGE, 0)]
    if size >= 512 and size & (size - 1) == 0:
        reserved = header[20] if len(header) > 20 and header[20] < 64 else 0
        found = [(size, reserved), (size, 0), *found]
    return list(dict.fromkeys(found))


def _map(path: Path) -> Any:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _read_varint(data: bytes, offset: int) -> tuple[int, int]:
    """Return an integer of 1 to 9 bytes, and where it ends."""
    value = 0
    for _ in range(8):
        byte = data[offset]
        offset += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, offset
    return value << 8 | data[offset], offset + 1


def _read_value(payload: bytes, place: int, kind: int) -> tuple[Any, int]:
    """Return a column's value by its serial type, and where it ends."""
    if kind == 0:
        return None, place
    if kind in (8, 9):
        return kind - 8, place
    if kind in _INTEGER_SIZES:
        end = place + _INTEGER_SIZES[kind]
        return int.from_bytes(payload[place:end], "big", signed=True), end
    if kind == 7:
        return struct.unpack(">d", payload[place : place + 8])[0], place + 8
    if kind < 12:
        raise DamagedCellError(f"there are no values of type {kind}")
    end = place + (kind - 12) // 2
    if end > len(payload):
        raise DamagedCellError("a value is longer than its row")
    value = bytes(payload[place:end])
    return (value if kind % 2 == 0 else value.decode()), end
