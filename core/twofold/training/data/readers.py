"""Readers of training files: MS MARCO's triples and DPR's JSON."""

import json
import warnings
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from twofold.corpus.reading import (
    FilePath,
    describe_json_error,
    open_file,
    read_json_lines,
    read_rows,
)
from twofold.errors import CorpusError, DegradedWarning
from twofold.metadata import find_json_problem
from twofold.storage import content_hash
from twofold.training.data.examples import Example, TrainingSet
from twofold.types import Passage
from twofold.validation import as_path

_PIECE = 1 << 16  # bytes
_BEFORE_JSON = b"\xef\xbb\xbf \t\r\n"
"""Bytes that may precede the first bracket: a UTF-8 byte order mark and spaces."""


class ExampleBuilder:
    """Collects positives, negatives and passages by query while a file is read."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._queries: dict[str, tuple[str, dict[str, None], dict[str, None]]] = {}
        self._passages: dict[str, Passage] = {}
        self._conflicts = 0

    def add(
        self, query_id: str, query: str, positives: Iterable[str], negatives: Iterable[str]
    ) -> None:
        """Add ids of positives and negatives to a query."""
        _, good, bad = self._queries.setdefault(query_id, (query, {}, {}))
        good.update(dict.fromkeys(positives))
        bad.update(dict.fromkeys(negatives))

    def add_passage(self, text: str, title: str = "", passage_id: str = "") -> str:
        """Add a passage and return its id; of passages with the same id, the first is kept.

        Without ``passage_id``, the id is derived from title and text as an index derives ids.
        """
        if not passage_id:
            passage_id = content_hash(json.dumps([title, text, "{}"]).encode()).hex()
        first = self._passages.setdefault(passage_id, Passage(text, passage_id, title))
        self._conflicts += (first.title, first.text) != (title, text)
        return passage_id

    def build(self, path: Path) -> TrainingSet:
        """Return the training set; raise CorpusError if it is empty.

        DegradedWarnings report queries without a positive, negatives that are positives of the same
        query, and ids with more than one text.
        """
        examples: list[Example] = []
        missing: list[str] = []
        both = 0
        for query_id, (query, good, bad) in self._queries.items():
            if not good:
                missing.append(query)
                continue
            negatives = tuple(id_ for id_ in bad if id_ not in good)
            both += len(bad) - len(negatives)
            examples.append(
                Example(query, tuple(good), negatives, source=self._source, query_id=query_id)
            )
        if not examples:
            raise CorpusError(f"{path} has no query with a relevant passage")
        example = f"such as {missing[0]!r:.80}" if missing else ""
        for count, problem in (
            (
                len(missing),
                f"of {len(self._queries):,} questions have no positive, {example}, and are skipped",
            ),
            (both, "negatives are positives of the same query too, and are dropped"),
            (
                self._conflicts,
                "passages repeat an id with another text; the first text of each id is kept",
            ),
        ):
            if count:
                # stacklevel 3 is the caller of the reader that calls this method
                warnings.warn(f"{path}: {count:,} {problem}", DegradedWarning, stacklevel=3)
        used = {id_ for e in examples for id_ in (*e.positives, *e.negatives)}
        passages = tuple(passage for id_, passage in self._passages.items() if id_ in used)
        return TrainingSet(tuple(examples), passages)


def read_triples(path: FilePath) -> TrainingSet:
    """Read lines of query, positive and negative as texts, separated by tabs, plain or .gz.

    A header is recognised by its names, such as ``query``, ``positive`` and ``negative``.
    Lines with the same query make one example. Ids are derived from texts as an index derives them.
    Negatives that are positives of the same query are dropped with a DegradedWarning. Raises
    CorpusError for a malformed line. Format: Bajaj et al., MS MARCO (2016).
    """
    path = as_path("path", path)
    builder = ExampleBuilder("triples")
    for query, positive, negative in _read_rows(path):
        good, bad = builder.add_passage(positive), builder.add_passage(negative)
        builder.add(query, query, [good], [bad])
    return builder.build(path)


def read_id_triples(path: FilePath, queries: Mapping[str, str]) -> TrainingSet:
    """Read lines of query, positive and negative as ids, separated by tabs, plain or .gz.

    A header is recognised by its names, such as ``qid``, ``pos_id`` and ``neg_id``.
    ``queries`` maps ids to texts. Queries without a text and negatives that are positives of the
    same query are dropped with a DegradedWarning. Raises CorpusError for a malformed line.
    """
    path = as_path("path", path)
    builder = ExampleBuilder("triples")
    missing: dict[str, None] = {}
    for query_id, positive, negative in _read_rows(path):
        query = queries.get(query_id, "")
        if query.strip():
            builder.add(query_id, query, [positive], [negative])
        else:
            missing[query_id] = None
    if missing:
        warnings.warn(
            f"{path}: {len(missing):,} query ids have no text in queries, such as "
            f"{next(iter(missing))!r}, and are skipped: pass the texts of all queries in the file",
            DegradedWarning,
            stacklevel=2,
        )
    return builder.build(path)


def _read_rows(path: Path) -> Iterator[list[str]]:
    """Yield the three columns of each line; the file may be larger than memory."""
    for number, text in read_rows(path, ("query", "positive", "negative")):
        fields = [field.strip() for field in text.split("\t")]
        if len(fields) != 3 or not all(fields):
            raise CorpusError(
                f"{path}, line {number}: expected query, positive and negative, separated by tabs "
                f"and none of them blank, got {text!r:.80}"
            )
        yield fields


def read_dpr(path: FilePath) -> TrainingSet:
    """Read DPR's training data: one JSON list or JSON lines, plain or .gz.

    A record has a ``question`` and the lists ``positive_ctxs``, ``hard_negative_ctxs`` and
    ``negative_ctxs``. A context has ``title``, ``text``, and ``passage_id`` or ``psg_id``.
    Missing ids are derived as an index derives them. Hard negatives come before other negatives.
    Records with the same question make one example. Format: Karpukhin et al., Dense Passage
    Retrieval for Open-Domain Question Answering (EMNLP 2020).

    Questions without a positive, negatives that are positives, and all but the first text of an id
    are dropped, each with a DegradedWarning. Raises CorpusError for a malformed record.
    """
    path = as_path("path", path)
    builder = ExampleBuilder("dpr")
    for place, record in _read_records(path):
        question = record.get("question")
        if not isinstance(question, str) or not question.strip():
            raise CorpusError(
                f"{place}: 'question' must be text that isn't blank, got {question!r:.60}"
            )
        question = question.strip()
        positives, hard, others = (
            _add_contexts(builder, place, record, name)
            for name in ("positive_ctxs", "hard_negative_ctxs", "negative_ctxs")
        )
        builder.add(question, question, positives, [*hard, *others])
    return builder.build(path)


def _add_contexts(
    builder: ExampleBuilder, place: str, record: dict[str, Any], name: str
) -> list[str]:
    """Add the contexts in the record's list ``name`` and return their ids, in order."""
    contexts = record.get(name)
    if contexts is None:
        return []
    if not isinstance(contexts, list):
        raise CorpusError(f"{place}: {name!r} must be a list, got {contexts!r:.60}")
    ids: list[str] = []
    for context in contexts:
        if not isinstance(context, dict):
            raise CorpusError(f"{place}: {name!r} must hold objects, got {context!r:.60}")
        title, text = (_context_text(place, name, context, field) for field in ("title", "text"))
        passage_id = _context_id(place, name, context)
        if text or title:
            ids.append(builder.add_passage(text, title, passage_id))
        elif passage_id:
            ids.append(passage_id)  # the index may have its text
        else:
            raise CorpusError(f"{place}: a context in {name!r} has no text and no id")
    return ids


