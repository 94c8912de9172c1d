"""Reads tables and JSON: each row or object is a passage by itself."""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

from twofold.corpus.documents.decoding import decode_text
from twofold.corpus.documents.document import Document, Entry, UnreadableError
from twofold.corpus.documents.reasons import BROKEN
from twofold.corpus.reading import ID_FIELDS, describe_json_error
from twofold.metadata import find_json_problem

TEXT_FIELDS = ("text", "contents")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?")
"""Numbers as tables have them; ``007`` and ``1_000`` are names."""
_LONG = 100
"""Characters of a value up to which it is metadata if the text has it too."""
_SAMPLE, _SAMPLE_ROWS = 64 * 1024, 50
"""Characters and rows of a table in which its delimiter is sought."""


def read_table(data: bytes, source: str) -> Document:
    """Read a CSV or TSV file, whose first row names the columns.

    Numbers are metadata as numbers where all of a column's values are numbers.
    """
    text, guessed = decode_text(data)
    numbered = _parse_rows(text, source)
    if not numbered:
        return Document("", PurePosixPath(source).stem, entries=())
    numbers, rows = [number for number, _ in numbered], [row for _, row in numbered]
    header = rows.pop(0) if len(rows) > 1 else []
    numbers = numbers[-len(rows) :]
    names = _name_columns(header, max(map(len, [header, *rows])))
    columns = [
        _as_metadata(name, [row[at].strip() if at < len(row) else "" for row in rows])
        for at, name in enumerate(names)
    ]
    objects = zip(
        (number - numbers[0] + 1 for number in numbers),
        (dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)),
        strict=True,
    )
    texts = [
        "\n".join(
            f"{name}: {cell.strip()}"
            for name, cell in zip(names, row, strict=False)
            if cell.strip()
        )
        for row in rows
    ]
    return _build(objects, source, "row", texts, guessed=guessed)


def read_json(data: bytes, source: str) -> Document:
    """Read a JSON file: a list of objects is a list of passages, other values are one."""
    text, guessed = decode_text(data)
    value = _parse_json(text)
    items = value if isinstance(value, list) else [value]
    if all(isinstance(item, dict) for item in items):
        return _build(enumerate(items, start=1), source, "item", guessed=guessed)
    lines = "\n".join(_flatten(value, ""))
    return Document(lines, PurePosixPath(source).stem, is_guessed=guessed)


def read_json_lines(data: bytes, source: str) -> Document:
    """Read a file of JSON lines, each of which is a passage."""
    text, guessed = decode_text(data)
    objects: list[tuple[int, dict[str, Any]]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = _parse_json(line)
        except UnreadableError as error:
            raise UnreadableError(BROKEN, f"line {number}: {error.detail}") from error
        objects.append((number, value if isinstance(value, dict) else {"value": value}))
    return _build(objects, source, "line", guessed=guessed)


def _build(
    objects: Iterable[tuple[int, dict[str, Any]]],
    source: str,
    place: str,
    written: Sequence[str] | None = None,
    *,
    guessed: bool,
) -> Document:
    """Return a document of entries from (place, object).

    ``written`` has the text of each object that has no field for its text.
    """
    texts: list[str] = []
    entries: list[Entry] = []
    length = 0
    for at, (number, value) in enumerate(objects):
        name = next((name for name in TEXT_FIELDS if _has_words(value.get(name))), None)
        if name is not None:
            text = value[name]
        else:
            text = written[at] if written is not None else "\n".join(_flatten(value, ""))
        if not text.strip():
            continue
        identifier = next((value[key] for key in ID_FIELDS if value.get(key) not in (None, "")), "")
        title = value.get("title") if name is not None else None
        metadata = {
            key: item
            for key, item in value.items()
            if key not in (*ID_FIELDS, name) and not (key == "title" and title is not None)
            if name is not None or not _is_long(item)
        }
        if isinstance(metadata.get("metadata"), dict):
            metadata |= metadata.pop("metadata")
        end = length + len(text)
        entries.append(Entry(length, end, number, str(identifier), str(title or ""), metadata))
        texts.append(text)
        length = end + 2
    name = PurePosixPath(source).stem
    return Document("\n\n".join(texts), name, (), place, (), tuple(entries), is_guessed=guessed)


def _has_words(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_long(value: Any) -> bool:
    """Return whether a value is for reading, and so not for filters."""
    return isinstance(value, list | dict) or (isinstance(value, str) and len(value) > _LONG)


def _parse_json(text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(BROKEN, describe_json_error(error)) from error
    problem = find_json_problem(value, "value")
    if problem is not None:
        raise UnreadableError(BROKEN, problem)
    return value


def _parse_rows(text: str, source: str) -> list[tuple[int, list[str]]]:
    """Return (number from 1, cells) of the rows of a table that have a value."""
    is_tabbed = source.lower().endswith((".tsv", ".tab"))
    delimiter = "\t" if is_tabbed else _find_delimiter(text)
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise UnreadableError(BROKEN, str(error)) from error
    return [
        (number, row)
        for number, row in enumerate(rows, start=1)
        if any(cell.strip() for cell in row)
    ]


def _find_delimiter(text: str) -> str:
    """Return the delimiter that gives the first rows the same number of columns, the most."""
    best, delimiter = (0.0, 0), ","
    for candidate in ",;\t|":
        reader = csv.reader(io.StringIO(text[:_SAMPLE], newline=""), delimiter=candidate)
        with suppress(csv.Error):
            rows = [len(row) for row in islice(reader, _SAMPLE_ROWS) if row]
            width = rows[0] if rows else 1  # that of the header
            found = (rows.count(width) / max(len(rows), 1), width)
            if width > 1 and found > best:
                best, delimiter = found, candidate
    return delimiter


def _name_columns(header: Sequence[str], width: int) -> list[str]:
    """Return a name for each column, all of them different."""
    names: dict[str, None] = {}
    for at in range(width):
        name = header[at].strip() if at < len(header) else ""
        name = name or f"column {at + 1}"
        names[name if name not in names else f"{name} {at + 1}"] = None
    return list(names)


def _as_metadata(name: str, values: Sequence[str]) -> list[Any]:
    """Return numbers if all values that aren't blank are plain ones, else the values.

    Ids stay as they are.
    """
    given = [value for value in values if value]
    if name in ID_FIELDS:
        return list(values)
    if all(_INTEGER.fullmatch(value) for value in given):
        return [int(value) if value else None for value in values]
    if all(_NUMBER.fullmatch(value) for value in given):
        return [float(value) if value else None for value in values]
    return list(values)


def _flatten(value: Any, path: str) -> Iterator[str]:
    """Yield a line "path: value" for each value that a JSON value has."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flatten(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        if all(not isinstance(item, dict | list) for item in value):
            if value:
                yield from _flatten(", ".join(_as_text(item) for item in value), path)
        else:
            for at, item in enumerate(value, start=1):
                yield from _flatten(item, f"{path}.{at}" if path else str(at))
    elif value is not None and value != "":
        yield f"{path}: {_as_text(value)}" if path else _as_text(value)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
