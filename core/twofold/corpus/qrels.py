"""Reads and writes queries, relevance judgments and runs, as collections are distributed."""

import math
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path

from twofold.corpus.reading import (
    FilePath,
    id_field,
    line_error,
    open_file,
    read_rows,
    text_field,
)
from twofold.corpus.records import read_columns, read_records, suffix_of
from twofold.corpus.topics import is_trec_topics, read_trec_topics
from twofold.errors import CorpusError, InputError
from twofold.types import Run
from twofold.validation import as_path

_MAX_DIGITS, _MAX_DECIMALS = 12, 3
_RUN_HEADERS = (
    ("query", "iteration", "passage", "rank", "score", "run"),
    ("query", "passage", "rank"),
)
Queries = dict[str, str]
"""Query id to text."""
Qrels = dict[str, dict[str, int]]
"""Query id to passage id to grade."""


def read_queries(path: FilePath) -> Queries:
    """Read queries from JSON lines, a table or TREC topics.

    - JSON lines have the fields ``_id``, ``id`` or ``docid``, and ``text``.
    - A table (.tsv, .txt, .csv or .parquet) has ids and texts; a header is recognised by its names,
      such as ``query-id`` and ``text``.
    - TREC topics are marked up by ``<top>`` or ``<topic>``. The text is the title or query; of a
      topic that has neither, the question or description.

    Raises:
        CorpusError: The file isn't valid. The message names the line.
    """
    path = as_path("path", path)
    queries: Queries = {}
    for number, query_id, text in _read_query_lines(path):
        if not query_id:
            raise line_error(path, number, "the query has no id")
        if query_id in queries:
            raise line_error(path, number, f"duplicate query {query_id!r}")
        queries[query_id] = text
    if not queries:
        raise CorpusError(f"{path} has no queries")
    return queries


def read_qrels(path: FilePath) -> Qrels:
    """Read judgments in BEIR's three columns, or in TREC's four; .csv and .parquet files too.

    A header is recognised by its names, such as ``query-id``, ``corpus-id`` and ``score``. A
    judgment may be repeated with the same grade. Fractional grades are scaled by `scale_grades`.

    Raises:
        CorpusError: The file isn't valid. The message names the line.
    """
    path = as_path("path", path)
    found: dict[str, dict[str, Decimal]] = {}
    headers = ("query", "passage", "grade"), ("query", "iteration", "passage", "grade")
    for number, columns in read_columns(path, *headers):
        if len(columns) == 4:  # TREC: query, iteration, passage, grade
            columns = [columns[0], *columns[2:]]
        if len(columns) != 3:
            given = " ".join(columns)
            raise line_error(path, number, f"expected query, passage and grade, got {given!r:.60}")
        query_id, passage_id, text = columns
        try:
            grade = Decimal(text)
        except InvalidOperation:
            grade = Decimal("nan")
        if not grade.is_finite():
            raise line_error(path, number, f"grade must be a number, got {text!r}")
        before = found.setdefault(query_id, {}).setdefault(passage_id, grade)
        if before != grade:
            problem = f"passage {passage_id!r} has grade {grade} for query {query_id!r}"
            earlier = f"but {before} on an earlier line: remove one of them"
            raise line_error(path, number, f"{problem}, {earlier}")
    if not found:
        raise CorpusError(f"{path} has no judgments")
    try:
        return scale_grades(found)
    except InputError as error:
        raise CorpusError(f"{path}: {error}") from None


def scale_grades(qrels: Mapping[str, Mapping[str, float | Decimal]]) -> Qrels:
    """Return judgments with integers as grades.

    If any grade has a fraction, all are multiplied by the smallest power of ten that makes them
    integers. nDCG stays as it is, because its gains are linear. For measures of relevant and
    other passages, such as AP, every grade above 0 is relevant.

    Raises:
        InputError: A grade is not finite, or has more than 12 digits or 3 decimals.

    Example:
        >>> from twofold.corpus import scale_grades
        >>> scale_grades({"q": {"a": 1, "b": 0.25}})
        {'q': {'a': 100, 'b': 25}}
    """
    exact: dict[str, dict[str, Decimal]] = {}
    decimals = 0
    for query_id, grades in qrels.items():
        exact[query_id] = {}
        for passage_id, grade in grades.items():
            value = grade if isinstance(grade, Decimal) else Decimal(repr(float(grade)))
            places = _count_decimals(value)
            if places is None or places > _MAX_DECIMALS:
                raise InputError(
                    f"the grade of passage {passage_id!r} for query {query_id!r} must be a finite "
                    f"number with at most {_MAX_DIGITS} digits and {_MAX_DECIMALS} decimals, got "
                    f"{grade}: round it"
                )
            decimals = max(decimals, places)
            exact[query_id][passage_id] = value
    factor = Decimal(10) ** decimals
    return {
        query_id: {passage_id: int(value * factor) for passage_id, value in grades.items()}
        for query_id, grades in exact.items()
    }


