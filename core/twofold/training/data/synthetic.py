"""Queries made from passages, without anyone asking; and which of them can be believed."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from twofold.errors import InputError
from twofold.lexical import language_from_name
from twofold.lexical.analysis.tokenizer import word_pattern
from twofold.results.sentences import query_words, sentences
from twofold.retriever import Retriever
from twofold.training.data.examples import Example, TrainingSet
from twofold.types import Passage, PassageLike, as_passage

GeneratedQueries = list[tuple[str, str | None]]
"""Queries, each with what is left of the passage to answer it; None is the whole passage."""

_FEWEST_WORDS = 2
_BATCH = 1024  # queries asked at once: what a batch found is forgotten before the next
_HEADING = re.compile(r"^ {0,3}(#{1,6})\s+(.+?)\s*#*\s*$")
_FENCE = re.compile(r"^ {0,3}(```|~~~)")


class QueryGenerator(Protocol):
    """Makes queries of a passage; ``source`` tags the examples."""

    @property
    def source(self) -> str:
        """A short name, such as ``"title"``."""
        ...

    def generate(self, passage: Passage) -> GeneratedQueries:
        """Return queries with their target texts; a query whose target is blank is left out."""
        ...


@dataclass(frozen=True, slots=True)
class Titles:
    """The title asks for the text."""

    source: str = "title"

    def generate(self, passage: Passage) -> GeneratedQueries:
        """Return the title and the text."""
        return [(passage.title, passage.text)]


@dataclass(frozen=True, slots=True)
class FirstSentences:
    """The first sentence asks for the rest."""

    source: str = "first-sentence"

    def generate(self, passage: Passage) -> GeneratedQueries:
        """Return the first sentence and the others."""
        first, *rest = sentences(passage.text) or [""]
        return [(first, " ".join(rest))]


@dataclass(frozen=True, slots=True)
class Headings:
    """Each Markdown heading (``# ...``) asks for its section, the sections below it included."""

    source: str = "heading"

    def generate(self, passage: Passage) -> GeneratedQueries:
        """Return each heading and the lines up to the next of its level or above."""
        lines = passage.text.splitlines()
        found: list[tuple[int, int, str]] = []  # line, level, heading
        fenced = False
        for number, line in enumerate(lines):
            fenced ^= _FENCE.match(line) is not None  # a comment in code is no heading
            heading = None if fenced else _HEADING.match(line)
            if heading is not None:
                found.append((number, len(heading[1]), heading[2]))
        out: GeneratedQueries = []
        for place, (number, level, heading_text) in enumerate(found):
            ends = (line for line, other, _ in found[place + 1 :] if other <= level)
            section = lines[number + 1 : next(ends, len(lines))]
            out.append((heading_text, "\n".join(section)))
        return out


@dataclass(frozen=True, slots=True)
class Keyphrases:
    """The passage's own best phrases by tf-idf, as one query.

    A phrase is one to ``longest`` words in a row without a stop word between them. Its value is how
    often it occurs, times the sum of its words' idf, ln(N / df), over all passages given: Salton
    and Buckley, Term-Weighting Approaches in Automatic Text Retrieval (1988). The ``count`` best
    that share no word are taken, in the order in which they stand. For languages that part words by
    blanks.
    """

    count: int = 3
    longest: int = 3
    language: str = "english"
    frequencies: Mapping[str, int] = field(default_factory=dict, repr=False)
    passages: int = 0
    source: str = "keyphrases"

    def __post_init__(self) -> None:
        for name in ("count", "longest"):
            value: object = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise InputError(f"{name} is {value!r}: a whole number of at least 1 is wanted")
        language_from_name(self.language)

    def over(self, passages: Iterable[Passage]) -> "Keyphrases":
        """Return this maker with the document frequencies of these passages."""
        frequencies: Counter[str] = Counter()
        total = 0
        for passage in passages:
            total += 1
            frequencies.update({word for run in self._runs(passage) for word in run})
        return replace(self, frequencies=frequencies, passages=total)

    def generate(self, passage: Passage) -> GeneratedQueries:
        """Return one query; words that the passages of ``over`` lack count as found in one."""
        phrases: Counter[tuple[str, ...]] = Counter()  # in the order in which they first stand
        for run in self._runs(passage):
            for start in range(len(run)):
                for stop in range(start + 1, min(start + self.longest, len(run)) + 1):
                    phrases[run[start:stop]] += 1
        places = {phrase: place for place, phrase in enumerate(phrases)}
        chosen: list[tuple[str, ...]] = []
        taken: set[str] = set()
        for phrase in sorted(places, key=lambda each: (-self._value(each, phrases), places[each])):
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

    def _runs(self, passage: Passage) -> list[tuple[str, ...]]:
        """Return the words between stop words and the ends of sentences, in lower case."""
        stops = language_from_name(self.language).stop_words()
        pattern = word_pattern(splits=False, elides=False)
        runs: list[tuple[str, ...]] = []
        for sentence in [passage.title, *sentences(passage.text)]:
            run: list[str] = []
            for word in [*pattern.findall(sentence.lower()), ""]:
                if word and word not in stops and not word.isdigit():
                    run.append(word)
                elif run:
                    runs.append(tuple(run))
                    run = []
        return runs


@dataclass(frozen=True, slots=True)
class Generated:
    """Whatever a function makes of a passage's title and text, such as a language model."""

    function: Callable[[str], str | Sequence[str]]
    source: str = "generated"

    def generate(self, passage: Passage) -> GeneratedQueries:
        """Return the function's query or queries; raise InputError if they aren't strings."""
        given = self.function(passage.content)
        queries = [given] if isinstance(given, str) else given
        if not isinstance(queries, Sequence) or not all(isinstance(each, str) for each in queries):
            raise InputError(
                f"the function made {given!r:.80} of passage {passage.id!r}: a string, or a list "
                "of strings, is wanted"
            )
        return [(each, None) for each in queries]


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """Examples that lead back to a positive of theirs, and the query ids of those that don't."""

    kept: TrainingSet
    dropped: tuple[str, ...]


def generate_examples(
    passages: Iterable[PassageLike], makers: Sequence[QueryGenerator], *, seed: int = 0
) -> TrainingSet:
    """Return an example for each query that a maker makes of a passage, which is its positive.

    Passages have ids, those of the index. A query id is ``source:passage id:number``, the number
    from 1 among what the maker made. Queries of fewer than two words are left out, and so are those
    that leave nothing of the passage. The order is drawn by ``seed``, so that queries of one
    passage seldom meet in a batch; the order of the passages changes nothing.

    Raises InputError for passages without ids or with the same, for makers with the same source,
    and if nothing is made.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f"seed is {seed!r}: a whole number of 0 or more is wanted")
    given = [as_passage(each) for each in passages]
    _check_one_each("passage id", [each.id for each in given])
    _check_one_each("maker's source", [each.source for each in makers])
    examples: list[Example] = []
    for maker in makers:
        own = maker.over(given) if isinstance(maker, Keyphrases) else maker
        for passage in given:
            for number, (query, target) in enumerate(own.generate(passage), start=1):
                text = " ".join(query.split())
                answered = target is None or target.strip()
                if answered and len(query_words(text)) >= _FEWEST_WORDS:
                    query_id = f"{own.source}:{passage.id}:{number}"
                    examples.append(
                        Example(text, (passage.id,), source=own.source, query_id=query_id)
                    )
    if not examples:
        raise InputError(
            f"{len(makers)} makers made no query of two words or more out of {len(given):,} "
            "passages: try others, such as FirstSentences() or Keyphrases()"
        )
    examples.sort(key=lambda each: each.query_id)
    order = np.random.default_rng(seed).permutation(len(examples))
    return TrainingSet(tuple(examples[place] for place in order))


def filter_round_trip(training_set: TrainingSet, retriever: Retriever, k: int = 10) -> RoundTrip:
    """Keep the examples of which the retriever finds a positive among its ``k`` best.

    What it can't find by the query, the query hardly asks for: Alberti et al., Synthetic QA Corpora
    Generation with Roundtrip Consistency (ACL 2019). Raises QueryError for a bad ``k``.
    """
    kept: set[str] = set()
    for start in range(0, len(training_set), _BATCH):
        batch = training_set[start : start + _BATCH]
        found = retriever.retrieve_many([each.query for each in batch], k=k)
        for example, hits in zip(batch, found, strict=True):
            if not set(hits.ids).isdisjoint(example.positives):
                kept.add(example.query_id)
    dropped = tuple(each.query_id for each in training_set if each.query_id not in kept)
    return RoundTrip(training_set.select(kept), dropped)


def _check_one_each(what: str, values: Sequence[str]) -> None:
    for value, count in Counter(values).most_common(1):
        if count > 1:
            raise InputError(f"the {what} {value!r:.80} is there {count} times: one is wanted")
    if "" in values:
        raise InputError(f"a {what} is empty: give each its own, as the index has it")
