"""Words as llama-index-retrievers-bm25 cuts them by default, for indexes moved over from there."""

import re
from functools import cache
from typing import Any

_WORD = re.compile(r"(?u)\b\w\w+\b")
_STOP_WORDS = frozenset(
    {
        *("a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is"),
        *("it", "no", "not", "of", "on", "or", "such", "that", "the", "their", "then", "there"),
        *("these", "they", "this", "to", "was", "will", "with"),
    }
)
"""Lucene's English stop words, which bm25s leaves out."""


def english_words(text: str) -> list[str]:
    """Return the words of two and more signs in lower case, without English stop words."""
    return [word for word in _WORD.findall(text.lower()) if word not in _STOP_WORDS]


def english_stems(text: str) -> list[str]:
    """Return the same words, stemmed by Snowball's English stemmer."""
    stems: list[str] = _stemmer().stemWords(english_words(text))
    return stems


@cache
def _stemmer() -> Any:
    import Stemmer

    return Stemmer.Stemmer("english")
