"""Reads records from JSON lines, JSON, TSV, CSV and Parquet, and passages from records."""

import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from twofold.corpus.reading import (
    ID_FIELDS,
    id_field,
    is_header,
    line_error,
    open_file,
    parse_json_file,
    read_json_lines,
    read_lines,
    text_field,
)
from twofold.errors import CorpusError
from twofold.extras import check_extra
from twofold.limits import read_limit
from twofold.types import Passage

RECORD_SUFFIXES = (".jsonl", ".ndjson", ".parquet", ".tsv", ".csv", ".json")
"""Suffixes of files of records. All but Parquet may be gzipped, with .gz after the suffix."""
_PASSAGE_FIELDS = (*ID_FIELDS, "title", "text", "metadata")
_COLUMNS = {
    2: ("id", "text"),
    3: ("id", "title", "text"),
    4: ("id", "url", "title", "text"),
}
"""By their number, the columns of a TSV file of passages that has no header, as MS MARCO's have."""
_HEADERS = {"pid": "id", "doc_id": "id", "passage_id": "id", "document_id": "id", "body": "text"}
_HEADERS |= {"docno": "id", "corpus_id": "id", "passage": "text", "content": "text"}
"""Other names of columns in headers of passages."""


def suffix_of(path: Path) -> str:
    """Return the suffix of a file in small letters, the one before ``.gz`` if it has that."""
    name = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return name.suffix.lower()


def read_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line, row or item from 1, record) of a file; raise CorpusError naming the line."""
    suffix = suffix_of(path)
    if suffix == ".parquet":
        return _read_parquet(path)
    if suffix == ".csv":
        return _read_csv(path)
    if suffix == ".tsv":
        return _read_tsv(path)
    return parse_json_file(path) if suffix == ".json" else read_json_lines(path)


def read_passages(paths: Iterable[Path]) -> Iterator[Passage]:
    """Yield the passages of files of records, such as BEIR's, MIRACL's and pyserini's corpora.

    The id is the field ``_id``, ``id`` or ``docid``, and the text is ``text``, or ``contents`` if
    there is no ``text``. ``title`` and ``metadata`` are optional. Other fields become metadata.
    Raises CorpusError naming the line, also for an id that an earlier line has.
    """
    seen: set[str] = set()
    for path in paths:
        for number, record in read_records(path):
            yield _read_passage(path, number, record, seen)


def read_columns(path: Path, *headers: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, columns) of a table of queries or judgments, without its header.

    Columns are separated by commas in a .csv file, else by tabs, or by blanks in lines without
    tabs. ``headers`` are the headers that the first line may be, as in ``is_header``. A Parquet
    file has the columns in the order of a header.
    """
    suffix = suffix_of(path)
    if suffix == ".parquet":
        yield from _order_columns(path, headers)
        return
    first = True
    rows = _read_csv_rows(path) if suffix == ".csv" else _split_lines(path)
    for number, columns in rows:
        if not (first and any(is_header(columns, kinds) for kinds in headers)):
            yield number, columns
        first = False


def _read_passage(path: Path, number: int, record: dict[str, Any], seen: set[str]) -> Passage:
    metadata = record.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise line_error(path, number, f"metadata must be a JSON object, got {metadata!r:.60}")
    absent = record.get("text") is None and record.get("contents") is not None
    text = "contents" if absent else "text"
    others = {
        name: value
        for name, value in record.items()
        if name not in _PASSAGE_FIELDS and name != text
    }
    passage_id = id_field(path, number, record)
    if passage_id in seen:
        raise line_error(
            path, number, f"passage id {passage_id!r} is given twice: an earlier line has it"
        )
    if passage_id:
        seen.add(passage_id)
    return Passage(
        id=passage_id,
        title="" if record.get("title") is None else text_field(path, number, record, "title"),
        text=text_field(path, number, record, text),
        metadata=others | (metadata or {}),
    )