def _count_decimals(value: Decimal) -> int | None:
    """Return the digits of a number after its point, None for one that is not finite or huge."""
    if not value.is_finite() or value.adjusted() >= _MAX_DIGITS:
        return None
    exponent = value.normalize().as_tuple().exponent
    return max(-exponent, 0) if isinstance(exponent, int) else None


def write_qrels(path: FilePath, qrels: Mapping[str, Mapping[str, int]]) -> None:
    """Write judgments in TREC's four columns: query, 0, passage and grade.

    Raises:
        InputError: An id contains whitespace. Nothing was written.
    """
    lines: list[str] = []
    for query_id, grades in qrels.items():
        _check_column("query id", query_id)
        for passage_id, grade in grades.items():
            _check_column("passage id", passage_id)
            lines.append(f"{query_id} 0 {passage_id} {int(grade)}\n")
    with open_file(as_path("path", path), "wt") as file:
        file.writelines(lines)


def read_run(path: FilePath) -> Run:
    """Read a run in TREC's six columns: query, Q0, passage, rank, score and name.

    A header is recognised by names such as these. As in trec_eval, the scores alone
    determine the order. In MS MARCO's three columns (query, passage and rank), the score is
    1 / rank. Raises CorpusError naming the line.
    """
    path = as_path("path", path)
    run: Run = {}
    for number, line in read_rows(path, *_RUN_HEADERS):
        columns = line.split()
        if len(columns) == 3:
            columns = [columns[0], "Q0", columns[1], "", _score_of_rank(columns[2]), ""]
        if len(columns) != 6:
            expected = "query, Q0, passage, rank, score and name, or query, passage and rank"
            raise line_error(path, number, f"expected {expected}, got {line!r:.60}")
        query_id, _, passage_id, _, text, _ = columns
        scores = run.setdefault(query_id, {})
        if passage_id in scores:
            problem = f"duplicate passage {passage_id!r} for query {query_id!r}"
            raise line_error(path, number, problem)
        try:
            scores[passage_id] = float(text)
        except ValueError:
            scores[passage_id] = math.nan
        if not math.isfinite(scores[passage_id]):
            raise line_error(path, number, f"score must be a number, got {text!r}")
    if not run:
        raise CorpusError(f"{path} has no hits")
    return run


def write_run(path: FilePath, run: Mapping[str, Mapping[str, float]], name: str) -> None:
    """Write a run in TREC's six columns, best first, ties by passage id, ranks from 1.

    Scores are written with all digits. A query without hits gets no line. ``name`` names the run.

    Raises:
        InputError: An id or the name has whitespace, or a score is not finite. Nothing was written.
    """
    lines: list[str] = []
    _check_column("name", name)
    for query_id, scores in run.items():
        _check_column("query id", query_id)
        ordered = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
        for rank, (passage_id, score) in enumerate(ordered, start=1):
            _check_column("passage id", passage_id)
            if not math.isfinite(score):
                raise InputError(
                    f"scores must be finite, got {score!r} for passage {passage_id!r} of query "
                    f"{query_id!r}"
                )
            lines.append(f"{query_id} Q0 {passage_id} {rank} {float(score)!r} {name}\n")
    with open_file(as_path("path", path), "wt") as file:
        file.writelines(lines)


def _score_of_rank(text: str) -> str:
    """Return 1 / rank as text, or the text of what is no rank."""
    rank = int(text) if text.isdecimal() and len(text) < 10 else 0
    return repr(1 / rank) if rank else f"rank {text}"


def _read_query_lines(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield (line number, query id, text) of each query in a file."""
    suffix = suffix_of(path)
    if is_trec_topics(path):
        yield from read_trec_topics(path)
    elif suffix in (".csv", ".parquet"):
        for number, columns in read_columns(path, ("query", "text")):
            if len(columns) < 2:
                raise line_error(path, number, f"expected an id and a text, got {columns!r:.60}")
            yield number, columns[0], columns[1]
    elif suffix in (".tsv", ".txt"):
        for number, line in read_rows(path, ("query", "text")):
            query_id, tab, text = line.partition("\t")
            if not tab:
                raise line_error(path, number, "no tab between query id and text")
            yield number, query_id, text
    else:
        for number, record in read_records(path):
            query_id = id_field(path, number, record)
            yield number, query_id, text_field(path, number, record, "text")


def _check_column(name: str, value: str) -> None:
    """Raise InputError for a value that can't be a column of a TREC file."""
    if value.split() != [value]:
        raise InputError(
            f"{name} {value!r} is empty or has a blank, which separates columns in TREC files: "
            "rename it"
        )
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise InputError(f"{name} {value!r} has half a surrogate pair, which isn't valid text")
    if value.startswith("\ufeff"):
        raise InputError(f"{name} {value!r} begins with a byte order mark: remove it")
