"""Mined negatives, and the filter that keeps likely answers out of them."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from twofold.backend import SearchScope
from twofold.training.data.examples import Example
from twofold.types import LegHits, Passage, Vectors
from twofold.validation import check_choice

Source = Literal["random", "lexical", "dense", "hybrid", "given"]
"""Where a negative comes from; ``"given"`` is the training set itself."""

_WORD = re.compile(r"\w+")
_MIN_DEVIATIONS = 2.0
"""Least distance of the score limit from the mean score, in standard deviations."""


@dataclass(frozen=True, slots=True)
class Negative:
    """A passage that doesn't answer a query.

    ``rank``, from 1, and ``score`` are those in its source's results; None for random and given
    ones.
    """

    id: str
    source: Source
    rank: int | None = None
    score: float | None = None

    def __post_init__(self) -> None:
        check_choice(f"source of {self.id!r:.80}", self.source, get_args(Source))


MinedNegatives = dict[str, tuple[Negative, ...]]
"""Query id to its negatives; an empty tuple if none was found."""


def turnover(
    before: Mapping[str, Sequence[Negative]], after: Mapping[str, Sequence[Negative]]
) -> float:
    """Return the share of the passages in ``before`` that ``after`` lacks, from 0 to 1.

    Only queries of both are compared. Without any negatives the turnover is 0.0.
    """
    total = replaced = 0
    for query_id in before.keys() & after.keys():
        kept = {negative.id for negative in after[query_id]}
        total += len(before[query_id])
        replaced += sum(negative.id not in kept for negative in before[query_id])
    return replaced / total if total else 0.0


@dataclass(slots=True)
class CandidateFilter:
    """Decides which passages may be negatives of one example.

    ``positive_texts`` are the known contents of its positives, ``vector`` (dim,) is the query's,
    and ``positive_score`` the best positive's dense score. Passages that score above ``max_score``
    are refused as likely answers.
    """

    example: Example
    positive_texts: Sequence[str]
    vector: Vectors | None = None
    positive_score: float | None = None
    max_score: float = math.inf
    _accepted: dict[str, bool] = field(init=False)
    _refused_words: set[tuple[str, ...]] = field(init=False)

    def __post_init__(self) -> None:
        self._accepted = dict.fromkeys((*self.example.positives, *self.example.negatives), False)
        self._refused_words = {(), *map(split_words, self.positive_texts)}

    def select(
        self, scope: SearchScope, source: Source, hits: LegHits, skip: int
    ) -> Iterator[Negative]:
        """Yield the hits that may be negatives, but not the first ``skip``; reads them lazily."""
        ids, dense = scope.ids(hits.rows), np.full(len(hits.rows), np.nan)
        if self.vector is not None:
            dense = scope.dense_scores(self.vector, hits.rows)
        for place in range(skip, len(ids)):
            if ids[place] not in self._accepted:
                passage = scope.session.fetch(hits.rows[place : place + 1]).passages[0]
                self._accepted[ids[place]] = self._accepts(passage, float(dense[place]))
            if self._accepted[ids[place]]:
                ranked = (place + 1, float(hits.scores[place])) if source != "random" else ()
                yield Negative(ids[place], source, *ranked)

    def _accepts(self, passage: Passage, score: float) -> bool:
        """Refuse blank passages, copies of a positive or the query, and too high scores.

        ``score`` is NaN for passages without a vector, which are accepted.
        """
        words = split_words(passage.content)
        copies_query = split_words(self.example.query) in (words, split_words(passage.text))
        return not copies_query and words not in self._refused_words and not score > self.max_score


def set_score_limits(
    filters: Sequence[CandidateFilter],
    scope: SearchScope,
    texts: Mapping[str, str],
    share: float | None,
    margin: float | None,
) -> None:
    """Set the vector, the best positive's score and the score limit of each query's filter.

    ``texts`` has contents of positives that may not be in the index, by id. ``share`` and
    ``margin`` are those of ``Mining``.
    """
    metric = scope.metric
    assert metric is not None  # there is a dense leg
    ids = dict.fromkeys(id_ for candidate in filters for id_ in candidate.example.positives)
    keys = scope.find_keys(list(ids))
    absent = sorted(id_ for id_ in ids if id_ not in keys and texts.get(id_, "").strip())
    encoded: dict[str, Vectors] = {}
    if absent:
        vectors = metric.prepare(scope.encode_passages([texts[id_] for id_ in absent]))
        encoded = dict(zip(absent, vectors, strict=True))
    vectors = scope.encode_queries([candidate.example.query for candidate in filters])
    statistics = scope.require_statistics("filtering negatives by score")
    moments = [statistics.dense_moments(vector) for vector in vectors]
    for candidate, vector in zip(filters, vectors, strict=True):
        positives = candidate.example.positives
        stored = np.array([keys[id_] for id_ in positives if id_ in keys], np.int64)
        scores = scope.dense_scores(vector, stored)
        if others := [encoded[id_] for id_ in positives if id_ in encoded]:
            scores = np.append(scores, metric.score(vector, np.stack(others)))
        candidate.vector = vector
        candidate.positive_score = max(scores[~np.isnan(scores)].tolist(), default=None)
    pairs = list(zip(filters, moments, strict=True))
    gaps = [f.positive_score - level.mean for f, level in pairs if f.positive_score is not None]
    for candidate, level in pairs:
        best = candidate.positive_score
        if margin is not None and best is not None:
            candidate.max_score = best - margin * abs(best)
        elif margin is None and share is not None and gaps:
            gap = best - level.mean if best is not None else float(np.median(gaps))
            candidate.max_score = level.mean + max(share * gap, _MIN_DEVIATIONS * level.deviation)


def split_words(text: str) -> tuple[str, ...]:
    """Return the words of a text, without regard to case and punctuation."""
    return tuple(_WORD.findall(text.casefold()))