def _context_text(place: str, name: str, context: dict[str, Any], field: str) -> str:
    value = context.get(field)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise CorpusError(f"{place}: {field!r} in {name!r} must be a string, got {value!r:.60}")
    return value.strip()


def _context_id(place: str, name: str, context: dict[str, Any]) -> str:
    for field in ("passage_id", "psg_id"):
        value = context.get(field)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise CorpusError(
                f"{place}: {field!r} in {name!r} must be a string or an integer, got {value!r:.60}"
            )
        if str(value):
            return str(value)
    return ""


def _is_list(path: Path) -> bool:
    """Return whether a file starts like a JSON list, which may be one long line."""
    try:
        with open_file(path, "rb") as file:
            while piece := file.read(_PIECE):
                if start := piece.lstrip(_BEFORE_JSON):
                    return bool(start.startswith(b"["))
    except FileNotFoundError:
        raise CorpusError(f"there is no file {path}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"{path} can't be read: {error}") from error
    return False


def _read_records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each record of a JSON list or JSON lines, after its place in the file as text."""
    if not _is_list(path):
        for number, record in read_json_lines(path):
            yield f"{path}, line {number}", record
        return
    try:
        with open_file(path, "rb") as file:
            records = json.load(file)
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"{path} can't be read: {error}") from error
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{path}: {describe_json_error(error)}") from None
    for number, record in enumerate(records, start=1):
        place = f"{path}, record {number}"
        if not isinstance(record, dict):
            raise CorpusError(f"{place}: expected a JSON object, got {record!r:.60}")
        problem = find_json_problem(record, "record")
        if problem is not None:
            raise CorpusError(f"{place}: {problem}")
        yield place, record
