"""Lines of text files, plain or gzipped, with the line's number for errors."""

import gzip
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from twofold.errors import CorpusError, InputError
from twofold.types import Passage

FilePath = str | os.PathLike[str]
"""A file's path, as callers give it."""


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line without its end) of each that isn't blank.

    Raises CorpusError.
    """
    try:
        with opened(path, "rt") as file:
            text: str = file.read()
    except FileNotFoundError:
        raise CorpusError(f"there is no file {path}") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise CorpusError(f"{path} can't be read: {error}") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.rstrip("\r")


def opened(path: Path, mode: Literal["rb", "rt", "wt"]) -> Any:
    """Open a file, through gzip if its name ends in .gz; text is UTF-8, read without its mark."""
    encoding = {"rb": None, "rt": "utf-8-sig", "wt": "utf-8"}[mode]
    if path.suffix == ".gz":
        return gzip.open(path, mode, encoding=encoding)
    return path.open(mode, encoding=encoding)


def check_column(what: str, value: str) -> None:
    """Raise InputError for a value that can't stand between blanks in a TREC file."""
    if not value or any(char.isspace() for char in value):
        raise InputError(
            f"the {what} {value!r} is empty or holds a blank, and TREC's files part columns by "
            "blanks: give it another one"
        )
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise InputError(f"the {what} {value!r} has half a surrogate pair, which is no text")


_KNOWN = ("_id", "id", "title", "text", "metadata")


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from 1, object) of each line that isn't blank; raise CorpusError."""
    number = 0
    try:
        with opened(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, _object(path, number, line)
    except FileNotFoundError:
        raise CorpusError(f"there is no file {path}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"{path} can't be read after line {number}: {error}") from error


def passages_in(path: Path) -> Iterator[Passage]:
    """Yield the passages of a corpus in BEIR's form: ``_id`` or ``id``, ``title``, ``text``.

    Fields with other names become metadata. Raises CorpusError naming the line.
    """
    for number, record in json_lines(path):
        yield _passage(path, number, record)


def text_field(path: Path, number: int, record: dict[str, Any], name: str) -> str:
    """Return a field that must be a string; raise CorpusError naming the line."""
    value = record.get(name)
    if not isinstance(value, str):
        raise CorpusError(f"{path}, line {number}: {name!r} is a string, not {value!r:.60}")
    return value


def id_field(path: Path, number: int, record: dict[str, Any]) -> str:
    """Return ``_id`` or ``id``, a number as its digits; an empty string if there is none."""
    value = record.get("_id", record.get("id"))
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise CorpusError(
            f"{path}, line {number}: an id is a string or a number, not {value!r:.60}"
        )
    return str(value)


def _passage(path: Path, number: int, record: dict[str, Any]) -> Passage:
    metadata = record.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise CorpusError(f"{path}, line {number}: metadata is an object, not {metadata!r:.60}")
    others = {name: value for name, value in record.items() if name not in _KNOWN}
    title = record.get("title")
    return Passage(
        id=id_field(path, number, record),
        title="" if title is None else text_field(path, number, record, "title"),
        text=text_field(path, number, record, "text"),
        metadata={**others, **(metadata if metadata is not None else {})},
    )


def _object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path}, line {number}: not UTF-8 ({error.reason})") from None
    except json.JSONDecodeError as error:
        raise CorpusError(f"{path}, line {number}: not JSON ({error})") from None
    if not isinstance(record, dict):
        raise CorpusError(f"{path}, line {number}: a JSON object is wanted, not {record!r:.60}")
    return record
