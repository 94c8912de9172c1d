"""Reads and writes queries, relevance judgments and runs in BEIR's and TREC's formats."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from twofold.corpus.reading import (
    FilePath,
    id_field,
    line_error,
    open_file,
    read_json_lines,
    read_rows,
    text_field,
)
from twofold.errors import CorpusError, InputError
from twofold.types import Run
from twofold.validation import as_path

Queries = dict[str, str]
"""Query id to text."""
Qrels = dict[str, dict[str, int]]
"""Query id to passage id to grade."""


def read_queries(path: FilePath) -> Queries:
    """Read queries from JSON lines (``_id``, ``id`` or ``docid``; ``text``) or from a table.

    A table (.tsv or .txt) has ids and texts separated by tabs. A header is recognised by its names,
    such as ``query-id`` and ``text``. Raises CorpusError naming the line.
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
    """Read judgments in BEIR's three tab-separated columns, or in TREC's four.

    A header is recognised by its names, such as ``query-id``, ``corpus-id`` and ``score``. A
    judgment may be repeated with the same grade. Raises CorpusError naming the line.
    """
    path = as_path("path", path)
    qrels: Qrels = {}
    headers = ("query", "passage", "grade"), ("query", "iteration", "passage", "grade")
    for number, line in read_rows(path, *headers):
        trimmed = line.rstrip()
        columns = trimmed.split("\t") if "\t" in trimmed else trimmed.split()
        if len(columns) == 4:  # TREC: query, iteration, passage, grade
            del columns[1]
        if len(columns) != 3:
            raise line_error(path, number, f"expected query, passage and grade, got {line!r:.60}")
        query_id, passage_id, text = columns
        try:
            grade = int(text.removesuffix(".0"))
        except ValueError:
            raise line_error(path, number, f"grade must be an integer, got {text!r}") from None
        before = qrels.setdefault(query_id, {}).setdefault(passage_id, grade)
        if before != grade:
            problem = f"passage {passage_id!r} has grade {grade} for query {query_id!r}"
            earlier = f"but {before} on an earlier line: remove one of them"
            raise line_error(path, number, f"{problem}, {earlier}")
    if not qrels:
        raise CorpusError(f"{path} has no judgments")
    return qrels


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
    determine the order. Raises CorpusError naming the line.
    """
    path = as_path("path", path)
    run: Run = {}
    header = "query", "iteration", "passage", "rank", "score", "run"
    for number, line in read_rows(path, header):
        columns = line.split()
        if len(columns) != 6:
            expected = "query, Q0, passage, rank, score and name"
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


def _read_query_lines(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield (line number, query id, text) of each query in a file."""
    name = path.with_suffix("") if path.suffix == ".gz" else path
    if name.suffix in (".tsv", ".txt"):
        for number, line in read_rows(path, ("query", "text")):
            query_id, tab, text = line.partition("\t")
            if not tab:
                raise line_error(path, number, "no tab between query id and text")
            yield number, query_id, text
    else:
        for number, record in read_json_lines(path):
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
