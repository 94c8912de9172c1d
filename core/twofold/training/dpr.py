"""The JSON of Dense Passage Retrieval, in which Natural Questions and others are given."""

import json
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twofold.corpus.jsonl import json_lines
from twofold.corpus.lines import FilePath, opened
from twofold.errors import CorpusError, DegradedWarning
from twofold.training.training_set import TrainingSet
from twofold.training.triples import Gathering

_START = b"\xef\xbb\xbf \t\r\n"
"""What may stand before the first bracket: UTF-8's mark, and blanks."""


def read_dpr(path: FilePath) -> TrainingSet:
    """Read questions with their contexts: one JSON list, or JSON lines; plain or .gz.

    A record has ``question`` and lists of contexts ``positive_ctxs``, ``hard_negative_ctxs`` and
    ``negative_ctxs``; a context has ``title``, ``text`` and ``passage_id`` or ``psg_id``. Without
    an id, it is derived from the content as an index derives it. Hard negatives come before the
    others. Records with the same question are one example. Source: Karpukhin et al., Dense Passage
    Retrieval for Open-Domain Question Answering (EMNLP 2020).

    Warns (DegradedWarning) of questions without a positive, which are left out; of negatives that
    are positives of the same question too, which go; and of ids with more than one text. Raises
    CorpusError naming the record or line.
    """
    path = Path(path)
    gathering = Gathering("dpr")
    answered: dict[str, bool] = {}
    for place, record in _records(path):
        question = record.get("question")
        if not isinstance(question, str) or not question.strip():
            raise CorpusError(f"{place}: 'question' is a string with words, not {question!r:.60}")
        question = question.strip()
        positives = _contexts(gathering, place, record, "positive_ctxs")
        hard = _contexts(gathering, place, record, "hard_negative_ctxs")
        others = _contexts(gathering, place, record, "negative_ctxs")
        gathering.add(question, question, positives, [*hard, *others])
        answered[question] = answered.get(question, False) or bool(positives)
    lacking = [question for question, has in answered.items() if not has]
    if lacking and len(lacking) < len(answered):  # if all lack one, an error says so
        warnings.warn(
            f"{path}: {len(lacking):,} of {len(answered):,} questions have no positive, such as "
            f"{lacking[0]!r:.80}, and are left out",
            DegradedWarning,
            stacklevel=2,
        )
    return gathering.training_set(path, stacklevel=2)


def _contexts(gathering: Gathering, place: str, record: dict[str, Any], name: str) -> list[str]:
    """Return the ids of a record's contexts of one kind, in order."""
    contexts = record.get(name)
    if contexts is None:
        return []
    if not isinstance(contexts, list):
        raise CorpusError(f"{place}: {name!r} is a list, not {contexts!r:.60}")
    found: list[str] = []
    for context in contexts:
        if not isinstance(context, dict):
            raise CorpusError(f"{place}: {name!r} holds objects, not {context!r:.60}")
        title, text = (_text(place, name, context, field) for field in ("title", "text"))
        passage_id = _id(place, name, context)
        if text or title:
            found.append(gathering.passage(text, title, passage_id))
        elif passage_id:
            found.append(passage_id)  # its text is looked for in the index
        else:
            raise CorpusError(f"{place}: a context in {name!r} has no text and no id")
    return found


def _text(place: str, name: str, context: dict[str, Any], field: str) -> str:
    value = context.get(field)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise CorpusError(f"{place}: {field!r} in {name!r} is a string, not {value!r:.60}")
    return value.strip()


def _id(place: str, name: str, context: dict[str, Any]) -> str:
    for field in ("passage_id", "psg_id"):
        value = context.get(field)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise CorpusError(
                f"{place}: {field!r} in {name!r} is a string or a number, not {value!r:.60}"
            )
        if str(value):
            return str(value)
    return ""


def _records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (where it stands, record): the file's first bracket says which form it has."""
    try:
        with opened(path, "rb") as file:
            data = file.read(4096).lstrip(_START)
            listed = data.startswith(b"[")
            if listed:
                data += file.read()
    except FileNotFoundError:
        raise CorpusError(f"there is no file {path}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"{path} can't be read: {error}") from error
    if not listed:
        for number, record in json_lines(path):
            yield f"{path}, line {number}", record
        return
    try:
        records = json.loads(data)
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path} is not UTF-8: {error.reason}") from None
    except json.JSONDecodeError as error:
        raise CorpusError(f"{path} is not JSON: {error}") from None
    for number, record in enumerate(records, start=1):
        place = f"{path}, record {number}"
        if not isinstance(record, dict):
            raise CorpusError(f"{place}: a JSON object is wanted, not {record!r:.60}")
        yield place, record
