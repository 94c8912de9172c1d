"""Checks for texts that were cut off before they were stored."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from twofold.diagnosis.finding import Finding, first_ids, percent
from twofold.diagnosis.sample import IndexSample
from twofold.types import Passage

_LONG = 30
"""Characters of a text that may have been cut off."""
_FEWEST = 10  # such texts
_SHORT = 100
"""Characters of texts that may be records of one length."""
_PARTIAL = 0.3  # of them end with a part of a word
_MANY_WORDS = 20  # of short texts, many have the most words
_SAME_LENGTH = 0.1
"""The share of such texts with one length from which they were cut off."""
_BEGUN = 0.03
"""The share of texts that begin in the middle of a sentence, in scripts without upper case."""
_OPEN, _MANY_OPEN = 0.2, 0.35
"""The share of texts of several sentences of which the last one has no end: a warning, an error.
SQuAD, XQuAD, SciFact, Debian and JaQuAD have up to 7%."""
_END = re.compile(
    r"(?:[!?:;\u3002\uff01\uff1f\u0964\u061f]|(?<!\.)\.)['\"\u201d\u2019\u00bb)\]]*\s*\Z"
)
_INNER = re.compile(
    r"[.!?][\"')\u201d\u00bb]?\s+[A-Z0-9\u00c0-\u00de\u0370-\u03ff\u0410-\u042f]"
    r"|[\u3002\uff01\uff1f\u0964]|[\u061f.]\s+[\u0620-\u064a]"
)
"""The end of a sentence within a text."""
_WORDS = re.compile(r"[^\W\d_]{2,}\s+[^\W\d_]{2,}\s+[^\W\d_]{2,}|[\u0e00-\u0eff\u3040-\u9fff]{4}")
_STOPS = frozenset(".,;:!?\u3002\u3001\uff0c\uff1b\uff1a\uff01\uff1f\u060c\u061b\u061f\u0964")
_NOT_INITIAL = frozenset(
    "\u0629\u0649\u0626\u0624\u0621"  # Arabic letters that stand in or after a word
    "\u3041\u3043\u3045\u3047\u3049\u3063\u3083\u3085\u3087\u30fc\u3093"  # small kana, n
    "\u30a1\u30a3\u30a5\u30a7\u30a9\u30c3\u30e3\u30e5\u30e7\u30f3"
)


def check_endings(sample: IndexSample) -> Iterator[Finding]:
    """Find texts that were cut off: many have one length, or end within a sentence."""
    chosen = [
        passage
        for passage in {passage.text: passage for passage in sample.passages}.values()
        if len(passage.text.strip()) >= _LONG and _WORDS.search(passage.text)
    ]
    if len(chosen) < _FEWEST:
        return
    found = next(_find_one_length(sample, chosen), None)
    if found is not None:
        yield found
    if found is None or not found.is_alarm:
        yield from _find_open_ends(sample, chosen)


def _find_one_length(sample: IndexSample, chosen: Sequence[Passage]) -> Iterator[Finding]:
    """Find texts of exactly one length in characters, or of the most words."""
    characters = np.array([len(passage.text) for passage in chosen], np.int64)
    words = np.array([len(passage.text.split()) for passage in chosen], np.int64)
    (limit, count), (most, at_most) = _find_peak(characters), _count_longest(words)
    unit, lengths = "characters", characters
    if at_most > count and most >= _MANY_WORDS:
        limit, count, unit, lengths = most, at_most, "words", words
    if count <= 3 or count < _SAME_LENGTH * len(chosen):
        return
    affected = [chosen[at] for at in np.flatnonzero(lengths == limit).tolist()]
    if sum(_END.search(passage.text) is None for passage in affected) < len(affected) / 2:
        return  # they end as sentences do
    if unit == "characters" and limit < _SHORT and not _end_in_words(affected, chosen):
        return  # records
    share = len(affected) / len(sample.passages)
    chunks = _are_chunks(chosen, count / len(chosen))
    yield Finding(
        "texts-end-early",
        "note" if chunks or share < 0.1 else "error" if share >= 0.25 else "warning",
        f"{percent(share)} of the texts have exactly {limit:,} {unit}: "
        + (
            "they are chunks of one size" if chunks else "they were cut off before they were stored"
        ),
        _advise(chunks=chunks),
        evidence=(
            f"{count:,} of {len(chosen):,} texts of {_LONG} characters or more have this length",
            _quote_end(affected[0]),
        ),
        share=share,
        ids=first_ids(passage.id for passage in affected),
    )


def _find_open_ends(sample: IndexSample, chosen: Sequence[Passage]) -> Iterator[Finding]:
    """Find texts of several sentences that end within one."""
    prose = [passage for passage in chosen if len(_INNER.findall(passage.text)) >= 2]
    affected = [passage for passage in prose if not _END.search(passage.text)]
    if len(prose) < _FEWEST or len(affected) < _OPEN * len(prose):
        return
    part = len(affected) / len(prose)
    share = len(affected) / len(sample.passages)
    chunks = _are_chunks(prose, part)
    yield Finding(
        "texts-end-early",
        "note" if chunks or share < 0.1 else "error" if part >= _MANY_OPEN else "warning",
        f"{percent(share)} of the texts end within a sentence: "
        + ("they are chunks" if chunks else "they were cut off before they were stored"),
        _advise(chunks=chunks),
        evidence=(
            f"{len(affected):,} of {len(prose):,} texts of three sentences or more",
            _quote_end(affected[0]),
        ),
        share=share,
        ids=first_ids(passage.id for passage in affected),
    )


def _end_in_words(affected: Sequence[Passage], all_of_them: Sequence[Passage]) -> bool:
    """Return whether many texts end within a word, with what no other text has."""
    words = Counter(word for one in all_of_them for word in set(one.text.lower().split()))
    last = [passage.text.lower().split()[-1] for passage in affected]
    return sum(words[word] == 1 for word in last) > _PARTIAL * len(last)


def _advise(*, chunks: bool) -> str:
    if chunks:
        return "end chunks at sentences, as `twofold index` does"
    return "store the whole texts: an index encodes long passages in windows"


def _quote_end(passage: Passage) -> str:
    return f"the text of {passage.id!r} ends with {passage.text[-30:]!r}"


def _are_chunks(passages: Sequence[Passage], share: float) -> bool:
    """Return whether texts, of which this share was cut, begin in the middle of a sentence.

    Chunks go on in the next one. Texts that were cut off begin as sentences do.
    """
    initials = [passage.text[0] for passage in passages]
    cased = sum(
        passage.text not in (passage.text.lower(), passage.text.upper()) for passage in passages
    )
    if cased < len(passages) / 2:  # a script without case, or texts in one case
        begun = sum(not char.islower() and _is_inside(char) for char in initials)
        return begun >= _BEGUN * len(passages)
    return sum(map(_is_inside, initials)) >= share / 3 * len(passages)


def _is_inside(char: str) -> bool:
    """Return whether a character hardly ever begins a sentence."""
    category = unicodedata.category(char)
    inside = char.isspace() or char in _NOT_INITIAL
    return inside or category in ("Ll", "Mn", "Mc", "Pe", "Pf") or char in _STOPS


def _find_peak(lengths: NDArray[np.int64]) -> tuple[int, int]:
    """Return the most frequent length, and how often it occurs."""
    values, counts = np.unique(lengths, return_counts=True)
    at = int(counts.argmax())
    return int(values[at]), int(counts[at])


def _count_longest(lengths: NDArray[np.int64]) -> tuple[int, int]:
    """Return the largest length, and how often it occurs."""
    longest = int(lengths.max())
    return longest, int((lengths == longest).sum())
