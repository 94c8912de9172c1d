"""The seam between retrievers and search engines: what an engine implements, and what wraps it.

An engine implements `Backend` and `SearchSession`. It receives vectors, texts and the parsed
filter, and returns keys and scores. `EncodedBackend` adds an encoder, a search profile and a query
adapter, and is what a `Retriever` takes. `Index`, the local engine, brings its own.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

import numpy as np

from twofold.errors import QueryError
from twofold.filters import Filter
from twofold.fusion import WeightedFusion
from twofold.protocols import Analyzer, Encoder, Scorer
from twofold.similarity import Metric
from twofold.types import (
    EncoderIdentity,
    LegHits,
    Mask,
    Mode,
    Moments,
    Passage,
    PassageLike,
    Rows,
    Scores,
    TermMatch,
    TermSpan,
    Vectors,
    Where,
)

Keys = Rows
"""Numbers (n,) that identify passages within one session; row numbers in the local index."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Capabilities of an engine, as data.

    Attributes:
        modes: The modes it serves.
        max_k: The most passages that one search returns, or None. Deepening stops there.
        completes: Whether it scores given passages (`SearchSession.complete`).
        scorers: Whether it takes a scoring function per query.
        snapshot: Whether all calls of a session, and a reopened one, see one generation.
        statistics: Whether its sessions implement `CorpusStatistics`.
        explains: Whether its sessions implement `TermExplainer`.
    """

    modes: tuple[Mode, ...]
    max_k: int | None = None
    completes: bool = True
    scorers: bool = False
    snapshot: bool = False
    statistics: bool = False
    explains: bool = False


@dataclass(frozen=True, slots=True)
class CorpusInfo:
    """The corpus that a session sees.

    Attributes:
        generation: A number that changes with every write.
        passages: How many passages there are.
        metric: The similarity of vectors, None without a dense leg.
        dim: The vectors' dimensions, None before the first one.
        vector_set: A number that changes when all vectors are replaced.
        title_weight: How often the terms of a title count.
        default_title_weight: The same without the active profile.
    """

    generation: int
    passages: int
    metric: Metric | None
    dim: int | None
    vector_set: int = 0
    title_weight: int = 1
    default_title_weight: int = 1


@dataclass(frozen=True, slots=True)
class Completion:
    """Passages of one query that a leg must score although it did not list them.

    Attributes:
        text: The query's text, None where no lexical scores are needed.
        vector: The query's vector (dim,), None where no dense scores are needed.
        dense_keys: The passages to score by the dense leg.
        lexical_keys: The passages to score by the lexical leg.
        scorer: The scoring function, None for the engine's own.
    """

    text: str | None
    vector: Vectors | None
    dense_keys: Keys
    lexical_keys: Keys
    scorer: Scorer | None = None


@dataclass(frozen=True, slots=True)
class CompletedScores:
    """The answer to a `Completion`: one score per key, NaN where there is none."""

    dense: Scores
    lexical: Scores


@dataclass(frozen=True, slots=True)
class Fetched:
    """Fetched passages, in the order asked for.

    Attributes:
        keys: Their keys in this session.
        ids: Their ids.
        passages: The passages, decoded when accessed; empty if only ids were asked for.
        vectors: Their stored vectors (n, dim), of unit length under cosine, zero where there is
            none; None if not asked for.
        has_vector: Which passages have a vector; None if not asked for.
    """

    keys: Keys
    ids: Sequence[str]
    passages: Sequence[Passage] = ()
    vectors: Vectors | None = None
    has_vector: Mask | None = None

    def __len__(self) -> int:
        return len(self.keys)


class SearchSession(Protocol):
    """One consistent read of an engine. Keys are valid within the session."""

    @property
    def corpus(self) -> CorpusInfo:
        """The corpus that this session sees."""

    def search_dense(
        self, vectors: Vectors, k: int, where: Filter | None, effort: float
    ) -> list[LegHits]:
        """Return the k nearest passages of each vector (n, dim) among those that match.

        Args:
            vectors: Query vectors, float32 (n, dim).
            k: Passages per query.
            where: The parsed filter, applied before the k best are taken.
            effort: Multiplies what an approximate index spends; ``math.inf`` means exact.
        """

    def search_lexical(
        self, texts: Sequence[str], k: int, where: Filter | None, scorer: Scorer | None
    ) -> list[LegHits]:
        """Return the k best passages of each text by shared words, none without a shared word."""

    def complete(self, wanted: Sequence[Completion]) -> list[CompletedScores]:
        """Score given passages by both legs, for all queries in one call."""

    def fetch(
        self,
        keys: Keys | None = None,
        *,
        ids: Sequence[str] | None = None,
        texts: bool = True,
        vectors: bool = False,
    ) -> Fetched:
        """Return passages by key, or by id, leaving out unknown ids.

        Args:
            keys: Keys of this session.
            ids: Ids, instead of keys.
            texts: Whether passages are read, or their ids alone.
            vectors: Whether stored vectors are returned too.
        """

    def matches(self, where: Filter, keys: Keys) -> Mask:
        """Return which of these passages match a filter."""


class CorpusStatistics(Protocol):
    """Statistics of the whole corpus that a session may offer."""

    @property
    def leg_agreement(self) -> float | None:
        """How far the dense leg agrees with words, 1.0 at best; None if not measured."""

    def dense_moments(self, vector: Vectors) -> Moments:
        """Return mean and deviation of all passages' dense scores for one vector (dim,)."""

    def lexical_moments(self, text: str, scorer: Scorer | None) -> Moments:
        """Return mean and deviation of all passages' lexical scores."""

    def least_dense_score(self, vector: Vectors) -> float:
        """Return a lower bound of every passage's dense score for one vector (dim,)."""

    def term_coverage(self, text: str) -> float:
        """Return the share of a query's distinct terms that occur in any passage."""

    def list_keys(self, where: Filter | None = None) -> Keys:
        """Return the keys of all passages that match, ascending."""

    def metadata_fields(self) -> list[str]:
        """Return the names of all metadata fields, sorted."""


