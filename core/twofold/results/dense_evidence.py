"""What carries a dense score: the words of the query, and one sentence of the passage."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from twofold.backend import View
from twofold.errors import EncoderMismatchError, EncoderNotFoundError, QueryError
from twofold.results.sentences import query_words, sentences
from twofold.types import Passage, Rows, Scores, Vectors

_APART = 0.01
"""By how much of its length a vector may differ that was encoded in another batch."""
_TELLING = 3
"""Words that a reason names."""


@dataclass(frozen=True, slots=True)
class DenseEvidence:
    """What a hit's dense score rests on.

    ``words`` are the query's in order, each with its drop: what the dense score loses when the
    encoder reads the query without it; below 0, the word holds the passage back. A query of one
    word has none. ``sentence`` is the passage's sentence that is nearest to the query, the title
    where there is no text, with its ``sentence_score`` in the index's metric.
    """

    words: tuple[tuple[str, float], ...]
    sentence: str
    sentence_score: float

    @property
    def telling(self) -> tuple[tuple[str, float], ...]:
        """The words and their drops, the greatest drop first."""
        return tuple(sorted(self.words, key=lambda each: -each[1]))

    @property
    def lines(self) -> tuple[str, ...]:
        """What a person reads: the words that count most, and the sentence."""
        said = [f"{word!r} {drop:.3f}" for word, drop in self.telling[:_TELLING] if drop > 0]
        words = [f"the dense score would lose, without the word: {', '.join(said)}"] if said else []
        nearest = f"nearest sentence ({self.sentence_score:.3f}): {' '.join(self.sentence.split())}"
        return (*words, *((nearest,) if self.sentence else ()))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        words = [{"word": word, "drop": drop} for word, drop in self.words]
        return asdict(self) | {"words": words}


@dataclass(frozen=True, slots=True)
class QueryVariants:
    """A query's words, and the vectors (n + 1, dim) of the whole and of it without each word."""

    words: tuple[str, ...]
    vectors: Vectors

    def are_of(self, given: Vectors | None) -> bool:
        """Whether a vector (dim,) that came with the query is the text's own, or none came."""
        if given is None:
            return True
        own = self.vectors[0].astype(np.float64)
        apart = float(np.linalg.norm(given.astype(np.float64) - own))
        return apart <= _APART * float(np.linalg.norm(own))


def encode_query_variants(view: View, query: str) -> QueryVariants | None:
    """Encode a query whole and without each of its words, in one call; None without an encoder."""
    spans = query_words(query)
    if len(spans) < 2:
        spans = []  # nothing to ask without the only word
    without = [" ".join(f"{query[:start]} {query[end:]}".split()) for start, end in spans]
    try:
        vectors = view.encode_queries([query, *without])
    except (QueryError, EncoderMismatchError, EncoderNotFoundError):
        return None
    return QueryVariants(tuple(query[start:end] for start, end in spans), vectors)


def measure_dense_evidence(
    view: View, variants: QueryVariants, rows: Rows, passages: Sequence[Passage]
) -> list[DenseEvidence | None]:
    """Return what the dense score of each passage rests on, None for one without a vector.

    ``rows`` (n,) are those of the ``passages``. All their sentences are encoded in one call.
    """
    scores = np.array([view.dense_scores(vector, rows) for vector in variants.vectors])
    parts = [sentences(each.text) or [each.title] for each in passages]
    texts = [part for own in parts for part in own]
    near = _nearness(view, variants.vectors[0], texts)
    out: list[DenseEvidence | None] = []
    start = 0
    for place, own in enumerate(parts):
        best = int(np.argmax(near[start : start + len(own)]))
        drops = scores[0, place] - scores[1:, place]
        words = zip(variants.words, drops.tolist(), strict=True)
        meaning = DenseEvidence(tuple(words), own[best], float(near[start + best]))
        out.append(meaning if np.isfinite(scores[0, place]) else None)
        start += len(own)
    return out


def _nearness(view: View, query: Vectors, texts: Sequence[str]) -> Scores:
    """Return the score of each text for a query vector (dim,) in the view's metric."""
    if not texts or view.metric is None:
        return np.zeros(len(texts))
    with np.errstate(invalid="ignore"):  # a vector of zero length has no direction
        scores = view.metric.scores(query, view.encode_passages(texts))
    return np.where(np.isnan(scores), -1.0, scores)
