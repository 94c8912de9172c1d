"""Generates training queries from passages, and filters them by round trip."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Protocol

import numpy as np

from twofold.errors import InputError
from twofold.lexical import language_from_name
from twofold.lexical.analysis.tokenizer import word_pattern
from twofold.results.sentences import query_words, sentences
from twofold.retriever import Retriever
from twofold.training.data.examples import Example, TrainingSet
from twofold.types import Passage, PassageLike
from twofold.validation import as_passage, check_integer, check_seed

GeneratedQueries = list[tuple[str, str | None]]
"""Queries, each with the part of the passage that answers it; None is the whole passage."""

_MIN_WORDS = 2
_BATCH = 1024  # queries searched at once
_HEADING = re.compile(r"^ {0,3}(#{1,6})\s+(.+?)\s*#*\s*$")
_FENCE = re.compile(r"^ {0,3}(```|~~~)")


class QueryGenerator(Protocol):
    """Generates queries from a passage."""

    @property
    def source(self) -> str:
        """A short name, such as ``"title"``, which tags the examples."""
        ...

    def generate(self, passage: Passage) -> GeneratedQueries:
        """Return queries with their answers; queries with a blank answer are skipped."""
        ...


@dataclass(frozen=True, slots=True)
class Titles:
    """Uses the title as the query and the text as its answer."""

    source: str = "title"

    def generate(self, passage: Passage) -> GeneratedQueries:
        """Return the title and the text."""
        return [(passage.title, passage.text)]


@dataclass(frozen=True, slots=True)
class FirstSentences:
    """Uses the first sentence as the query and the rest of the text as its answer."""

    source: str = "first-sentence"

    def generate(self, passage: Passage) -> GeneratedQueries:
        """Return the first sentence and the rest of the text."""
        first, *rest = sentences(passage.text) or [""]
        return [(first, " ".join(rest))]


@dataclass(frozen=True, slots=True)
class Headings:
    """Uses each Markdown heading (``# ...``) as a query and its section as the answer.

    A section includes its subsections.
    """

    source: str = "heading"

    def generate(self, passage: Passage) -> GeneratedQueries:
        """Return each heading with the lines up to the next heading of its level or above."""
        lines = passage.text.splitlines()
        headings: list[tuple[int, int, str]] = []  # line, level, text
        in_code = False
        for number, line in enumerate(lines):
            in_code ^= _FENCE.match(line) is not None
            heading = None if in_code else _HEADING.match(line)
            if heading is not None:
                headings.append((number, len(heading[1]), heading[2]))
        queries: GeneratedQueries = []
        for place, (number, level, text) in enumerate(headings):
            ends = (line for line, other, _ in headings[place + 1 :] if other <= level)
            section = lines[number + 1 : next(ends, len(lines))]
            queries.append((text, "\n".join(section)))
        return queries


@dataclass(frozen=True, slots=True)
class Keyphrases:
    """Uses the best phrases of a passage by tf-idf as one query.

    A phrase is a run of words without a stop word. Its value is its frequency times the sum of its
    words' idf, ln(N / df), over all passages: Salton and Buckley, Term-Weighting Approaches in
    Automatic Text Retrieval (1988). The query has the best phrases that share no word, in text
    order. For languages that separate words by blanks.

    Args:
        count: Number of phrases.
        max_words: Most words in a phrase.
        language: Language of the stop words.
        frequencies: Document frequencies by word, see ``with_frequencies``.
        passages: Number of passages N.
    """

    count: int = 3
    max_words: int = 3
    language: str = "english"
    frequencies: Mapping[str, int] = field(default_factory=dict, repr=False)
    passages: int = 0
    source: str = "keyphrases"

    def __post_init__(self) -> None:
        check_integer("count", self.count)
        check_integer("max_words", self.max_words)
        language_from_name(self.language)

    def with_frequencies(self, passages: Iterable[Passage]) -> "Keyphrases":
        """Return this generator with the document frequencies of these passages."""
        frequencies: Counter[str] = Counter()
        total = 0
        for passage in passages:
            total += 1
            frequencies.update({word for run in self._split_runs(passage) for word in run})
        return replace(self, frequencies=frequencies, passages=total)

    def generate(self, passage: Passage) -> GeneratedQueries:
        """Return one query of phrases; a word without a document frequency has df = 1."""
        phrases: Counter[tuple[str, ...]] = Counter()  # in text order
        for run in self._split_runs(passage):
            for start in range(len(run)):
                for stop in range(start + 1, min(start + self.max_words, len(run)) + 1):
                    phrases[run[start:stop]] += 1
        places = {phrase: place for place, phrase in enumerate(phrases)}
        chosen: list[tuple[str, ...]] = []
        taken: set[str] = set()
        for phrase in sorted(places, key=lambda run: (-self._value(run, phrases), places[run])):
            if len(chosen) < self.count and taken.isdisjoint(phrase):
                chosen.append(phrase)
                taken |= set(phrase)
        chosen.sort(key=places.__getitem__)
        return [(" ".join(word for phrase in chosen for word in phrase), None)]

    def _value(self, phrase: tuple[str, ...], phrases: Mapping[tuple[str, ...], int]) -> float:
        total = max(self.passages, 1)
        return phrases[phrase] * math.fsum(
            math.log(total / max(self.frequencies.get(word, 1), 1)) for word in phrase
        )

    def _split_runs(self, passage: Passage) -> list[tuple[str, ...]]:
        """Return runs of lower-case words between stop words, numbers and sentence ends."""
        stops = language_from_name(self.language).stop_words()
        pattern = word_pattern(splits=False, elides=False)
        return [
            tuple(run)
            for sentence in [passage.title, *sentences(passage.text)]
            for ends_run, run in groupby(
                pattern.findall(sentence.lower()), key=lambda word: word in stops or word.isdigit()
            )
            if not ends_run
        ]


@dataclass(frozen=True, slots=True)
class Generated:
    """Uses a function from title and text to queries, such as a call of a language model."""

    function: Callable[[str], str | Sequence[str]]
    source: str = "generated"

    def generate(self, passage: Passage) -> GeneratedQueries:
        """Return the function's query or queries; raise InputError if they aren't strings."""
        result = self.function(passage.content)
        queries = [result] if isinstance(result, str) else result
        if not isinstance(queries, Sequence) or not all(isinstance(text, str) for text in queries):
            raise InputError(
                "the function must return a string or a list of strings, got "
                f"{result!r:.80} for passage {passage.id!r}"
            )
        return [(text, None) for text in queries]


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """The examples whose query finds a positive, and the query ids of the dropped examples."""

    accepted: TrainingSet
    dropped: tuple[str, ...]


def generate_examples(
    passages: Iterable[PassageLike], generators: Sequence[QueryGenerator], *, seed: int = 0
) -> TrainingSet:
    """Return an example for each generated query, with its passage as the positive.

    Query ids have the form ``source:passage id:number``, with numbers from 1. Queries of fewer than
    two words or with a blank answer are skipped. The examples are shuffled, so that queries of one
    passage rarely share a batch. The order of the passages doesn't matter.

    Raises InputError if passages lack ids, if ids or the generators' sources are repeated, or if
    there are no queries.
    """
    check_seed(seed)
    corpus = [as_passage(passage) for passage in passages]
    _check_distinct("passage id", [passage.id for passage in corpus])
    _check_distinct("generator's source", [generator.source for generator in generators])
    examples: list[Example] = []
    for given in generators:
        generator = given.with_frequencies(corpus) if isinstance(given, Keyphrases) else given
        source = generator.source
        for passage in corpus:
            for number, (query, answer) in enumerate(generator.generate(passage), start=1):
                text = " ".join(query.split())
                if answer is not None and not answer.strip():
                    continue
                if len(query_words(text)) >= _MIN_WORDS:
                    query_id = f"{source}:{passage.id}:{number}"
                    examples.append(Example(text, (passage.id,), source=source, query_id=query_id))
    if not examples:
        raise InputError(
            f"{len(generators)} generators found no query of two words or more in {len(corpus):,} "
            "passages: try others, such as FirstSentences() or Keyphrases()"
        )
    examples.sort(key=lambda example: example.query_id)
    order = np.random.default_rng(seed).permutation(len(examples))
    return TrainingSet(tuple(examples[place] for place in order))


def filter_round_trip(training_set: TrainingSet, retriever: Retriever, k: int = 10) -> RoundTrip:
    """Keep the examples whose query retrieves a positive among the best ``k`` passages.

    Alberti et al., Synthetic QA Corpora Generation with Roundtrip Consistency (ACL 2019). Raises
    QueryError for an invalid ``k``.
    """
    accepted: set[str] = set()
    for start in range(0, len(training_set), _BATCH):
        batch = training_set[start : start + _BATCH]
        found = retriever.retrieve_many([example.query for example in batch], k=k)
        for example, hits in zip(batch, found, strict=True):
            if not set(hits.ids).isdisjoint(example.positives):
                accepted.add(example.query_id)
    dropped = tuple(query_id for query_id in training_set.queries if query_id not in accepted)
    return RoundTrip(training_set.select(accepted), dropped)


def _check_distinct(name: str, values: Sequence[str]) -> None:
    for value, count in Counter(values).most_common(1):
        if count > 1:
            raise InputError(f"each {name} must be distinct, got {value!r:.80} {count} times")
    if "" in values:
        raise InputError(f"a {name} is empty: passages need the index's ids, generators a source")
