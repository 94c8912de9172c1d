"""Checks of the texts: repeated, cut off or damaged ones."""

import re
import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from twofold.diagnosis.finding import Finding, first_ids, percent
from twofold.diagnosis.sample import IndexSample

_MANY_REPEATED = 0.2
"""The share of repeated passages that is an alarm."""
_BEGUN = 0.03
"""The share of texts that begin in the middle of a sentence, in scripts without upper case."""
_STOPS = frozenset(".,;:!?\u3002\u3001\uff0c\uff1b\uff1a\uff01\uff1f\u060c\u061b\u061f\u0964")
_NOT_INITIAL = frozenset(
    "\u0629\u0649\u0626\u0624\u0621"  # Arabic letters that stand in or after a word
    "\u3041\u3043\u3045\u3047\u3049\u3063\u3083\u3085\u3087\u30fc\u3093"  # small kana, n
    "\u30a1\u30a3\u30a5\u30a7\u30a9\u30c3\u30e3\u30e5\u30e7\u30f3"
)
_SHINGLE = 3  # words
_NEAR = 0.8
"""Share of common shingles from which two texts are near-duplicates (Broder 1997)."""
_LONG = 100  # characters of a text that may be cut off
_FEWEST = 10  # such texts
_SAME_LENGTH = 0.1
"""The share of such texts with one length from which they were cut off."""
_DAMAGE = (
    (
        "characters that an encoding error left",
        re.compile("\ufffd|\u00c3[\u0080-\u00bf]|\u00e2\u20ac"),
    ),
    (
        "HTML tags or entities",
        re.compile(
            r"</?(p|div|span|br|td|tr|li|a|b|i|script|table)\b[^>]*>|&(nbsp|amp|lt|gt|quot|#\d+);",
            re.I,
        ),
    ),
)


def check_duplicates(sample: IndexSample) -> Iterator[Finding]:
    """Find passages that repeat others, word for word or nearly."""
    scan = sample.scan
    positions = np.flatnonzero(scan.has_text)
    if len(positions) < 2:
        return
    _, first = np.unique(scan.hashes[positions], return_index=True)
    repeats = np.delete(positions, first)
    share, ids = len(repeats) / len(positions), first_ids(sample.ids(repeats))
    count = f"{len(repeats):,} passages ({percent(share)}) repeat"
    similar: list[str] = []
    if share < _MANY_REPEATED:
        copied, similar = _find_similar(sample)
        if len(scan) < scan.total and copied:  # most copies of a passage are not in the sample
            share, ids = sum(copied.values()) / len(sample.probes), first_ids(list(copied))
            count = f"about {percent(share)} of the passages repeat"
    if share:
        yield Finding(
            "duplicates",
            "warning" if share >= _MANY_REPEATED else "note",
            f"{count} the text of another one, so that they take its places among the hits",
            "delete them, or pass dedup_threshold to Retriever",
            share=share,
            ids=ids,
        )
    if not similar or share >= _MANY_REPEATED:
        return
    share = len(similar) / len(sample.probes)
    yield Finding(
        "near-duplicates",
        "warning" if share >= 1.5 * _MANY_REPEATED else "note",
        f"{percent(share)} of the passages have nearly the words of another one",
        "delete the older ones, or pass dedup_threshold to Retriever",
        evidence=(f"{len(similar):,} of {len(sample.probes):,} passages that were compared",),
        share=share,
        ids=first_ids(similar),
    )


