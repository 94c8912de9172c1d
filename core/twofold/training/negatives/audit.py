"""An audit: a file of passages suspected to be answers, for a person to decide on."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from twofold.corpus.reading import FilePath, json_lines
from twofold.errors import CorpusError, InputError
from twofold.index import Index, IndexView
from twofold.training.data.examples import Example, TrainingSet
from twofold.training.negatives.candidates import REASONS, MinedNegatives, Suspect

Verdict = Literal["positive", "negative"]
Verdicts = dict[str, dict[str, Verdict]]
"""Query id to passage id to what a person decided."""

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_COLUMNS = (
    "query_id",
    "query",
    "id",
    "text",
    "score",
    "positive_score",
    "reason",
    "verdict",
)
_TEXT = 300  # characters


def write_audit(
    path: FilePath, mined: MinedNegatives, training_set: TrainingSet, index: Index
) -> None:
    """Write what mining kept back, the worst first, with an empty ``verdict`` to be filled in.

    The suffix says how: ``.jsonl``, ``.csv`` or ``.tsv``. Copies of positives come first, then what
    a reranker found, then what lies above the margin; of each, what is furthest above its positive.
    ``text`` is the beginning of the passage, with its title.

    Raises InputError for another suffix, for a file that is there already, whose verdicts would be
    lost, and for suspects of queries that are not in the training set.
    """
    path = Path(path)
    suffix = _suffix(path)
    if path.exists():
        raise InputError(
            f"there is a file {path} already, and verdicts in it would be lost: remove it or give "
            "another name"
        )
    queries = training_set.queries
    for each in mined.suspects:
        if each.query_id not in queries:
            raise InputError(
                f"query {each.query_id!r:.80} has suspects and is not in the training set: give "
                "the set that was mined for"
            )
    ordered = sorted(
        mined.suspects,
        key=lambda each: (REASONS.index(each.reason), -each.excess, each.query_id, each.id),
    )
    with index.view() as view:
        rows = [_row(each, queries[each.query_id], _beginning(view, each.id)) for each in ordered]
    with path.open("w", encoding="utf-8", newline="") as file:
        if suffix == ".jsonl":
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            return
        writer = csv.DictWriter(file, _COLUMNS, delimiter=_SEPARATORS[suffix])
        writer.writeheader()
        writer.writerows(rows)


def read_audit(path: FilePath) -> Verdicts:
    """Read the verdicts of a person: ``positive`` or ``negative``, empty for none yet.

    Raises CorpusError naming the line, InputError for another suffix than those of ``write_audit``.
    """
    path = Path(path)
    verdicts: Verdicts = {}
    records = json_lines(path) if _suffix(path) == ".jsonl" else _table(path)
    for number, record in records:
        query_id, own = (_id(path, number, record, name) for name in ("query_id", "id"))
        verdict = _verdict(path, number, record)
        if verdict is None:
            continue
        before = verdicts.setdefault(query_id, {}).setdefault(own, verdict)
        if before != verdict:
            raise CorpusError(
                f"{path}, line {number}: passage {own!r} is {verdict} for query {query_id!r}, and "
                f"{before} before: leave one of them"
            )
    return verdicts


def with_verdicts(
    training_set: TrainingSet, verdicts: Mapping[str, Mapping[str, Verdict]]
) -> TrainingSet:
    """Return the training set with what was decided: new positives, of grade 1, and negatives.

    A passage that was a negative and is decided to be positive changes sides. Raises InputError for
    a query that is not in the set, for a verdict of another name, and where a positive would become
    a negative: that is a wrong label, to be taken out where it comes from.
    """
    known = training_set.queries
    for query_id, decided in verdicts.items():
        if query_id not in known:
            raise InputError(
                f"there are verdicts on query {query_id!r:.80}, which is not in the training set: "
                "is this the audit of another one?"
            )
        for own, verdict in decided.items():
            if verdict not in ("positive", "negative"):
                raise InputError(
                    f"the verdict on {own!r:.80} for query {query_id!r:.80} is {verdict!r:.40}: "
                    "'positive' or 'negative' is wanted"
                )
    examples = tuple(_decided(each, verdicts.get(each.query_id, {})) for each in training_set)
    return replace(training_set, examples=examples)


def suspected_share(mined: MinedNegatives) -> float:
    """Return the share of passages judged in mining that were kept back, 0 to 1; 0.0 of none.

    An estimate of how many negatives would be false without mining's checks: the suspects among
    themselves and the negatives that were taken, given ones aside.
    """
    taken = sum(each.source != "given" for own in mined.values() for each in own)
    looked = taken + len(mined.suspects)
    return len(mined.suspects) / looked if looked else 0.0


def _decided(example: Example, decided: Mapping[str, Verdict]) -> Example:
    """Return an example with the verdicts on it."""
    good = [own for own, each in decided.items() if each == "positive"]
    bad = [own for own, each in decided.items() if each == "negative"]
    for own in bad:
        if own in example.positives:
            raise InputError(
                f"passage {own!r:.80} is decided to be a negative of query "
                f"{example.query_id!r:.80}, and is a positive: take the label out first"
            )
    fresh = tuple(own for own in good if own not in example.positives)
    kept = tuple(own for own in example.negatives if own not in good)
    return replace(
        example,
        positives=example.positives + fresh,
        grades=example.grades + (1,) * len(fresh),
        negatives=kept + tuple(own for own in bad if own not in kept),
    )


def _row(suspect: Suspect, query: str, text: str) -> dict[str, Any]:
    values = (
        suspect.query_id,
        query,
        suspect.id,
        text,
        suspect.score,
        suspect.positive_score,
        suspect.reason,
        "",
    )
    return dict(zip(_COLUMNS, values, strict=True))


def _beginning(view: IndexView, own: str) -> str:
    """Return the beginning of a passage in one line, nothing if it has gone since."""
    row = view.row_of(own)
    if row is None:
        return ""
    return " ".join(view.passages(np.array([row]))[0].content.split())[:_TEXT]


def _suffix(path: Path) -> str:
    if path.suffix not in (".jsonl", *_SEPARATORS):
        raise InputError(f"an audit is a .jsonl, .csv or .tsv file, and {path} is none")
    return path.suffix


def _table(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, columns) of each row of a table with a header; raise CorpusError."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter=_SEPARATORS[path.suffix])
            _check_columns(path, reader.fieldnames if reader.fieldnames is not None else ())
            for record in reader:
                yield reader.line_num, record
    except FileNotFoundError:
        raise CorpusError(f"there is no file {path}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(f"{path} can't be read: {error}") from error


def _check_columns(path: Path, names: Iterable[str]) -> None:
    lacking = {"query_id", "id", "verdict"} - set(names)
    if lacking:
        raise CorpusError(
            f"{path}, line 1: there is no column {min(lacking)!r}: write_audit's header is wanted"
        )


def _id(path: Path, number: int, record: Mapping[str, Any], name: str) -> str:
    value = record.get(name)
    if not isinstance(value, str) or not value:
        raise CorpusError(f"{path}, line {number}: {name!r} is an id, not {value!r:.60}")
    return value


def _verdict(path: Path, number: int, record: Mapping[str, Any]) -> Verdict | None:
    value = record.get("verdict")
    word = value.strip().casefold() if isinstance(value, str) else value
    if word in (None, ""):
        return None
    if word == "positive":
        return "positive"
    if word == "negative":
        return "negative"
    raise CorpusError(
        f"{path}, line {number}: the verdict is {value!r:.60}: 'positive', 'negative' or nothing "
        "is wanted"
    )
