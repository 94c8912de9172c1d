"""Reads text files, plain or gzipped, with line numbers for errors."""

import gzip
import json
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from twofold.errors import CorpusError
from twofold.limits import limit_message, read_limit
from twofold.metadata import MAX_DEPTH, find_json_problem

FilePath = str | os.PathLike[str]
ID_FIELDS = ("_id", "id", "docid")
"""Names of the field that has the id of a passage or a query."""
_BOM = b"\xef\xbb\xbf"
# Bytes without which a line has no non-finite number and no half surrogate pair.
_SUSPECT = re.compile(rb"NaN|Infinity|\\u[dD][89a-fA-F]|\d[eE]\+?\d\d\d|\d{309}")
_SEPARATORS = re.compile(r"[-_. ]")
_PARTS = r"(passage|document|doc|psg|text|p|d)?(id|no)?"
_COLUMNS = {
    "query": r"(query|q|topic|question|anchor)(id|no|text)?|id",
    "iteration": r"iter|iteration|q0|0|unused",
    "passage": r"[a-z]*(id|no)|passage|document|doc|corpus",
    "grade": r"[a-z]*(score|grade|rel|relevance|relevancy|label|judge?ment|qrel)s?",
    "rank": r"rank|position",
    "score": r"[a-z]*(score|sim|similarity)",
    "run": r"run|[a-z]*(id|name)|tag|system",
    "text": r"(query|q|topic|question)?(text|title|contents?)|query|question|topic",
    "positive": rf"{_PARTS}(pos|positive|relevant){_PARTS}",
    "negative": rf"{_PARTS}(hard)?(neg|negative|nonrelevant|irrelevant){_PARTS}",
}
"""By the kind of a column, a pattern of its names in headers, in small letters."""


def open_file(path: Path, mode: Literal["rb", "wt"]) -> Any:
    """Open a file, with gzip if its name ends in .gz. Text is written as UTF-8."""
    encoding = "utf-8" if mode == "wt" else None
    if path.suffix.lower() == ".gz":
        return gzip.open(path, mode, encoding=encoding)
    return path.open(mode, encoding=encoding)


def line_error(path: Path, number: int, problem: str) -> CorpusError:
    """Return the error for a ``problem`` in line ``number`` of a file."""
    return CorpusError(f"{path}, line {number}: {problem}")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line) of non-blank lines; raise CorpusError naming the line."""
    for number, line in read_raw_lines(path):
        try:
            text = line.removeprefix(_BOM if number == 1 else b"").decode()
        except UnicodeDecodeError as error:
            raise line_error(path, number, f"not UTF-8 ({error.reason})") from None
        if text.strip():
            yield number, text.rstrip("\r\n")


def read_rows(path: Path, *headers: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield (line number, line) of the non-blank lines of a table, without its header.

    ``headers`` are the headers that the first line may be, as in ``is_header``.
    """
    first = True
    for number, line in read_lines(path):
        columns = line.split("\t") if "\t" in line else line.split()
        if not (first and any(is_header(columns, kinds) for kinds in headers)):
            yield number, line
        first = False


def is_header(columns: Sequence[str], kinds: Sequence[str]) -> bool:
    """Return whether each column of a line has a name that is usual for a column of its kind.

    For example, ``query-id``, ``docno`` and ``relevance`` are usual names for a query, a passage
    and a grade. The kinds are the keys of ``_COLUMNS``. Blank columns at the end don't count.
    """
    names = [_SEPARATORS.sub("", column).lower() for column in columns]
    while names and not names[-1].strip():
        names.pop()
    return len(names) == len(kinds) and all(
        re.fullmatch(_COLUMNS[kind], name.strip()) for kind, name in zip(kinds, names, strict=True)
    )


def read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from 1, JSON object) of non-blank lines; raise CorpusError if invalid."""
    for number, line in read_raw_lines(path):
        yield number, _parse_object(path, number, line)


def read_raw_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (line number from 1, bytes) of non-blank lines while reading; raise CorpusError.

    No more of a line than the limit ``line_bytes`` is read or decompressed.
    """
    number, limit = 0, read_limit("line_bytes")
    try:
        with open_file(path, "rb") as file:
            for number, line in enumerate(iter(partial(file.readline, limit + 1), b""), start=1):
                if len(line) > limit:
                    raise line_error(path, number, _line_message(limit))
                if line.strip():
                    yield number, line
    except FileNotFoundError:
        raise CorpusError(f"there is no file {path}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"{path} can't be read after line {number}: {error}") from error


def _line_message(limit: int) -> str:
    given, advice = f"more than {limit:,}", "split what it has into several lines"
    return limit_message("line_bytes", limit, "a line", "bytes", given, advice)


def parse_json_file(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (number from 1, JSON object) of a file that has a list of objects; raise CorpusError.

    No more of it than the limit ``file_bytes`` is read or decompressed.
    """
    limit = read_limit("file_bytes")
    try:
        with open_file(path, "rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        raise CorpusError(f"there is no file {path}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"{path} can't be read: {error}") from error
    if len(data) > limit:
        given, advice = f"more than {limit:,}", "pass JSON lines"
        raise CorpusError(limit_message("file_bytes", limit, f"{path}", "bytes", given, advice))
    try:
        items = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{path}: {describe_json_error(error)}") from None
    if not isinstance(items, list):
        raise CorpusError(f"{path} must have a list of JSON objects, got {items!r:.60}")
    for number, record in enumerate(items, start=1):
        problem = find_json_problem(record, "record")
        if not isinstance(record, dict) or problem is not None:
            given = problem if problem is not None else f"got {record!r:.60}"
            raise CorpusError(f"{path}, item {number}: must be a JSON object: {given}")
        yield number, record


def text_field(path: Path, number: int, record: dict[str, Any], name: str) -> str:
    """Return a field of a record; raise CorpusError if it isn't a string."""
    value = record.get(name)
    if not isinstance(value, str):
        raise line_error(path, number, f"{name!r} must be a string, got {value!r:.60}")
    return value


def id_field(path: Path, number: int, record: dict[str, Any]) -> str:
    """Return the id of a record, an integer as its digits; an empty string if there is none.

    Raises CorpusError if two of ``ID_FIELDS`` are given and differ. A null or an empty string
    counts as not given.
    """
    found: dict[str, str] = {}
    for name in ID_FIELDS:
        value = record.get(name)
        if value is None or value == "":
            continue
        if isinstance(value, bool) or not isinstance(value, str | int):
            problem = f"an id must be a string or an integer, got {value!r:.60}"
            raise line_error(path, number, problem)
        found[name] = str(value)
    if len(set(found.values())) > 1:
        given = " and ".join(f"{name!r} {value!r:.60}" for name, value in found.items())
        problem = f"two different ids, {given}: keep the id, and rename the other field"
        raise line_error(path, number, problem)
    return next(iter(found.values()), "")


def describe_json_error(error: ValueError | RecursionError) -> str:
    """Return what is wrong with text that json.loads refused with ``error``."""
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 ({error.reason})"
    if isinstance(error, RecursionError):
        return f"nested more than {MAX_DEPTH} levels deep"
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON ({error})"
    return f"a number can't be read ({error})"  # an integer of thousands of digits


def _parse_object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise line_error(path, number, describe_json_error(error)) from None
    if not isinstance(record, dict):
        raise line_error(path, number, f"must be a JSON object, got {record!r:.60}")
    if _SUSPECT.search(line) or line.count(b"[") + line.count(b"{") > MAX_DEPTH:
        problem = find_json_problem(record, "record")
        if problem is not None:
            raise line_error(path, number, problem)
    return record
