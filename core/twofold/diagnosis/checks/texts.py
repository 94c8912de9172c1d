"""Checks of the texts: repeated, cut off or damaged ones."""

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from twofold.diagnosis.finding import Finding, first_ids, percent
from twofold.diagnosis.sample import IndexSample

_MANY_REPEATED = 0.2
"""The share of repeated passages that is an alarm."""
_SHINGLE = 3  # words
_NEAR = 0.8
"""Share of common shingles from which two texts are near-duplicates (Broder 1997)."""
_LONG = 100  # characters of a text that may be cut off
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
    share = len(repeats) / len(positions)
    similar = _find_near_duplicates(sample) if share < _MANY_REPEATED else []
    if len(repeats):
        yield Finding(
            "duplicates",
            "warning" if share >= _MANY_REPEATED else "note",
            f"{len(repeats):,} passages ({percent(share)}) repeat the text of another one, so that "
            "they take its places among the hits",
            "delete them, or pass dedup_threshold to Retriever",
            share=share,
            ids=first_ids(sample.ids(repeats)),
        )
    if not similar:
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
    """Find texts that were cut off before they were stored: many of one length, the longest."""
    lengths = sample.scan.lengths[sample.scan.has_text]
    if len(lengths) < 20:
        return
    longest = int(lengths.max())
    passages = sample.passages
    texts = sorted({passage.text for passage in passages if len(passage.text) >= _LONG})
    share, limit = _share_at_limit(np.array([len(text) for text in texts], np.int64))
    words, most = _share_at_limit(np.array([len(text.split()) for text in texts], np.int64))
    unit = "characters"
    if words > share:
        share, limit, unit = words, most, "words"
    if longest < _LONG or share < 0.1:
        return
    ids = [
        passage.id
        for passage in passages
        if (len(passage.text) if unit == "characters" else len(passage.text.split())) == limit
    ]
    # Chunks of one size go on in the next one, which then begins in the middle of a sentence.
    begun = sum(text[:1].islower() for text in texts) / len(texts)
    chunks = begun >= share / 3
    yield Finding(
        "texts-end-early",
        "note" if chunks else "error" if share >= 0.25 else "warning",
        f"{percent(share)} of the longer texts have exactly {limit:,} {unit}, and none has more: "
        + (
            "they are chunks of one size" if chunks else "they were cut off before they were stored"
        ),
        "end chunks at sentences, as `twofold index` does"
        if chunks
        else "store the whole texts: an index encodes long passages in windows",
        evidence=(f"the text of {ids[0]!r} ends with {_ending(sample, ids[0])!r}",),
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


def _share_at_limit(lengths: NDArray[np.int64]) -> tuple[float, int]:
    """Return the share of lengths that are the largest one, and this."""
    if not len(lengths):
        return 0.0, 0
    longest = int(lengths.max())
    at_limit = int((lengths == longest).sum())
    return (at_limit / len(lengths) if at_limit > 3 else 0.0), longest


def _find_near_duplicates(sample: IndexSample) -> list[str]:
    """Return the ids of passages that share most shingles with a lexically similar passage."""
    if not sample.has_lexical:
        return []
    chosen = sample.passages[: len(sample.probes)]
    keys = sample.scan.keys[sample.probes]
    hits = sample.scope.session.search_lexical([p.content for p in chosen], 4, None, None)
    wanted = np.unique(np.concatenate([one.keys for one in hits])) if hits else keys[:0]
    fetched = sample.scope.session.fetch(wanted)
    shingles = {
        key: _shingles(passage.content)
        for key, passage in zip(fetched.keys.tolist(), fetched.passages, strict=True)
    }
    similar: list[str] = []
    for passage, key, found in zip(chosen, keys.tolist(), hits, strict=True):
        parts = _shingles(passage.content)
        for other in found.keys.tolist():
            theirs = shingles.get(other, frozenset())
            if other != key and parts != theirs and parts and theirs:
                common = len(parts & theirs) / len(parts | theirs)
                if common >= _NEAR:
                    similar.append(passage.id)
                    break
    return similar


def _shingles(text: str) -> frozenset[tuple[str, ...]]:
    """Return all runs of three words of a text."""
    words = re.findall(r"\w+", text.lower())
    return frozenset(tuple(words[at : at + _SHINGLE]) for at in range(len(words) - _SHINGLE + 1))