def _read_tsv(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a table whose columns are separated by tabs. Quotes are plain text."""
    names: Sequence[str] | None = None
    for number, line in read_lines(path):
        columns = line.split("\t")
        if names is None:
            names = _header_names(columns)
            if names is not None:
                continue
            names = _COLUMNS.get(len(columns))
            if names is None:
                problem = f"expected 2 to 4 columns or a header, got {len(columns)}"
                raise line_error(path, number, problem)
        if len(columns) != len(names):
            problem = f"expected {len(names)} columns, got {len(columns)}"
            raise line_error(path, number, problem)
        yield number, dict(zip(names, columns, strict=True))


def _read_csv(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a CSV file, which has a header."""
    names: Sequence[str] | None = None
    for number, columns in _read_csv_rows(path):
        if names is None:
            names = _header_names(columns)
            if names is None:
                given = ", ".join(columns)
                problem = f"expected a header with an id and a text, got {given!r:.80}"
                raise line_error(path, number, problem)
            continue
        if len(columns) != len(names):
            problem = f"expected {len(names)} columns, got {len(columns)}"
            raise line_error(path, number, problem)
        yield number, dict(zip(names, columns, strict=True))


def _header_names(columns: Sequence[str]) -> list[str] | None:
    """Return the names of fields if a line is a header with a text, else None."""
    names = [column.strip() for column in columns]
    keys = [name.lower().replace("-", "_").replace(" ", "_") for name in names]
    fields = [
        key if key in (*_PASSAGE_FIELDS, "contents") else _HEADERS.get(key, name)
        for key, name in zip(keys, names, strict=True)
    ]
    if not {"text", "contents"} & set(fields) or len(set(fields)) < len(fields):
        return None
    return fields


def _split_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    for number, line in read_lines(path):
        trimmed = line.rstrip()
        yield number, trimmed.split("\t") if "\t" in trimmed else trimmed.split()


def _read_csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, columns) of the rows of a CSV file that aren't blank."""
    try:
        with open_file(path, "rb") as file:
            csv.field_size_limit(max(csv.field_size_limit(), read_limit("line_bytes")))
            reader = csv.reader(io.TextIOWrapper(file, "utf-8-sig", newline=""), strict=True)
            for columns in reader:
                if any(column.strip() for column in columns):
                    yield reader.line_num, columns
    except FileNotFoundError:
        raise CorpusError(f"there is no file {path}") from None
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path} is not UTF-8 ({error.reason})") from None
    except csv.Error as error:
        raise line_error(path, reader.line_num, f"not CSV: {error}") from None
    except (OSError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CorpusError(f"{path} can't be read: {error}") from error


def _read_parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a Parquet file."""
    check_extra("parquet", "Parquet files", "pyarrow")
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    if not path.exists():
        raise CorpusError(f"there is no file {path}")
    number = 0
    try:
        with ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                for record in batch.to_pylist():
                    number += 1
                    yield number, record
    except (ArrowException, OSError, OverflowError) as error:
        raise CorpusError(f"{path} can't be read as Parquet: {error}") from error


def _order_columns(path: Path, headers: Sequence[Sequence[str]]) -> Iterator[tuple[int, list[str]]]:
    """Yield the columns of a Parquet file in the order of one of the headers."""
    order: list[str] | None = None
    for number, record in _read_parquet(path):
        if order is None:
            order = _match_header(list(record), headers)
            if order is None:
                expected = " or ".join(", ".join(kinds) for kinds in headers)
                raise CorpusError(f"{path} must have columns {expected}, got {', '.join(record)}")
        missing = next((name for name in order if record[name] is None), None)
        if missing is not None:
            raise line_error(path, number, f"the column {missing!r} has no value")
        yield number, [str(record[name]) for name in order]


def _match_header(names: list[str], headers: Sequence[Sequence[str]]) -> list[str] | None:
    """Return the columns of a header in its order, None if no header has them all."""
    for kinds in sorted(headers, key=len, reverse=True):
        chosen: list[str] = []
        for kind in kinds:
            chosen += [n for n in names if n not in chosen and is_header([n], [kind])][:1]
        if len(chosen) == len(kinds):
            return chosen
    return None
