"""Reads text files, plain or gzipped, with line numbers for errors."""

import gzip
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from twofold.errors import CorpusError
from twofold.types import Passage

FilePath = str | os.PathLike[str]
_PASSAGE_FIELDS = ("_id", "id", "title", "text", "metadata")


def open_file(path: Path, mode: Literal["rb", "rt", "wt"]) -> Any:
    """Open a file, with gzip if its name ends in .gz. Text is UTF-8, without byte order mark."""
    encoding = {"rb": None, "rt": "utf-8-sig", "wt": "utf-8"}[mode]
    if path.suffix == ".gz":
        return gzip.open(path, mode, encoding=encoding)
    return path.open(mode, encoding=encoding)


def line_error(path: Path, number: int, problem: str) -> CorpusError:
    """Return the error for a ``problem`` in line ``number`` of a file."""
    return CorpusError(f"{path}, line {number}: {problem}")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line) of non-blank lines; raise CorpusError if unreadable."""
    try:
        with open_file(path, "rt") as file:
            text: str = file.read()
    except FileNotFoundError:
        raise CorpusError(f"there is no file {path}") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise CorpusError(f"{path} can't be read: {error}") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.rstrip("\r")


def read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from 1, JSON object) of non-blank lines; raise CorpusError if invalid."""
    for number, line in read_raw_lines(path):
        yield number, _parse_object(path, number, line)


def read_raw_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (line number from 1, bytes) of non-blank lines while reading; raise CorpusError."""
    number = 0
    try:
        with open_file(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line
    except FileNotFoundError:
        raise CorpusError(f"there is no file {path}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"{path} can't be read after line {number}: {error}") from error


def read_passages(path: Path) -> Iterator[Passage]:
    """Yield the passages of a file in BEIR's format: ``_id`` or ``id``, ``title``, ``text``.

    Other fields become metadata. Raises CorpusError naming the line.
    """
    for number, record in read_json_lines(path):
        metadata = record.get("metadata")
        if metadata is not None and not isinstance(metadata, dict):
            raise line_error(path, number, f"metadata must be a JSON object, got {metadata!r:.60}")
        others = {name: value for name, value in record.items() if name not in _PASSAGE_FIELDS}
        yield Passage(
            id=id_field(path, number, record),
            title="" if record.get("title") is None else text_field(path, number, record, "title"),
            text=text_field(path, number, record, "text"),
            metadata=others | (metadata or {}),
        )


def text_field(path: Path, number: int, record: dict[str, Any], name: str) -> str:
    """Return a field of a record; raise CorpusError if it isn't a string."""
    value = record.get(name)
    if not isinstance(value, str):
        raise line_error(path, number, f"{name!r} must be a string, got {value!r:.60}")
    return value


def id_field(path: Path, number: int, record: dict[str, Any]) -> str:
    """Return ``_id`` or ``id``, an integer as its digits; an empty string if there is none."""
    value = record.get("_id")
    value = record.get("id") if value is None else value
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise line_error(path, number, f"an id must be a string or an integer, got {value!r:.60}")
    return str(value)


def _parse_object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except UnicodeDecodeError as error:
        raise line_error(path, number, f"not UTF-8 ({error.reason})") from None
    except json.JSONDecodeError as error:
        raise line_error(path, number, f"not JSON ({error})") from None
    if not isinstance(record, dict):
        raise line_error(path, number, f"must be a JSON object, got {record!r:.60}")
    return record
