"""Text to terms in the words' own language, and back to the spans of the text."""

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain

from twofold.errors import InputError
from twofold.lexical.analysis.languages import LANGUAGES, Language
from twofold.lexical.analysis.normalization import align, compatible, fold
from twofold.lexical.analysis.tokenizer import (
    identifier_pieces,
    identifier_spans,
    identifiers,
    is_run,
    lower_parts,
    run_pieces,
    word_pattern,
)
from twofold.types import TermSpan

_VERSION = 2
_LONGEST = 64
"""Characters of a chunk that is worth remembering; longer ones seldom come again."""
_MOST = 1 << 17
"""Chunks remembered for each language and thread: 31 MB of short words."""
_LOCAL = threading.local()  # a PyStemmer object must not be shared between threads


@dataclass(frozen=True, slots=True)
class LanguageAnalyzer:
    """Words by Unicode, folded and stemmed as their language asks.

    NFKC and casefold; one-character words kept ("vitamin D"). Identifiers are found whole and in
    part ("CVE-2024-1234", "getUserName", "C++"). A run of Chinese, Japanese, Korean, Thai, Lao,
    Khmer or Burmese becomes its characters and their pairs. Stop words are indexed, and dropped
    from a query unless nothing else is left of it. Stemmers: Porter, Snowball (2001).
    """

    language: Language = LANGUAGES["english"]
    version: int = _VERSION

    @property
    def name(self) -> str:
        """The language's English name."""
        return self.language.name

    @property
    def probes(self) -> tuple[str, ...]:
        """Texts whose terms tell another version of the stemmer or of the stop words."""
        return (" ".join(sorted(self.language.stop_words())),)

    def passage_terms(self, text: str) -> list[str]:
        """Return the terms of ``text``, repeats included."""
        # No term reaches across a blank, and most of what stands between blanks comes again.
        known = _chunks(self)
        return list(chain.from_iterable(map(known.__getitem__, text.split())))

    def query_terms(self, text: str) -> list[str]:
        """Return the terms of a query, without those that any text has."""
        return self._terms(text, asked=True)

    def spans(self, text: str) -> list[TermSpan]:
        """Return where in ``text`` each of its ``passage_terms`` stands, by start."""
        found = sorted(self._pieces(text), key=lambda piece: (piece[1], -piece[2]))
        stems = map(_stemmer(self.language.stemmer), [word for word, _, _ in found])
        return [TermSpan(stem, *piece[1:]) for stem, piece in zip(stems, found, strict=True)]

    def _terms(self, text: str, *, asked: bool) -> list[str]:
        language = self.language
        text = compatible(text, language)
        words: list[str] = _pattern(language).findall(fold(text, language))
        pieces = [each[0] for whole in identifiers(text) for each in identifier_pieces(whole)]
        if pieces:  # folded at once: none has a blank
            pieces = fold(" ".join(pieces), language).split(" ")
        runs: list[str] = []
        if not text.isascii() and any(map(is_run, words)):
            every, words = words, []
            for word in every:
                if is_run(word):
                    runs += [piece for piece, _, _ in run_pieces(word, asked=asked)]
                else:
                    words.append(word)
        if asked:
            words, runs = self._telling(words, pieces, runs)
        return [*map(_stemmer(language.stemmer), words + pieces), *runs]

    def _telling(
        self, words: list[str], pieces: Sequence[str], runs: list[str]
    ) -> tuple[list[str], list[str]]:
        """Return a query's words and runs without stop words, or all where nothing is left."""
        stops = _folded_stops(self.language)
        telling = [word for word in words if word not in stops]
        pairs = [run for run in runs if run not in stops]
        return (telling, pairs) if telling or pairs or pieces else (words, runs)

    def _pieces(self, text: str) -> Iterator[tuple[str, int, int]]:
        """Yield unstemmed terms with their spans in ``text`` itself."""
        language = self.language
        small = align(text, language, folded=True)
        for found in _pattern(language).finditer(small.text):
            if not is_run(found[0]):
                yield (found[0], *small.span(found.start(), found.end()))
                continue
            for piece, start, end in run_pieces(found[0], asked=False):
                yield (piece, *small.span(found.start() + start, found.start() + end))
        cased = align(text, language, folded=False)
        for piece, start, end in identifier_spans(cased.text):
            yield (fold(piece, language), *cased.span(start, end))


def _pattern(language: Language) -> re.Pattern[str]:
    return word_pattern(splits=language.splits, elides=language.elides)


class _Chunks(dict[str, list[str]]):
    """The terms of what stands between blanks, as they are asked for."""

    def __init__(self, analyzer: LanguageAnalyzer) -> None:
        super().__init__()
        self._analyzer = analyzer
        self._stem = _stemmer(analyzer.language.stemmer)
        self._plain = not analyzer.language.dotless

    def __missing__(self, chunk: str) -> list[str]:
        word = chunk.strip('.,;:()"')
        if self._plain and word.isascii() and word.isalpha() and word[1:].islower():
            terms = [self._stem(word.lower())]
        elif (parts := lower_parts(word)) and self._plain:
            pieces = [piece for piece, _, _ in identifier_pieces(word)]
            terms = [*map(self._stem, parts + pieces)]
        else:
            terms = self._analyzer._terms(chunk, asked=False)
        if len(chunk) <= _LONGEST:
            if len(self) >= _MOST:
                self.clear()
            self[chunk] = terms
        return terms


def _stemmer(algorithm: str | None) -> Callable[[str], str]:
    """Return this thread's function from a word to its stem."""
    if algorithm is None:
        return str
    stemmers: dict[str, Callable[[str], str]] | None = getattr(_LOCAL, "stemmers", None)
    if stemmers is None:
        stemmers = _LOCAL.stemmers = {}
    if algorithm not in stemmers:
        import Stemmer

        # Without its own cache, which slows down when it is full.
        engine = Stemmer.Stemmer(algorithm, 0).stemWord
        # The Arabic one leaves nothing of some marks.
        stemmers[algorithm] = lambda word: engine(word) or word
    return stemmers[algorithm]


def check_stemmer(language: Language) -> None:
    """Raise InputError if the installed PyStemmer is too old to know a language."""
    import Stemmer

    if language.stemmer is not None and language.stemmer not in Stemmer.algorithms():
        raise InputError(
            f"PyStemmer {Stemmer.version()} has no stemmer for {language.name!r}: "
            "pip install 'PyStemmer>=3.1', or use analyzer='multilingual'"
        )


def _chunks(analyzer: LanguageAnalyzer) -> _Chunks:
    """Return what this thread remembers of an analyzer's terms."""
    known: dict[Language, _Chunks] | None = getattr(_LOCAL, "chunks", None)
    if known is None:
        known = _LOCAL.chunks = {}
    chunks = known.get(analyzer.language)
    if chunks is None:
        chunks = known[analyzer.language] = _Chunks(analyzer)
    return chunks


@cache
def _folded_stops(language: Language) -> frozenset[str]:
    """Return a language's stop words as its texts are folded."""
    return frozenset(fold(compatible(word, language), language) for word in language.stop_words())
