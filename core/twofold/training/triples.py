"""Triples of a query, a passage that answers it and one that doesn't, as MS MARCO has them."""

import json
import warnings
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from twofold.catalog import content_hash
from twofold.corpus.lines import FilePath, opened
from twofold.errors import CorpusError, DegradedWarning
from twofold.training.example import Example
from twofold.training.training_set import TrainingSet
from twofold.types import Passage


class Gathering:
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
    gathering = Gathering("triples")
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
    gathering = Gathering("triples")
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