class TermExplainer(Protocol):
    """Terms behind lexical scores, which a session may explain."""

    def term_matches(
        self, text: str, keys: Keys, scorer: Scorer | None
    ) -> list[tuple[TermMatch, ...]]:
        """Return for each passage what every query term adds to its lexical score."""

    def term_spans(self, text: str, passages: Sequence[str]) -> list[list[TermSpan]]:
        """Return the spans of the query's terms in each text, sorted by start."""


class Backend(Protocol):
    """A search engine."""

    @property
    def capabilities(self) -> Capabilities:
        """The engine's capabilities, read without I/O."""

    def session(self) -> AbstractContextManager[SearchSession]:
        """Open a session."""


@runtime_checkable
class WritableBackend(Backend, Protocol):
    """A search engine that stores passages."""

    def upsert(self, passages: Sequence[PassageLike], *, vectors: Vectors | None = None) -> object:
        """Add passages, and replace those whose ids are stored."""

    def delete(self, ids: Sequence[str] | None = None, *, where: Where | None = None) -> int:
        """Delete passages by id, by filter, or those that are in both; return how many."""

    def get(self, ids: Sequence[str] | None = None, *, where: Where | None = None) -> list[Passage]:
        """Return passages by id, by filter, or those that are in both."""


@dataclass(frozen=True, slots=True)
class SearchProfile:
    """How to search, as tuning found it or a user saved it.

    Attributes:
        fusion: The fusion of both legs.
        depth: Candidates per leg.
        scorer: The lexical scoring function, None for the engine's own.
        title_weight: The title weight of the postings when this was tuned.
        query_adapter: Name of the saved query adapter (`Index.query_adapters`), None for none.

    Example:
        >>> from twofold import HashingEncoder, Index, SearchProfile, WeightedSum
        >>> index = Index.open(None, encoder=HashingEncoder())
        >>> profile = SearchProfile(WeightedSum(), depth=200, scorer=None, title_weight=1)
        >>> index.profiles.save("deep", profile, use=True)
        >>> index.profiles.active
        'deep'
    """

    fusion: WeightedFusion
    depth: int
    scorer: Scorer | None
    title_weight: int
    query_adapter: str | None = None


QueryMap = Callable[[Vectors], Vectors]
"""Maps query vectors (n, dim) or (dim,), as a query adapter does."""


