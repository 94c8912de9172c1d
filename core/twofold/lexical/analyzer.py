"""Text to terms: Unicode words, folded and stemmed; Chinese, Japanese and Korean by bigrams."""

import re
import threading
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from twofold.errors import InputError
from twofold.lexical import stopwords
from twofold.protocols import Analyzer

# Han, kana, Hangul: written without blanks between words, or with long compounds.
_CJK = "\u1100-\u11ff\u2e80-\u2fdf\u3005\u3007\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff" + (
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
_CJK_START = re.compile(rf"[{_CJK}]")
_APOSTROPHES = str.maketrans({"\u2019": "'", "\u02bc": "'", "\uff07": "'"})
_LOCAL = threading.local()  # a PyStemmer object must not be shared between threads
# Marks that belong to Latin letters; those of other scripts carry meaning (Hindi vowels, say).
_LATIN_MARKS = re.compile(r"(?<=[a-z])[\u0300-\u036f]+")


@dataclass(frozen=True, slots=True)
class EnglishAnalyzer:
    """English words by the Snowball (Porter2) stemmer, everything else as it is written.

    NFKC and casefold, diacritics of Latin letters folded ("cafe" finds "caf\u00e9"), one-character
    words kept ("vitamin D"). A run of Chinese, Japanese or Korean becomes its characters and
    their pairs; queries use the pairs. Stop words are indexed, and dropped from a query unless
    nothing else is left of it.
    """

    name: str = "english"
    version: int = 1

    def passage_terms(self, text: str) -> list[str]:
        """Return the terms of ``text`` in order, repeats included."""
        terms: list[str] = []
        words: list[str] = []
        for word in _words(text):
            if _CJK_START.match(word):
                terms += word
                terms += _pairs(word)
            else:
                words.append(word)
        return _stem(words) + terms

    def query_terms(self, text: str) -> list[str]:
        """Return the terms of a query; a run of CJK is asked for by its pairs."""
        terms: list[str] = []
        words: list[str] = []
        for word in _words(text):
            if _CJK_START.match(word):
                terms += _pairs(word) if len(word) > 1 else word
            else:
                words.append(word)
        kept = [word for word in words if word not in stopwords.ENGLISH]
        return _stem(kept if kept or terms else words) + terms


_ANALYZERS: dict[str, Analyzer] = {"english": EnglishAnalyzer()}


def analyzer_named(name: str) -> Analyzer:
    """Return the analyzer of that name; raise InputError, naming the known ones."""
    if name not in _ANALYZERS:
        known = ", ".join(repr(each) for each in _ANALYZERS)
        raise InputError(f"unknown analyzer {name!r}: use one of {known}")
    return _ANALYZERS[name]


def _words(text: str) -> list[str]:
    """Return the folded words and CJK runs of ``text`` in order."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(_APOSTROPHES)
        text = unicodedata.normalize("NFD", text.casefold())
        # Hangul falls apart under NFD; NFC puts it, and every other script, together again.
        text = unicodedata.normalize("NFC", _LATIN_MARKS.sub("", text))
    else:
        text = text.lower()
    return _word_pattern().findall(text)


@cache
def _word_pattern() -> re.Pattern[str]:
    """Match a run of CJK, or a word of letters, digits and marks with inner apostrophes."""
    # Python's \w leaves out combining marks, without which Hindi and Thai words fall apart.
    marks = "".join(
        char for char in map(chr, range(0x10000)) if unicodedata.category(char)[0] == "M"
    )
    letters = rf"(?:(?![{_CJK}])(?:[^\W_]|[{re.escape(marks)}]))+"
    return re.compile(rf"[{_CJK}]+|{letters}(?:'{letters})*")


def _pairs(run: str) -> list[str]:
    """Return the overlapping pairs of a run of characters."""
    return [run[place : place + 2] for place in range(len(run) - 1)]


def _stem(words: Sequence[str]) -> list[str]:
    stemmer: Any = getattr(_LOCAL, "stemmer", None)
    if stemmer is None:
        import Stemmer

        stemmer = _LOCAL.stemmer = Stemmer.Stemmer("english")
    stems: list[str] = stemmer.stemWords(words)
    return stems
