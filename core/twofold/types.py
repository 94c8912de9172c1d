"""The values that cross every seam: passages in, hits out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from twofold.errors import InputError, PassageError
from twofold.similarity import Metric

Rows = NDArray[np.int64]
"""Row numbers of passages: they only grow, and are never used again."""
Scores = NDArray[np.float64]
Vectors = NDArray[np.float32]
Mask = NDArray[np.bool_]
"""One flag a row number, from row 0; rows beyond its end are False."""

Mode = Literal["hybrid", "dense", "lexical"]
Leg = Literal["dense", "lexical"]
Where = Mapping[str, Any]
Metadata = Mapping[str, Any]
Run = dict[str, dict[str, float]]
"""What was found: query id to passage id to score."""

PAYLOAD = "_payload"
"""A metadata field of this name is kept with the passage, and can't be filtered by."""
MODES: tuple[Mode, ...] = ("hybrid", "dense", "lexical")
_FIELDS = ("id", "text", "title", "metadata")


@dataclass(frozen=True, slots=True)
class Passage:
    """The unit that is indexed and returned.

    ``metadata`` is any JSON object. An empty ``id`` means: derive one from the content when the
    passage is stored.
    """

    text: str
    id: str = ""
    title: str = ""
    metadata: Metadata = field(default_factory=dict)

    @property
    def content(self) -> str:
        """What encoders and analyzers see: title and text, joined by a blank."""
        return f"{self.title} {self.text}".strip()


PassageLike = Passage | Mapping[str, Any] | str


def as_passage(item: PassageLike) -> Passage:
    """Return ``item`` as a Passage: a string is a text, a mapping has a passage's fields.

    Raises PassageError for any other type and for a mapping with unknown fields.
    """
    if isinstance(item, Passage):
        return item
    if isinstance(item, str):
        return Passage(text=item)
    if not isinstance(item, Mapping):
        raise PassageError(
            f"a passage is a Passage, a mapping or a string, not {type(item).__name__}: "
            f"{item!r:.80}"
        )
    unknown = [name for name in item if name not in _FIELDS]
    if unknown:
        near = get_close_matches(str(unknown[0]), _FIELDS, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise PassageError(
            f"unknown field {unknown[0]!r} in passage {item.get('id')!r}: a passage has "
            f"id, text, title and metadata{hint} Other values belong in metadata."
        )
    if item.get("text") is None:
        raise PassageError(f"passage {item.get('id')!r} has no 'text'")
    return Passage(**{name: item[name] for name in _FIELDS if item.get(name) is not None})


@dataclass(frozen=True, slots=True)
class EncoderIdentity:
    """What an index remembers of the model that filled it.

    ``fingerprint`` covers weights, prompts, pooling, normalisation and maximum length.
    """

    name: str
    dim: int
    metric: Metric
    fingerprint: str


@dataclass(frozen=True, slots=True)
class LegHits:
    """What one leg found: row numbers and scores, best first, ties by passage id."""

    rows: Rows
    scores: Scores

    def __post_init__(self) -> None:
        if self.rows.shape != self.scores.shape:
            raise InputError(f"{self.rows.shape} rows for {self.scores.shape} scores")

    @classmethod
    def none(cls) -> "LegHits":
        """Return the answer of a leg that found nothing."""
        return cls(np.empty(0, np.int64), np.empty(0, np.float64))


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean and standard deviation of a leg's scores over all passages, filters aside.

    ``exact`` is False where they are an approximation.
    """

    mean: float
    deviation: float
    exact: bool = True


@dataclass(frozen=True, slots=True)
class LegScore:
    """One leg's share in a hit's score.

    ``rank`` is None where the leg did not bring the passage by itself: its score was computed
    afterwards. ``contribution`` is ``weight * normalized``.
    """

    score: float
    rank: int | None
    normalized: float
    weight: float
    contribution: float


@dataclass(frozen=True, slots=True)
class Hit:
    """One retrieved passage: rank from 1, score higher is better.

    ``fused`` is the score of the legs, to which their contributions sum; ``reranked`` the
    reranker's, which then is the ``score``, and None where none read the passage. ``duplicates``
    are the ids of passages that this one stands for (``Retriever.dedup_threshold``).
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
    """A term where it stands in a text: characters from ``start`` to ``end``."""

    term: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class TermMatch:
    """One query term in one passage, as the scoring function sees it.

    ``contribution = query_frequency * idf * part``, and the contributions of all terms sum to the
    passage's lexical score. ``part`` is what the scoring function makes of the ``frequency`` and
    of ``length_norm``, the passage's ``length`` in terms beside ``average_length``, the
    collection's: BM25's 1 - b + b * length / average length.
    ``document_frequency`` is in how many passages the term occurs. ``frequency`` is 0 for a
    missing term, listed only where the scoring function counts it.
    """

    term: str
    query_frequency: int
    frequency: int
    document_frequency: int
    idf: float
    length: int
    average_length: float
    length_norm: float
    part: float
    contribution: float
