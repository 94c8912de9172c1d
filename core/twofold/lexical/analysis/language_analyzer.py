"""Analyzers of natural languages: text to stemmed terms, and terms back to spans of the text."""

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain

from twofold.errors import InputError
from twofold.lexical.analysis.languages import LANGUAGES, Language
from twofold.lexical.analysis.normalization import align, fold, normalize, replace_blanks
from twofold.lexical.analysis.tokenizer import (
    identifier_spans,
    is_run,
    join_abbreviation,
    split_identifier,
    split_lowercase,
    split_run,
    word_pattern,
)
from twofold.types import TermSpan

_VERSION = 4
_MAX_CACHED_LENGTH = 64  # characters of the longest chunk to cache; longer ones rarely repeat
_MAX_CACHED_CHUNKS = 1 << 17  # chunks cached for each language and thread: 31 MB of short words
_LOCAL = threading.local()  # PyStemmer objects must not be shared between threads


@dataclass(frozen=True, slots=True)
class LanguageAnalyzer:
    """Splits text into Unicode words, folds and stems them by the rules of a language.

    Applies NFKC and casefold, and keeps one-character words ("vitamin D") and emoji. Invisible
    characters and vowel points are ignored; typographic hyphens and apostrophes are plain ones.
    Identifiers are found whole and in parts ("CVE-2024-1234", "getUserName", "C++"), and numbers
    also without the separators of thousands. A run of Chinese, Japanese, Korean,
    Thai, Lao, Khmer or Burmese becomes its characters and their pairs. Stop words are indexed, and
    dropped from a query unless nothing else is left. Stemmers: Porter, Snowball (2001).
    """

    language: Language = LANGUAGES["english"]
    version: int = _VERSION

    @property
    def name(self) -> str:
        """The language's English name."""
        return self.language.name

    @property
    def probes(self) -> tuple[str, ...]:
        """Texts for the fingerprint: all stop words."""
        return (" ".join(sorted(self.language.stop_words())),)

    def passage_terms(self, text: str) -> list[str]:
        """Return the terms of ``text``, repeats included."""
        # No term contains whitespace, and most chunks between whitespace repeat.
        chunks = replace_blanks(text).split()
        return list(chain.from_iterable(map(_thread_cache(self).__getitem__, chunks)))

    def query_terms(self, text: str) -> list[str]:
        """Return the terms of a query without stop words."""
        return self._terms(replace_blanks(text), query=True)

    def spans(self, text: str) -> list[TermSpan]:
        """Return the spans of the ``passage_terms`` in ``text``, sorted by start."""
        found = sorted(self._pieces(replace_blanks(text)), key=lambda piece: (piece[1], -piece[2]))
        stems = map(_stemmer(self.language.stemmer), [word for word, _, _ in found])
        return [TermSpan(stem, *piece[1:]) for stem, piece in zip(stems, found, strict=True)]

    def _terms(self, text: str, *, query: bool) -> list[str]:
        language = self.language
        text = normalize(text, language)
        words: list[str] = _pattern(language).findall(fold(text, language))
        if '"' in text:
            words = list(map(join_abbreviation, words))
        pieces = [piece for piece, _, _ in identifier_spans(text, points=language.points)]
        if pieces:  # folded at once: none contains a space
            pieces = fold(" ".join(pieces), language).split(" ")
        runs: list[str] = []
        if not text.isascii() and any(map(is_run, words)):
            for run in filter(is_run, words):
                runs += [piece for piece, _, _ in split_run(run, query=query)]
            words = [word for word in words if not is_run(word)]
        if query:
            stop_words = _folded_stop_words(language)
            content = [word for word in words if word not in stop_words]
            pairs = [run for run in runs if run not in stop_words]
            if content or pairs or pieces:
                words, runs = content, pairs
        return [*map(_stemmer(language.stemmer), words + pieces), *runs]

    def _pieces(self, text: str) -> Iterator[tuple[str, int, int]]:
        """Yield unstemmed terms with their spans in ``text``."""
        language = self.language
        folded = align(text, language, folded=True)
        for found in _pattern(language).finditer(folded.text):
            if not is_run(found[0]):
                yield (join_abbreviation(found[0]), *folded.span(found.start(), found.end()))
                continue
            for piece, start, end in split_run(found[0], query=False):
                yield (piece, *folded.span(found.start() + start, found.start() + end))
        cased = align(text, language, folded=False)
        for piece, start, end in identifier_spans(cased.text, points=language.points):
            yield (fold(piece, language), *cased.span(start, end))


def _pattern(language: Language) -> re.Pattern[str]:
    return word_pattern(splits=language.splits, elides=language.elides)


class _ChunkCache(dict[str, list[str]]):
    """The terms of chunks between whitespace, computed on first use."""

    def __init__(self, analyzer: LanguageAnalyzer) -> None:
        super().__init__()
        self._analyzer = analyzer
        self._stem = _stemmer(analyzer.language.stemmer)
        self._plain = not analyzer.language.dotless
        self._points = analyzer.language.points

    def __missing__(self, chunk: str) -> list[str]:
        word = chunk.strip('.,;:()"')
        if self._plain and word.isascii() and word.isalpha() and word[1:].islower():
            terms = [self._stem(word.lower())]
        elif (parts := split_lowercase(word)) and self._plain:
            pieces = [piece for piece, _, _ in split_identifier(word, points=self._points)]
            terms = [*map(self._stem, parts + pieces)]
        else:
            terms = self._analyzer._terms(chunk, query=False)
        if len(chunk) <= _MAX_CACHED_LENGTH:
            if len(self) >= _MAX_CACHED_CHUNKS:
                self.clear()
            self[chunk] = terms
        return terms


def _thread_cache(analyzer: LanguageAnalyzer) -> _ChunkCache:
    """Return this thread's cache for an analyzer's language."""
    caches: dict[Language, _ChunkCache] | None = getattr(_LOCAL, "caches", None)
    if caches is None:
        caches = _LOCAL.caches = {}
    if analyzer.language not in caches:
        caches[analyzer.language] = _ChunkCache(analyzer)
    return caches[analyzer.language]


def _stemmer(algorithm: str | None) -> Callable[[str], str]:
    """Return this thread's function from a word to its stem."""
    if algorithm is None:
        return str
    stemmers: dict[str, Callable[[str], str]] | None = getattr(_LOCAL, "stemmers", None)
    if stemmers is None:
        stemmers = _LOCAL.stemmers = {}
    if algorithm not in stemmers:
        import Stemmer

        # Without PyStemmer's cache, which slows down when it is full.
        engine = Stemmer.Stemmer(algorithm, 0).stemWord
        # The Arabic stemmer returns "" for some marks.
        stemmers[algorithm] = lambda word: engine(word) or word
    return stemmers[algorithm]


def check_stemmer(language: Language) -> None:
    """Raise InputError if the installed PyStemmer is too old for a language."""
    import Stemmer

    if language.stemmer is not None and language.stemmer not in Stemmer.algorithms():
        raise InputError(
            f"PyStemmer {Stemmer.version()} has no stemmer for {language.name!r}: "
            "pip install 'PyStemmer>=3.1', or use analyzer='multilingual'"
        )


@cache
def _folded_stop_words(language: Language) -> frozenset[str]:
    words = language.stop_words()
    return frozenset(fold(normalize(word, language), language) for word in words)
