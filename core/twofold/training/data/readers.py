"""Triples of a query, a passage that answers it and one that doesn't, as MS MARCO has them."""

import json
import warnings
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from twofold.corpus.reading import FilePath, json_lines, opened
from twofold.errors import CorpusError, DegradedWarning
from twofold.storage import content_hash
from twofold.training.data.examples import Example, TrainingSet
from twofold.types import Passage


class ExampleBuilder:
    """Positives, negatives and passages of queries, put together as a source is read."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._queries: dict[str, tuple[str, dict[str, None], dict[str, None]]] = {}
        self._passages: dict[str, Passage] = {}
        self._differing = 0

    def add(
        self, query_id: str, query: str, positives: Iterable[str], negatives: Iterable[str]
    ) -> None:
        """Add ids of passages that answer a query, and of others that don't."""
        _, good, bad = self._queries.setdefault(query_id, (query, {}, {}))
        good.update(dict.fromkeys(positives))
        bad.update(dict.fromkeys(negatives))

    def passage(self, text: str, title: str = "", passage_id: str = "") -> str:
        """Keep a passage and return its id; the first of an id stays.

        Without an id, it is what an index derives for the same title and text.
        """
        if not passage_id:
            passage_id = content_hash(json.dumps([title, text, "{}"]).encode()).hex()
        kept = self._passages.setdefault(passage_id, Passage(text, passage_id, title))
        self._differing += (kept.title, kept.text) != (title, text)
        return passage_id

    def training_set(self, path: Path, *, stacklevel: int) -> TrainingSet:
        """Return all examples; raise CorpusError if there are none.

        Warns (DegradedWarning) of negatives that are positives too, which go, and of ids with more
        than one text. ``stacklevel`` is that of the warning, from here.
        """
        examples: list[Example] = []
        both = 0
        for query_id, (query, good, bad) in self._queries.items():
            if good:
                negatives = tuple(own for own in bad if own not in good)
                both += len(bad) - len(negatives)
                examples.append(
                    Example(query, tuple(good), negatives, source=self._source, query_id=query_id)
                )
        if not examples:
            raise CorpusError(f"{path} holds no query with a passage that answers it")
        if both:
            warnings.warn(
                f"{path}: {both:,} negatives are positives of the same query too, and are left out",
                DegradedWarning,
                stacklevel=stacklevel + 1,
            )
        if self._differing:
            warnings.warn(
                f"{path}: {self._differing:,} passages have the id of one with another text; the "
                "first text of each id is kept",
                DegradedWarning,
                stacklevel=stacklevel + 1,
            )
        used = {own for each in examples for own in (*each.positives, *each.negatives)}
        passages = tuple(each for own, each in self._passages.items() if own in used)
        return TrainingSet(tuple(examples), passages)


def read_triples(path: FilePath) -> TrainingSet:
    """Read tab-separated texts: query, passage that answers it, passage that doesn't; or .gz.

    Lines with the same query are one example, and equal texts one passage, whose id is derived
    from the text as an index derives it. Source: Bajaj et al., MS MARCO (2016).

    Warns (DegradedWarning) where a negative is a positive of the same query too: the negative goes.
    Raises CorpusError naming the line.
    """
    path = Path(path)
    gathering = ExampleBuilder("triples")
    for _, (query, positive, negative) in _columns(path):
        gathering.add(query, query, [gathering.passage(positive)], [gathering.passage(negative)])
    return gathering.training_set(path, stacklevel=2)


def read_id_triples(path: FilePath, queries: Mapping[str, str]) -> TrainingSet:
    """Read tab-separated ids: query, passage that answers it, passage that doesn't; or .gz.

    ``queries`` has the texts by query id. Queries that aren't there, or are blank, are left out.

    Warns (DegradedWarning) of those, and where a negative is a positive of the same query too: the
    negative goes. Raises CorpusError naming the line.
    """
    path = Path(path)
    gathering = ExampleBuilder("triples")
    lacking: dict[str, None] = {}
    for _, (query_id, positive, negative) in _columns(path):
        query = queries.get(query_id, "")
        if query.strip():
            gathering.add(query_id, query, [positive], [negative])
        else:
            lacking[query_id] = None
    if lacking:
        warnings.warn(
            f"{path}: {len(lacking):,} query ids have no text among the queries, such as "
            f"{next(iter(lacking))!r}, and are left out: are these all queries?",
            DegradedWarning,
            stacklevel=2,
        )
    return gathering.training_set(path, stacklevel=2)


def _columns(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number from 1, three columns), line by line: such files are many gigabytes."""
    number = 0
    try:
        with opened(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, _fields(path, number, line)
    except FileNotFoundError:
        raise CorpusError(f"there is no file {path}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"{path} can't be read after line {number}: {error}") from error


def _fields(path: Path, number: int, line: bytes) -> list[str]:
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path}, line {number}: not UTF-8 ({error.reason})") from None
    fields = [each.strip() for each in text.split("\t")]
    if len(fields) != 3 or not all(fields):
        raise CorpusError(
            f"{path}, line {number}: query, positive and negative are wanted, parted by tabs and "
            f"none of them blank, not {text.rstrip()!r:.80}"
        )
    return fields


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
    gathering = ExampleBuilder("dpr")
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


def _contexts(
    gathering: ExampleBuilder, place: str, record: dict[str, Any], name: str
) -> list[str]:
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
