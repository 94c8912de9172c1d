"""Runs, what systems found for queries, in TREC's files."""

import math
from collections.abc import Mapping
from pathlib import Path

from twofold.corpus.lines import FilePath, check_column, opened, text_lines
from twofold.errors import CorpusError, InputError
from twofold.types import Run


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
