"""The analyzers of LangChain's and LlamaIndex's BM25 retrievers, for indexes made from these.

An index that names one of them needs no trust.
"""

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


def split_words(text: str) -> list[str]:
    """Split a text at whitespace, as LangChain's BM25Retriever does by default."""
    return text.split()


def english_words(text: str) -> list[str]:
    """Split a text into the terms of llama-index-retrievers-bm25 without stemming."""
    return [word for word in _WORD.findall(text.lower()) if word not in _STOP_WORDS]


def english_stems(text: str) -> list[str]:
    """Return the stems of ``english_words`` by Snowball's English stemmer."""
    stems: list[str] = _load_stemmer().stemWords(english_words(text))
    return stems


@cache
def _load_stemmer() -> Any:
    import Stemmer

    return Stemmer.Stemmer("english")
