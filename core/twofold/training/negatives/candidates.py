"""Negatives: passages that don't answer a query, with where each comes from."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from twofold.errors import InputError
from twofold.index import IndexView
from twofold.training.data.examples import Example
from twofold.types import LegHits, Passage, Scores, Vectors

Source = Literal["random", "lexical", "dense", "hybrid", "given"]
"""Who brought a negative: chance, a leg, both legs fused, or the training set itself."""
Reason = Literal["near-duplicate", "reranker", "above-margin"]
"""Why a passage may be an answer nobody has marked: surest first."""

SOURCES: tuple[Source, ...] = get_args(Source)
REASONS: tuple[Reason, ...] = get_args(Reason)
Shingles = frozenset[tuple[str, ...]]
_WORD = re.compile(r"\w+")
_SHINGLE = 5  # words
_CLEAR = 2.0
"""Deviations above the random level from which on a dense score says anything."""


@dataclass(frozen=True, slots=True)
class Negative:
    """A passage that doesn't answer a query.

    ``rank``, from 1, and ``score`` are those that its source gave it, on the source's own scale;
    both are None for random and given ones, which nobody ranked.
    """

    id: str
    source: Source
    rank: int | None = None
    score: float | None = None

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            names = ", ".join(repr(name) for name in SOURCES)
            raise InputError(
                f"the source of {self.id!r:.80} is {self.source!r:.40}: use one of {names}"
            )


@dataclass(frozen=True, slots=True)
class Suspect:
    """A passage kept back from the negatives, since it may answer the query after all.

    ``score`` and ``positive_score`` are on the scale of the ``reason``: dense scores for
    ``"above-margin"``, the reranker's for ``"reranker"``, and for ``"near-duplicate"`` the share of
    word sequences in common, where the positive has 1. ``positive_score`` is that of the best
    positive, None where none could be scored.
    """

    query_id: str
    id: str
    reason: Reason
    score: float
    positive_score: float | None

    @property
    def excess(self) -> float:
        """By how much it scores above the positive; 0.0 where that one has no score."""
        return self.score - self.positive_score if self.positive_score is not None else 0.0


@dataclass(frozen=True, slots=True)
class MinedNegatives(Mapping[str, tuple[Negative, ...]]):
    """Query id to its negatives, an empty tuple where none was left; and what was kept back."""

    negatives: Mapping[str, tuple[Negative, ...]]
    suspects: tuple[Suspect, ...] = ()

    def __getitem__(self, query_id: str) -> tuple[Negative, ...]:
        return self.negatives[query_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self.negatives)

    def __len__(self) -> int:
        return len(self.negatives)


def turnover(
    before: Mapping[str, Sequence[Negative]], after: Mapping[str, Sequence[Negative]]
) -> float:
    """Return the share of the negatives ``before`` that are no longer there ``after``, 0 to 1.

    Passages count, not who brought them. Only queries of both are compared; 0.0 where they had no
    negatives.
    """
    total = gone = 0
    for query_id, negatives in before.items():
        if query_id in after:
            kept = {each.id for each in after[query_id]}
            total += len(negatives)
            gone += sum(each.id not in kept for each in negatives)
    return gone / total if total else 0.0


@dataclass(slots=True)
class Candidates:
    """What was found out about passages that may become negatives of one example.

    ``texts`` are those of its positives; ``vector`` (dim,) is the query's, ``best`` the dense score
    of the best positive, and ``bound`` that above which a passage is suspected. ``usable`` has the
    texts of passages that may be negatives, None for those that may not; the ids in ``reading`` are
    before a reranker.
    """

    example: Example
    texts: list[str]
    vector: Vectors | None = None
    best: float | None = None
    bound: float = math.inf
    usable: dict[str, str | None] = field(default_factory=dict)
    suspects: list[Suspect] = field(default_factory=list)
    reading: tuple[str, ...] = ()
    known: list[Shingles] = field(init=False)

    def __post_init__(self) -> None:
        self.known = [shingles(split_words(text)) for text in self.texts]
        self.usable |= dict.fromkeys((*self.example.positives, *self.example.negatives))

    def passing(
        self, view: IndexView, source: Source, hits: LegHits, skip: int, near_duplicate: float
    ) -> Iterator[Negative]:
        """Yield those of the hits that may be negatives, looking at one after the other."""
        ids, dense = view.ids(hits.rows), np.full(len(hits.rows), np.nan)
        if self.vector is not None:
            dense = view.dense_scores(self.vector, hits.rows)
        for place in range(skip, len(ids)):
            if ids[place] not in self.usable:
                passage = view.passages(hits.rows[place : place + 1])[0]
                self.look(passage, float(dense[place]), near_duplicate)
            if self.fine(ids[place]):
                ranked = (place + 1, float(hits.scores[place])) if source != "random" else ()
                yield Negative(ids[place], source, *ranked)

    def fine(self, own: str) -> bool:
        """Whether a passage that was looked at may be a negative."""
        return self.usable[own] is not None

    def denoise(self, scores: Scores, threshold: float | None) -> None:
        """Keep back what a reranker scores as high as the best positive, or the threshold.

        ``scores`` (n,) are those of the positives' ``texts`` and then of the passages ``reading``.
        """
        count = len(self.texts)
        best = float(scores[:count].max()) if count else None
        limits = [each for each in (best, threshold) if each is not None]
        for own, score in zip(self.reading, scores[count:].tolist(), strict=True):
            if limits and score >= min(limits):
                self.suspect(own, "reranker", score, best)

    def look(self, passage: Passage, score: float, near_duplicate: float) -> None:
        """Find out about a passage with this dense score, NaN for none."""
        words, own = split_words(passage.content), split_words(self.example.query)
        self.usable[passage.id] = passage.content
        if not words or own in (words, split_words(passage.text)):
            self.usable[passage.id] = None  # nothing to learn from
            return
        sequences = shingles(words)
        likeness = max((jaccard(sequences, each) for each in self.known), default=0.0)
        if likeness >= near_duplicate:
            self.suspect(passage.id, "near-duplicate", likeness, 1.0)
        elif score > self.bound:
            self.suspect(passage.id, "above-margin", score, self.best)

    def suspect(self, own: str, reason: Reason, score: float, positive: float | None) -> None:
        """Keep a passage back."""
        self.usable[own] = None
        self.suspects.append(Suspect(self.example.query_id, own, reason, float(score), positive))


def set_bounds(
    asked: Sequence[Candidates],
    view: IndexView,
    brought: Mapping[str, str],
    share: float | None,
    margin: float | None,
) -> None:
    """Give each query its vector, its best positive's score, and the bound, as ``Mining`` says.

    ``brought`` are texts of passages that may not be in the index, by id.
    """
    metric = view.metric
    assert metric is not None  # there is a dense leg
    rows = {own: view.row_of(own) for each in asked for own in each.example.positives}
    lone = sorted(own for own, row in rows.items() if row is None and brought.get(own, "").strip())
    texts = [brought[own] for own in lone]
    made = dict(zip(lone, metric.stored(view.encode_passages(texts)), strict=True)) if lone else {}
    vectors = view.encode_queries([each.example.query for each in asked])
    levels = [view.dense_moments(vector) for vector in vectors]
    for each, vector in zip(asked, vectors, strict=True):
        own = each.example.positives
        stored = np.array([rows[one] for one in own if rows[one] is not None], np.int64)
        scores = view.dense_scores(vector, stored)
        if others := [made[one] for one in own if one in made]:
            scores = np.append(scores, metric.scores(vector, np.stack(others)))
        each.vector, each.best = vector, max(scores[~np.isnan(scores)].tolist(), default=None)
    pairs = list(zip(asked, levels, strict=True))
    gaps = [each.best - level.mean for each, level in pairs if each.best is not None]
    for each, level in pairs:
        if margin is not None and each.best is not None:
            each.bound = each.best - margin * abs(each.best)
        elif margin is None and share is not None and gaps:
            gap = each.best - level.mean if each.best is not None else float(np.median(gaps))
            each.bound = level.mean + max(share * gap, _CLEAR * level.deviation)


def split_words(text: str) -> tuple[str, ...]:
    """Return the words of a text, without regard to case and punctuation."""
    return tuple(_WORD.findall(text.casefold()))


def shingles(words: Sequence[str]) -> Shingles:
    """Return all sequences of 5 words; a shorter text is one by itself.

    Broder, On the Resemblance and Containment of Documents (1997).
    """
    starts = range(max(len(words) - _SHINGLE + 1, 1))
    return frozenset(tuple(words[start : start + _SHINGLE]) for start in starts)


def jaccard(one: Shingles, other: Shingles) -> float:
    """Return the share of all sequences that both have, 0 to 1."""
    return len(one & other) / len(one | other)
