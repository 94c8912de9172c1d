"""Queries and relevance judgments, in BEIR's files and TREC's."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from twofold.corpus.jsonl import id_field, json_lines, text_field
from twofold.corpus.lines import FilePath, check_column, opened, text_lines
from twofold.errors import CorpusError

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
