"""Queries and relevance judgments, in BEIR's files and TREC's."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from twofold.corpus.reading import (
    FilePath,
    check_column,
    id_field,
    json_lines,
    opened,
    text_field,
    text_lines,
)
from twofold.errors import CorpusError, InputError
from twofold.types import Run

Queries = dict[str, str]
"""Query id to text."""
Qrels = dict[str, dict[str, int]]
"""Query id to passage id to grade."""


def read_queries(path: FilePath) -> Queries:
    """Read queries from JSON lines (``_id``, ``text``) or tab-separated id and text."""
    path = Path(path)
    queries: Queries = {}
    for number, query_id, text in _queries(path):
        if not query_id:
            raise CorpusError(f"{path}, line {number}: the query has no id")
        if query_id in queries:
            raise CorpusError(f"{path}, line {number}: query {query_id!r} is there twice")
        queries[query_id] = text
    if not queries:
        raise CorpusError(f"{path} holds no queries")
    return queries


def read_qrels(path: FilePath) -> Qrels:
    """Read judgments: BEIR's three tab-separated columns with a header, or TREC's four.

    A judgment may be there twice if both are equal. Raises CorpusError naming the line.
    """
    path = Path(path)
    qrels: Qrels = {}
    for number, line in text_lines(path):
        fields = line.split("\t") if "\t" in line else line.split()
        if len(fields) == 4:  # TREC: query, iteration, passage, grade
            del fields[1]
        if len(fields) != 3:
            raise CorpusError(
                f"{path}, line {number}: query, passage and grade are wanted, not {line!r:.60}"
            )
        query_id, passage_id, grade = fields
        if number == 1 and not any(char.isdigit() for char in grade):
            continue  # the header
        try:
            value = int(grade.removesuffix(".0"))
        except ValueError:
            raise CorpusError(
                f"{path}, line {number}: grade {grade!r} is no whole number"
            ) from None
        before = qrels.setdefault(query_id, {}).setdefault(passage_id, value)
        if before != value:
            raise CorpusError(
                f"{path}, line {number}: passage {passage_id!r} has the grade {value} for query "
                f"{query_id!r}, and {before} before: leave one of them"
            )
    if not qrels:
        raise CorpusError(f"{path} holds no judgments")
    return qrels


def write_qrels(path: FilePath, qrels: Mapping[str, Mapping[str, int]]) -> None:
    """Write judgments in TREC's four columns: query, 0, passage and grade.

    Raises InputError for ids with blanks, which the columns could not hold; nothing is written
    then.
    """
    lines: list[str] = []
    for query_id, grades in qrels.items():
        check_column("query id", query_id)
        for passage_id, grade in grades.items():
            check_column("passage id", passage_id)
            lines.append(f"{query_id} 0 {passage_id} {int(grade)}\n")
    with opened(Path(path), "wt") as file:
        file.writelines(lines)


def _queries(path: Path) -> Iterator[tuple[int, str, str]]:
    name = path.with_suffix("") if path.suffix == ".gz" else path
    if name.suffix in (".tsv", ".txt"):
        for number, line in text_lines(path):
            query_id, tab, text = line.partition("\t")
            if not tab:
                raise CorpusError(f"{path}, line {number}: no tab between id and text")
            yield number, query_id, text
        return
    for number, record in json_lines(path):
        yield number, id_field(path, number, record), text_field(path, number, record, "text")


def read_run(path: FilePath) -> Run:
    """Read a run: query, Q0, passage, rank, score and the system's name, between blanks.

    Only the scores say what is before what, as in trec_eval; the ranks are not looked at. Raises
    CorpusError naming the line.
    """
    path = Path(path)
    run: Run = {}
    for number, line in text_lines(path):
        fields = line.split()
        if len(fields) != 6:
            raise CorpusError(
                f"{path}, line {number}: query, Q0, passage, rank, score and name are wanted, not "
                f"{line!r:.60}"
            )
        query_id, _, passage_id, _, score, _ = fields
        found = run.setdefault(query_id, {})
        if passage_id in found:
            raise CorpusError(
                f"{path}, line {number}: passage {passage_id!r} is there twice for query "
                f"{query_id!r}"
            )
        found[passage_id] = _score(path, number, score)
    if not run:
        raise CorpusError(f"{path} holds no run")
    return run


def write_run(path: FilePath, run: Mapping[str, Mapping[str, float]], name: str) -> None:
    """Write a run in TREC's six columns: best first, ties by passage id, ranks from 1.

    ``name`` is the system's. Scores are written in full, so that reading them gives the same ones.
    A query without hits has no line. Raises InputError for ids and names with blanks, which the
    columns could not hold, and for scores that are not finite; nothing is written then.
    """
    lines: list[str] = []
    check_column("name", name)
    for query_id, found in run.items():
        check_column("query id", query_id)
        ordered = sorted(found.items(), key=lambda each: (-each[1], each[0]))
        for rank, (passage_id, score) in enumerate(ordered, start=1):
            check_column("passage id", passage_id)
            if not math.isfinite(score):
                raise InputError(
                    f"passage {passage_id!r} of query {query_id!r} has the score {score!r}: a "
                    "finite number is wanted"
                )
            lines.append(f"{query_id} Q0 {passage_id} {rank} {float(score)!r} {name}\n")
    with opened(Path(path), "wt") as file:
        file.writelines(lines)


def _score(path: Path, number: int, text: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise CorpusError(f"{path}, line {number}: score {text!r} is no finite number")
    return score