def check_endings(sample: IndexSample) -> Iterator[Finding]:
    """Find texts that were cut off before they were stored: many have one length."""
    passages = sample.passages
    texts = sorted({passage.text for passage in passages if len(passage.text) >= _LONG})
    if len(texts) < _FEWEST:
        return
    characters = np.array([len(text) for text in texts], np.int64)
    words = np.array([len(text.split()) for text in texts], np.int64)
    (limit, count), (most, at_most) = _find_peak(characters), _count_longest(words)
    unit = "characters"
    if at_most > count:
        limit, count, unit = most, at_most, "words"
    if count <= 3 or count < _SAME_LENGTH * len(texts):
        return
    ids = [
        passage.id
        for passage in passages
        if (len(passage.text) if unit == "characters" else len(passage.text.split())) == limit
    ]
    share = len(ids) / len(passages)
    chunks = _are_chunks(texts, count / len(texts))
    yield Finding(
        "texts-end-early",
        "note" if chunks or share < 0.1 else "error" if share >= 0.25 else "warning",
        f"{percent(share)} of the texts have exactly {limit:,} {unit}: "
        + (
            "they are chunks of one size" if chunks else "they were cut off before they were stored"
        ),
        "end chunks at sentences, as `twofold index` does"
        if chunks
        else "store the whole texts: an index encodes long passages in windows",
        evidence=(
            f"{count:,} of {len(texts):,} texts of {_LONG} characters or more have this length",
            f"the text of {ids[0]!r} ends with {_ending(sample, ids[0])!r}",
        ),
        share=share,
        ids=first_ids(ids),
    )


def _ending(sample: IndexSample, passage_id: str) -> str:
    """Return the last characters of a passage's text."""
    return next(passage.text[-30:] for passage in sample.passages if passage.id == passage_id)


def check_damage(sample: IndexSample) -> Iterator[Finding]:
    """Find texts with the traces of a wrong encoding, or with markup."""
    for label, pattern in _DAMAGE:
        ids = [p.id for p in sample.passages if pattern.search(p.content)]
        share = len(ids) / max(len(sample.passages), 1)
        if share < 0.01:
            continue
        yield Finding(
            "damaged-texts",
            "warning" if share >= 0.1 else "note",
            f"{percent(share)} of the passages have {label}",
            "read the texts again with the right encoding, and without markup",
            share=share,
            ids=first_ids(ids),
        )


def _are_chunks(texts: Sequence[str], share: float) -> bool:
    """Return whether texts, of which this share has one size, begin in the middle of a sentence.

    Chunks of one size go on in the next one. Texts that were cut off begin as sentences do.
    """
    cased = sum(text[0].islower() or text[0].isupper() for text in texts) / len(texts)
    begun = sum(_is_inside(text[0]) for text in texts) / len(texts)
    return begun >= (share / 3 if cased > 0.5 else _BEGUN)


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


def _find_similar(sample: IndexSample) -> tuple[dict[str, float], list[str]]:
    """Compare up to 200 passages with the lexically most similar ones of the whole index.

    Returns:
        For each id of a passage with copies, the share of the group of copies that repeats it; and
        the ids of passages that share most shingles with another one.
    """
    if not sample.has_lexical:
        return {}, []
    chosen = sample.passages[: len(sample.probes)]
    keys = sample.scan.keys[sample.probes]
    hits = sample.scope.session.search_lexical([p.content for p in chosen], 4, None, None)
    wanted = np.unique(np.concatenate([one.keys for one in hits])) if hits else keys[:0]
    fetched = sample.scope.session.fetch(wanted)
    contents = {
        key: passage.content
        for key, passage in zip(fetched.keys.tolist(), fetched.passages, strict=True)
    }
    shingles = {key: _shingles(content) for key, content in contents.items()}
    copied: dict[str, float] = {}
    similar: list[str] = []
    for passage, key, found in zip(chosen, keys.tolist(), hits, strict=True):
        parts = _shingles(passage.content)
        others = [other for other in found.keys.tolist() if other != key and other in contents]
        copies = sum(contents[other] == passage.content for other in others)
        if copies:
            copied[passage.id] = copies / (copies + 1)
        if any(_is_near(parts, shingles[other]) for other in others):
            similar.append(passage.id)
    return copied, similar


def _is_near(first: frozenset[tuple[str, ...]], second: frozenset[tuple[str, ...]]) -> bool:
    """Return whether two texts share most shingles, and not all."""
    if not first or not second or first == second:
        return False
    return len(first & second) / len(first | second) >= _NEAR


def _shingles(text: str) -> frozenset[tuple[str, ...]]:
    """Return all runs of three words of a text."""
    words = re.findall(r"\w+", text.lower())
    return frozenset(tuple(words[at : at + _SHINGLE]) for at in range(len(words) - _SHINGLE + 1))
