"""The evidence behind a dense score: words of the query, and one sentence of the passage."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from twofold.backend import Completion, Keys, SearchScope
from twofold.errors import EncoderMismatchError, EncoderNotFoundError, QueryError
from twofold.results.sentences import query_words, sentences, sentences_around
from twofold.types import Passage, Scores, Vectors, Window

_DRIFT = 0.01
"""Relative distance up to which two vectors are encodings of one text, in different batches."""
MEASURED = 256
"""Words of a query that are left out one by one, its first ones: many encoders read no more."""
_SHOWN = 3
"""Words that an explanation shows."""


@dataclass(frozen=True, slots=True)
class DenseEvidence:
    """The evidence behind a hit's dense score.

    Attributes:
        words: The query's first `MEASURED` words in order, each with the drop of the dense score
            when the query is encoded without it. Below 0, the word lowers the score. Empty for a
            query of one word.
        sentence: The passage's sentence nearest to the query; its title if it has no text. Of a
            long passage, one of its best window.
        sentence_score: That sentence's score in the index's metric.
    """

    words: tuple[tuple[str, float], ...]
    sentence: str
    sentence_score: float

    @property
    def ranked_words(self) -> tuple[tuple[str, float], ...]:
        """The words and their drops, the greatest drop first."""
        return tuple(sorted(self.words, key=lambda word: -word[1]))

    @property
    def lines(self) -> tuple[str, ...]:
        """The words with the greatest drops and the nearest sentence, as lines of text."""
        words = [f"{word!r} {drop:.3f}" for word, drop in self.ranked_words[:_SHOWN] if drop > 0]
        lines = [f"the dense score drops without the word: {', '.join(words)}"] if words else []
        if self.sentence:
            text = " ".join(self.sentence.split())
            lines.append(f"nearest sentence ({self.sentence_score:.3f}): {text}")
        return tuple(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        return {
            "words": [{"word": word, "drop": drop} for word, drop in self.words],
            "sentence": self.sentence,
            "sentence_score": self.sentence_score,
        }


@dataclass(frozen=True, slots=True)
class QueryVariants:
    """A query's first n words; ``vectors`` (n + 1, dim) encode it, then it without each of them.

    ``unmeasured`` is the number of its further words, which were not left out in turn.
    """

    words: tuple[str, ...]
    vectors: Vectors
    unmeasured: int = 0

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence about further words, if there are any."""
        if not self.unmeasured:
            return ()
        total = len(self.words) + self.unmeasured
        return (
            f"the query has {total:,} words: the effect of its first {MEASURED} on the dense score "
            "was measured",
        )

    def match_vector(self, vector: Vectors | None) -> bool:
        """Return whether ``vector`` (dim,) is the encoding of the query's text; True for None."""
        if vector is None:
            return True
        encoded = self.vectors[0].astype(np.float64)
        distance = float(np.linalg.norm(vector.astype(np.float64) - encoded))
        return distance <= _DRIFT * float(np.linalg.norm(encoded))


def encode_query_variants(scope: SearchScope, query: str) -> QueryVariants | None:
    """Encode a query whole and without each of its first words, in one call.

    None if the encoder can't. The number of words is bounded, since time grows with its square.
    """
    every = query_words(query)
    spans = every[:MEASURED]
    if len(spans) < 2:
        spans = []  # nothing is left without the only word
    shortened = [" ".join(f"{query[:start]} {query[end:]}".split()) for start, end in spans]
    try:
        vectors = scope.encode_queries([query, *shortened])
    except (QueryError, EncoderMismatchError, EncoderNotFoundError):
        return None
    words = tuple(query[start:end] for start, end in spans)
    return QueryVariants(words, vectors, max(len(every) - MEASURED, 0))


def measure_dense_evidence(
    scope: SearchScope,
    variants: QueryVariants,
    keys: Keys,
    passages: Sequence[Passage],
    windows: Sequence[Window | None],
) -> list[DenseEvidence | None]:
    """Return the evidence behind each passage's dense score; None for one without a vector.

    ``keys`` and ``windows`` are those of ``passages``. All sentences are encoded in one call.
    """
    none, metric = np.empty(0, np.int64), scope.session.corpus.metric
    usable = np.ones(len(variants.vectors), np.bool_)
    if metric is not None:
        usable = metric.can_compare(variants.vectors)
    if not usable[0]:
        return [None] * len(passages)
    completed = scope.session.complete(
        [Completion(None, vector, keys, none) for vector in variants.vectors[usable]]
    )
    scores = np.zeros((len(usable), len(keys)))  # 0 where the other words have no cosine
    scores[usable] = [query.dense for query in completed]
    parts = [
        _list_sentences(passage, window) for passage, window in zip(passages, windows, strict=True)
    ]
    texts = [sentence for part in parts for sentence in part]
    sentence_scores = _score_texts(scope, variants.vectors[0], texts)
    evidence: list[DenseEvidence | None] = []
    start = 0
    for position, part in enumerate(parts):
        best = int(np.argmax(sentence_scores[start : start + len(part)]))
        drops = scores[0, position] - scores[1:, position]
        words = tuple(zip(variants.words, drops.tolist(), strict=True))
        found = DenseEvidence(words, part[best], float(sentence_scores[start + best]))
        evidence.append(found if np.isfinite(scores[0, position]) else None)
        start += len(part)
    return evidence


def _list_sentences(passage: Passage, window: Window | None) -> list[str]:
    """Return a passage's sentences, those of its best window if there is one, or its title."""
    if window is None:
        return sentences(passage.text) or [passage.title]
    return sentences_around(passage.text, *window.text_span(passage)) or [passage.title]


def _score_texts(scope: SearchScope, query: Vectors, texts: Sequence[str]) -> Scores:
    """Return the score of each text for a query vector (dim,) in the corpus's metric."""
    metric = scope.session.corpus.metric
    if not texts or metric is None:
        return np.zeros(len(texts))
    with np.errstate(invalid="ignore"):  # a vector of zero length has no direction
        scores = metric.score(query, scope.encode_passages(texts))
    return np.where(np.isnan(scores), -1.0, scores)
