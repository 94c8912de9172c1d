"""Value types shared by all packages: passages, hits, scores and arrays."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from twofold.similarity import Metric

Rows = NDArray[np.int64]
"""Row numbers of passages: new passages get higher numbers, and none is reused."""
Scores = NDArray[np.float64]
Vectors = NDArray[np.float32]
Mask = NDArray[np.bool_]
"""One flag per row number, starting at row 0. Rows beyond the end count as False."""

Mode = Literal["hybrid", "dense", "lexical"]
Leg = Literal["dense", "lexical"]
"""One of the two searches whose results a hybrid search fuses."""
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

    ``metadata`` is a dict of JSON values, or of values that ``twofold.metadata`` converts to JSON.
    If ``id`` is empty, the index derives one from title, text and metadata.

    Example:
        >>> from twofold import Passage
        >>> Passage("Plants make food.", title="Biology", metadata={"year": 2021}).content
        'Biology Plants make food.'
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
    """Results of one leg: keys and scores, best first, ties ordered by passage id."""

    keys: Rows
    scores: Scores

    @classmethod
    def empty(cls) -> "LegHits":
        """Return a result without hits."""
        return cls(np.empty(0, np.int64), np.empty(0, np.float64))


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean and standard deviation of a leg's scores over all passages, ignoring filters."""

    mean: float
    deviation: float


@dataclass(frozen=True, slots=True)
class LegScore:
    """The contribution of one leg to the score of a hit.

    ``rank`` is None if the leg's search did not return the passage; ``score`` was then computed
    afterwards. ``contribution`` is ``weight * normalized``; the fusion normalizes ``score``.

    Example:
        >>> from twofold import Index, Retriever
        >>> index = Index.open(None, encoder=None)
        >>> _ = index.upsert([{"id": "1", "text": "plants make food"}])
        >>> Retriever(index, mode="lexical").retrieve("food")[0].legs["lexical"].rank
        1
    """

    score: float
    rank: int | None
    normalized: float
    weight: float
    contribution: float


@dataclass(frozen=True, slots=True)
class Hit:
    """A retrieved passage. Ranks start at 1; higher scores are better.

    ``fused`` is the sum of the legs' contributions. ``reranked`` is the reranker's score, None if
    it did not read the passage. ``score`` is ``reranked`` if there is one, else ``fused``.
    ``duplicates`` are ids of near-duplicates that this hit represents (``dedup_threshold``).

    Example:
        >>> from twofold import Index, Retriever
        >>> index = Index.open(None, encoder=None)
        >>> _ = index.upsert([{"id": "1", "text": "plants make food"}])
        >>> hit = Retriever(index, mode="lexical").retrieve("food")[0]
        >>> hit.id, hit.rank, hit.passage.text
        ('1', 1, 'plants make food')
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
class Window:
    """The part of a long passage that one of its vectors encodes.

    Attributes:
        tokens: Its first token and its last one + 1, of all that the encoder sees in the passage.
        start: Its first character in `Passage.content`, which begins with the title.
        end: Its last character + 1.
    """

    tokens: tuple[int, int]
    start: int
    end: int

    def text_span(self, passage: Passage) -> tuple[int, int]:
        """Return the start and the end of the window in the passage's text, without its title."""
        joined = f"{passage.title} {passage.text}"
        offset = len(passage.title) + 1 - (len(joined) - len(joined.lstrip()))
        start, end = (min(max(at - offset, 0), len(passage.text)) for at in (self.start, self.end))
        return start, end


@dataclass(frozen=True, slots=True)
class TermSpan:
    """An occurrence of a term in a text, as character offsets ``start`` to ``end``."""

    term: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class TermMatch:
    """How one query term scores in one passage.

    ``contribution = query_frequency * idf * tf_weight``, and the contributions of all terms sum to
    the lexical score. ``tf_weight`` is the scorer's weight of ``frequency`` at this ``length``, in
    terms. ``length_norm`` is the scorer's normalization: 1 - b + b * length / average_length in
    BM25. A missing term has ``frequency`` 0, and is listed only if the scorer weights it.
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