@dataclass(frozen=True, slots=True)
class SearchScope:
    """A session with the encoder, the profile and the query adapter that hold in it.

    Attributes:
        session: The engine's session.
        capabilities: The engine's capabilities.
        encoder: Makes vectors of texts, None where callers bring vectors.
        profile: The active search profile, None for the defaults.
        query_adapter: The active query adapter, None for none.
        analyzer: The lexical leg's analyzer, None if the engine doesn't share it.
        weigh_titles: Returns a scope where titles have another weight; None if that can't be tried.
        reopen: Opens a later scope for explanations, of the same generation where the engine has
            snapshots.
    """

    session: SearchSession
    capabilities: Capabilities
    encoder: Encoder | None
    profile: SearchProfile | None
    query_adapter: QueryMap | None
    reopen: "Callable[[], AbstractContextManager[SearchScope]]"
    weigh_titles: "Callable[[int], SearchScope] | None" = None
    analyzer: Analyzer | None = None

    @property
    def metric(self) -> Metric | None:
        """The similarity of vectors, None without a dense leg."""
        return self.session.corpus.metric

    @property
    def can_encode(self) -> bool:
        """Whether there is an encoder at hand to make vectors of texts."""
        return self.encoder is not None and bool(getattr(self.encoder, "available", True))

    @property
    def identity(self) -> EncoderIdentity | None:
        """The identity of the model that produced the stored vectors, None if it has none."""
        return getattr(self.encoder, "identity", None)

    @property
    def has_lexical(self) -> bool:
        """Whether there is a lexical leg."""
        return "lexical" in self.capabilities.modes

    @property
    def statistics(self) -> CorpusStatistics | None:
        """The session as `CorpusStatistics`, None if it offers none."""
        return cast(CorpusStatistics, self.session) if self.capabilities.statistics else None

    @property
    def explainer(self) -> TermExplainer | None:
        """The session as `TermExplainer`, None if it offers none."""
        return cast(TermExplainer, self.session) if self.capabilities.explains else None

    def require_statistics(self, purpose: str) -> CorpusStatistics:
        """Return the session's statistics, or raise QueryError naming what needs them."""
        if self.statistics is None:
            raise QueryError(f"{purpose} needs corpus statistics, which this backend doesn't offer")
        return self.statistics

    def encode_queries(self, texts: Sequence[str], *, adapt: bool = True) -> Vectors:
        """Return query vectors (n, dim), mapped by the active query adapter unless told not to.

        Raises:
            QueryError: There is no encoder.
            EncoderMismatchError: The encoder is not the one that produced the stored vectors.
        """
        if self.encoder is None:
            raise QueryError(
                "this backend has no encoder: pass query vectors, or open it with an encoder"
            )
        vectors = self.encoder.encode_queries(list(texts))
        if adapt and self.query_adapter is not None:
            return self.query_adapter(vectors)
        return vectors

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Return passage vectors (n, dim); raises like `encode_queries`."""
        if self.encoder is None:
            raise QueryError("this backend has no encoder: open it with an encoder")
        return self.encoder.encode_passages(list(texts))

    def adapt(self, vectors: Vectors) -> Vectors:
        """Return query vectors (n, dim) or (dim,), mapped by the active query adapter."""
        return self.query_adapter(vectors) if self.query_adapter is not None else vectors

    def list_keys(self) -> Keys:
        """Return the keys of all passages, or raise QueryError if the engine can't list them."""
        return self.require_statistics("listing all passages").list_keys()

    def ids(self, keys: Keys) -> Sequence[str]:
        """Return the ids of keys."""
        return self.session.fetch(keys, texts=False).ids

    def find_keys(self, ids: Sequence[str]) -> dict[str, int]:
        """Return the key of each id that is stored."""
        found = self.session.fetch(ids=ids, texts=False)
        return dict(zip(found.ids, found.keys.tolist(), strict=True))

    def dense_scores(self, vector: Vectors, keys: Keys) -> Scores:
        """Return the dense score of each passage for one vector (dim,), NaN without a vector."""
        none = np.empty(0, np.int64)
        return self.session.complete([Completion(None, vector, keys, none)])[0].dense

    def lexical_scores(self, text: str, keys: Keys, scorer: Scorer | None = None) -> Scores:
        """Return the lexical score of each passage for one text."""
        none = np.empty(0, np.int64)
        return self.session.complete([Completion(text, None, none, keys, scorer)])[0].lexical


class Searchable(Protocol):
    """A target of searches: an `Index`, or an `EncodedBackend` over another engine."""

    @property
    def capabilities(self) -> Capabilities:
        """The engine's capabilities, read without I/O."""

    def open_search(self) -> AbstractContextManager[SearchScope]:
        """Open a session with all that holds in it."""


@dataclass(frozen=True, eq=False)  # without slots: hits hold a weak reference to what was searched
class EncodedBackend:
    """Any engine, with the encoder, the profile and the query adapter to search it with.

    Change one by ``dataclasses.replace``, such as ``replace(target, profile=result.profile)``.

    Args:
        backend: The engine.
        encoder: The encoder that produced its vectors, None where callers bring vectors.
        profile: How to search, None for the defaults.
        query_adapter: Maps the encoder's query vectors, None for none.

    Example:
        >>> from twofold import EncodedBackend, HashingEncoder, Index, Retriever
        >>> index = Index.open(None, encoder=HashingEncoder())
        >>> _ = index.upsert([{"id": "1", "text": "plants make food"}, "a garden"])
        >>> target = EncodedBackend(index, HashingEncoder())  # an index is a backend, too
        >>> Retriever(target, k=1).retrieve("food").ids
        ['1']
    """

    backend: Backend
    encoder: Encoder | None = None
    profile: SearchProfile | None = None
    query_adapter: QueryMap | None = None

    @property
    def capabilities(self) -> Capabilities:
        """The engine's capabilities."""
        return self.backend.capabilities

    @contextmanager
    def open_search(self) -> Iterator[SearchScope]:
        """Open a session of the engine."""
        with self.backend.session() as session:
            yield SearchScope(
                session,
                self.backend.capabilities,
                self.encoder,
                self.profile,
                self.query_adapter,
                self.open_search,
            )
