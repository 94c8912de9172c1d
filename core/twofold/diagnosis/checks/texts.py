"""Checks of the texts: repeated ones, boilerplate, and titles of other texts."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from twofold.diagnosis.finding import Finding, first_ids, percent
from twofold.diagnosis.sample import IndexSample
from twofold.diagnosis.scan import normalize_text
from twofold.types import LegHits

_SOME = 0.01
_MANY_REPEATED = 0.08
"""The share of repeated passages that is an alarm."""
_MANY_NEAR = 0.15
"""The share of passages with a near-duplicate that is an alarm. Descriptions of Debian's packages
have 6%, SciFact and SQuAD less than 1%."""
_SHINGLE = 3  # words
_NEAR = 0.8
"""Share of common shingles from which two texts are near-duplicates (Broder 1997)."""
_REPEATED, _BOILERPLATE = 40, 0.2
"""Characters of a repeated part, and the share of passages from which it is boilerplate. Real
collections have up to 2%."""
_FEWEST = 20
_SENTENCE_END = re.compile(r"(?<=[.!?\u3002])\s+|\n+")


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
    partial = len(scan) < scan.total
    if partial or share < _MANY_REPEATED:
        copied, similar = _find_similar(sample)
        if partial and copied:  # most copies of a passage are not in the sample
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
        "warning" if share >= _MANY_NEAR else "note",
        f"{percent(share)} of the passages have nearly the words of another one",
        "delete the older ones, or pass dedup_threshold to Retriever",
        evidence=(f"{len(similar):,} of {len(sample.probes):,} passages that were compared",),
        share=share,
        ids=first_ids(similar),
    )


def check_boilerplate(sample: IndexSample) -> Iterator[Finding]:
    """Find a sentence, a beginning or an end that many different passages have."""
    passages = sample.passages
    counts: Counter[str] = Counter()
    for passage in passages:
        text = " ".join(passage.text.split())
        parts = {part for part in _SENTENCE_END.split(passage.text) if len(part) >= _REPEATED}
        if len(text) > 2 * _REPEATED:
            parts |= {text[:_REPEATED], text[-_REPEATED:]}
        counts.update(parts)
    if not counts or len(passages) < _FEWEST:
        return
    part, count = max(counts.items(), key=lambda item: (item[1], len(item[0]), item[0]))
    distinct = len({passage.content for passage in passages if part in passage.content})
    share = count / len(passages)
    if share < _BOILERPLATE or distinct < count / 2:
        return
    yield Finding(
        "boilerplate",
        "warning",
        f"{percent(share)} of the passages have the same words in common: {part!r:.100}",
        "take headers, footers and notices out before the texts are stored: all passages resemble "
        "each other by them",
        share=share,
        ids=first_ids(
            passage.id for passage in passages if part in " ".join(passage.content.split())
        ),
    )


def check_titles(sample: IndexSample) -> Iterator[Finding]:
    """Find titles that belong to other texts, and titles without a text."""
    titled = [passage for passage in sample.passages if passage.title.strip()]
    bare = [passage.id for passage in titled if not passage.text.strip()]
    share = len(bare) / max(len(sample.passages), 1)
    if _SOME <= share <= 0.5:
        yield Finding(
            "titles-alone",
            "warning" if share >= 5 * _SOME else "note",
            f"{percent(share)} of the passages have a title and no text",
            "look for what lost their texts",
            share=share,
            ids=first_ids(bare),
        )
    titled = [passage for passage in titled if passage.text.strip()]
    if len(titled) < 50 or len({passage.title for passage in titled}) < len(titled) / 2:
        return
    titles = [set(re.findall(r"\w{4,}", passage.title.lower())) for passage in titled]
    texts = [set(re.findall(r"\w{4,}", passage.text.lower())) for passage in titled]
    shifted = [*texts[1:], texts[0]]
    same, other = _mean_overlap(titles, texts), _mean_overlap(titles, shifted)
    if other < 0.05 or same > other + 0.03:
        return
    yield Finding(
        "titles-of-other-texts",
        "warning",
        "titles have no more words in common with their texts than with those of others",
        "look for titles that are in another order than the texts",
        evidence=(
            f"{percent(same)} of a title's words are in its text, and {percent(other)} in another",
        ),
    )


def _mean_overlap(titles: Sequence[set[str]], texts: Sequence[set[str]]) -> float:
    """Return the mean share of a title's words that a text has."""
    shares = [len(a & b) / len(a) for a, b in zip(titles, texts, strict=True) if a]
    return sum(shares) / max(len(shares), 1)


def _find_similar(sample: IndexSample) -> tuple[dict[str, float], list[str]]:
    """Compare up to 200 passages with the lexically most similar ones of the whole index.

    Returns:
        For each id of a passage with copies, the share of the group of copies that repeats it; and
        the ids of passages that share most shingles with another one.
    """
    chosen = sample.passages[: len(sample.probes)]
    keys = sample.scan.keys[sample.probes]
    vectors, hits = sample.scan.vectors, list[LegHits]()
    if sample.has_lexical:
        hits = sample.search_lexical([passage.content for passage in chosen], 4)
    elif vectors is not None:
        hits = sample.search_dense(vectors[sample.probes], 4)
    if not hits:
        return {}, []
    wanted = np.unique(np.concatenate([one.keys for one in hits]))
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
        text = normalize_text(passage.content)
        copies = sum(normalize_text(contents[other]) == text for other in others)
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
