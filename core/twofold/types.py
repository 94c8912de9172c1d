"""Value types shared by all packages: passages, hits, scores and arrays."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from twofold.errors import InputError
from twofold.similarity import Metric

Rows = NDArray[np.int64]
"""Row numbers of passages. They only grow and are never reused."""
Scores = NDArray[np.float64]
Vectors = NDArray[np.float32]
Mask = NDArray[np.bool_]
"""One flag per row number, starting at row 0. Rows beyond the end count as False."""

Mode = Literal["hybrid", "dense", "lexical"]
Leg = Literal["dense", "lexical"]
Where = Mapping[str, Any]
Metadata = Mapping[str, Any]
Run = dict[str, dict[str, float]]
"""Search results: query id to passage id to score."""

PAYLOAD = "_payload"
"""Name of a metadata field that is stored with the passage but can't be filtered on."""
MODES: tuple[Mode, ...] = ("hybrid", "dense", "lexical")


@dataclass(frozen=True, slots=True)
class Passage:
    """The unit that is indexed and returned.

    ``metadata`` is any JSON object. If ``id`` is empty, the index derives one from the content.
    """

    text: str
    id: str = ""
    title: str = ""
    metadata: Metadata = field(default_factory=dict)

    @property
    def content(self) -> str:
        """The text that encoders and analyzers read: title and text, separated by a space."""
        return f"{self.title} {self.text}".strip()


PassageLike = Passage | Mapping[str, Any] | str


@dataclass(frozen=True, slots=True)
class EncoderIdentity:
    """Identifies the encoder whose vectors an index stores.

    ``fingerprint`` covers weights, prompts, pooling, normalization and maximum length.
    """

    name: str
    dim: int
    metric: Metric
    fingerprint: str


@dataclass(frozen=True, slots=True)
class LegHits:
    """Results of one leg: row numbers and scores, best first, ties ordered by passage id."""

    rows: Rows
    scores: Scores

    def __post_init__(self) -> None:
        if self.rows.shape != self.scores.shape:
            raise InputError(
                f"rows and scores must have one shape, got {self.rows.shape} and "
                f"{self.scores.shape}"
            )

    @classmethod
    def empty(cls) -> "LegHits":
        """Return a result without hits."""
        return cls(np.empty(0, np.int64), np.empty(0, np.float64))


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean and standard deviation of a leg's scores over all passages, ignoring filters.

    ``exact`` is False for an approximation.
    """

    mean: float
    deviation: float
    exact: bool = True


@dataclass(frozen=True, slots=True)
class LegScore:
    """The contribution of one leg to the score of a hit.

    ``rank`` is None if the leg did not retrieve the passage itself; its score was then computed
    afterwards. ``contribution`` is ``weight * normalized``.
    """

    score: float
    rank: int | None
    normalized: float
    weight: float
    contribution: float


@dataclass(frozen=True, slots=True)
class Hit:
    """A retrieved passage. Ranks start at 1; higher scores are better.

    Attributes:
        passage: The passage.
        score: ``reranked`` if there is one, else ``fused``.
        rank: The position in the result.
        legs: Score and contribution of each leg. The contributions sum to ``fused``.
        fused: The score of the fusion.
        reranked: The reranker's score, None if no reranker read the passage.
        duplicates: Ids of the near-duplicates that this hit represents
            (``Retriever.dedup_threshold``).
    """

    passage: Passage
    score: float
    rank: int
    legs: Mapping[Leg, LegScore]
    fused: float
    reranked: float | None = None
    duplicates: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The passage's id."""
        return self.passage.id


@dataclass(frozen=True, slots=True)
class TermSpan:
    """An occurrence of a term in a text, as character offsets ``start`` to ``end``."""

    term: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class TermMatch:
    """How one query term scores in one passage.

    ``contribution = query_frequency * idf * tf_weight``. The contributions of all terms sum to the
    passage's lexical score.

    Attributes:
        term: The analyzed term.
        query_frequency: How often the query has the term.
        frequency: How often the passage has it. 0 for a missing term, which is listed only if
            the scorer counts it.
        document_frequency: The number of passages that have the term.
        idf: Inverse document frequency.
        length: The passage's length in terms.
        average_length: The mean length of all passages.
        length_norm: BM25's 1 - b + b * length / average_length.
        tf_weight: The scorer's weight for ``frequency`` at this ``length_norm``.
        contribution: The term's part of the score.
    """

    term: str
    query_frequency: int
    frequency: int
    document_frequency: int
    idf: float
    length: int
    average_length: float
    length_norm: float
    tf_weight: float
    contribution: float
