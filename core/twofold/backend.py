"""The interface between retrievers and search engines, which implement `Backend`.

A session of an engine has up to two legs: dense and lexical search. It takes vectors, texts and a
parsed filter, and returns keys and scores. `EncodedBackend` adds an encoder, a search profile and a
query adapter for a `Retriever`. An `Index`, the local engine, contains all of these.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

import numpy as np

from twofold.calibration import Calibration
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
    Window,
)

Keys = Rows
"""Numbers (n,) that identify passages within one session; row numbers in an `Index`."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The features that an engine supports.

    Attributes:
        modes: The search modes: hybrid, dense or lexical.
        max_k: The most passages that one search of a leg returns, None without a limit.
        completes: Whether it can score passages by key (`SearchSession.complete`).
        exact: Whether a dense search can compare all vectors (an ``effort`` of ``math.inf``).
        scorers: Whether it takes a scoring function per query.
        snapshot: Whether a session, and its scope reopened later, see one generation.
        statistics: Whether its sessions implement `CorpusStatistics`.
        explains: Whether its sessions implement `TermExplainer`.
        windows: Whether its sessions implement `WindowExplainer`.
    """

    modes: tuple[Mode, ...]
    max_k: int | None = None
    completes: bool = True
    exact: bool = True
    scorers: bool = False
    snapshot: bool = False
    statistics: bool = False
    explains: bool = False
    windows: bool = False


@dataclass(frozen=True, slots=True)
class CorpusInfo:
    """The corpus that a session sees.

    Attributes:
        generation: A number that changes with every write.
        passages: Number of passages.
        metric: The similarity of vectors, None without a dense leg.
        dim: The vectors' dimensions, None before the first one.
        vector_set: A number that changes when all vectors are replaced.
        title_weight: How many times each term of a title counts.
        default_title_weight: The title weight when no search profile is active.
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
    """Passages that a leg must score for one query although its search did not return them.

    Attributes:
        text: The query's text, None where no lexical scores are needed.
        vector: The query's vector (dim,), None where no dense scores are needed.
        dense_keys: Keys of the passages to score by the dense leg.
        lexical_keys: Keys of the passages to score by the lexical leg.
        scorer: The scoring function, None for the engine's own.
    """

    text: str | None
    vector: Vectors | None
    dense_keys: Keys
    lexical_keys: Keys
    scorer: Scorer | None = None


@dataclass(frozen=True, slots=True)
class CompletedScores:
    """The scores for a `Completion`: one per key, NaN where a passage has none."""

    dense: Scores
    lexical: Scores


@dataclass(frozen=True, slots=True)
class Fetched:
    """The passages that `SearchSession.fetch` returns, in the order requested.

    Attributes:
        keys: Their keys in this session.
        ids: Their ids.
        passages: The passages, decoded when accessed; empty with ``texts=False``.
        vectors: Their vectors (n, dim) as stored, zero where missing; None with ``vectors=False``.
        has_vector: Which passages have a vector; None with ``vectors=False``.
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
        """Return the ``k`` nearest passages of each query vector among those that match ``where``.

        Args:
            vectors: Query vectors, float32 (n, dim).
            k: Passages per query.
            where: The parsed filter, applied before the k best are taken; None for no filter.
            effort: Factor on the search effort of an approximate index; ``math.inf`` means exact.
        """

    def search_lexical(
        self, texts: Sequence[str], k: int, where: Filter | None, scorer: Scorer | None
    ) -> list[LegHits]:
        """Return, for each text, the ``k`` best passages of those that share a term with it."""

    def complete(self, wanted: Sequence[Completion]) -> list[CompletedScores]:
        """Return the dense and lexical scores for each `Completion` (one per query)."""

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
            texts: Whether to read the passages, not only their ids.
            vectors: Whether to return the stored vectors, too.
        """

    def matches(self, where: Filter, keys: Keys) -> Mask:
        """Return, for each key, whether its passage matches the filter."""


class CorpusStatistics(Protocol):
    """Statistics of the whole corpus, which a session may implement."""

    @property
    def leg_agreement(self) -> float | None:
        """How well the dense ranking agrees with the lexical one, 1.0 at best; None if unknown."""

    def dense_moments(self, vector: Vectors) -> Moments:
        """Return the moments of all passages' dense scores for one query vector (dim,)."""

    def lexical_moments(self, text: str, scorer: Scorer | None) -> Moments:
        """Return the moments of all passages' lexical scores for one query text."""

    def least_dense_score(self, vector: Vectors) -> float:
        """Return a lower bound of every passage's dense score for one query vector (dim,)."""

    def term_coverage(self, text: str) -> float:
        """Return the share of a query's distinct terms that occur in at least one passage."""

    def list_keys(self, where: Filter | None = None) -> Keys:
        """Return the keys of all passages that match ``where``, ascending."""

    def metadata_fields(self) -> list[str]:
        """Return the names of all metadata fields, sorted."""

    def field_types(self, field: str) -> frozenset[str]:
        """Return the types of a field's values, such as "numbers"; none if no passage has it."""


class TermExplainer(Protocol):
    """Explanations of lexical scores by terms, which a session may implement."""

    def term_matches(
        self, text: str, keys: Keys, scorer: Scorer | None
    ) -> list[tuple[TermMatch, ...]]:
        """Return, for each key, how every query term contributes to the lexical score."""

    def term_spans(self, text: str, passages: Sequence[str]) -> list[list[TermSpan]]:
        """Return, for each passage text, the spans of the query's terms, sorted by start."""


class WindowExplainer(Protocol):
    """Explanations of dense scores by the windows of long passages, for sessions."""

    def best_windows(self, vector: Vectors, keys: Keys) -> list[Window | None]:
        """Return, for each key, the window that scores best for one query vector (dim,).

        None for a passage without windows.
        """


class Backend(Protocol):
    """A search engine."""

    @property
    def capabilities(self) -> Capabilities:
        """The engine's capabilities, read without I/O."""

    def session(self) -> AbstractContextManager[SearchSession]:
        """Return a context manager that opens and closes a session."""


@runtime_checkable
class WritableBackend(Backend, Protocol):
    """A search engine that stores passages."""

    def upsert(self, passages: Sequence[PassageLike], *, vectors: Vectors | None = None) -> object:
        """Add passages; replace those stored under the same ids. ``vectors`` is (n, dim)."""

    def delete(self, ids: Sequence[str] | None = None, *, where: Where | None = None) -> int:
        """Delete passages that satisfy ``ids``, ``where`` or both, if passed; return how many."""

    def get(self, ids: Sequence[str] | None = None, *, where: Where | None = None) -> list[Passage]:
        """Return the passages that satisfy ``ids``, ``where`` or both, if passed."""


@dataclass(frozen=True, slots=True)
class SearchProfile:
    """Search parameters, found by tuning or saved by a user.

    Attributes:
        fusion: The fusion of both legs.
        depth: Candidates per leg.
        scorer: The lexical scoring function, None for the engine's own.
        title_weight: How many times each term of a title counts, as tuned.
        query_adapter: Name of the saved query adapter (`Index.query_adapters`), None for none.
        calibration: The meaning of the scores (`calibrate`), None if unknown.

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
    calibration: Calibration | None = None

    def describe(self) -> str:
        """Return all that determines the scores, on one line."""
        return repr((self.fusion, self.depth, self.scorer, self.title_weight, self.query_adapter))


QueryMap = Callable[[Vectors], Vectors]
"""A function that maps query vectors (n, dim) or (dim,), such as a query adapter."""


@dataclass(frozen=True, slots=True)
class SearchScope:
    """A session, and the encoder, search profile and query adapter to search it with.

    Attributes:
        session: The engine's session.
        capabilities: The engine's capabilities.
        encoder: The encoder of texts, None where callers pass vectors.
        profile: The active search profile, None for the defaults.
        query_adapter: The active query adapter, None for none.
        analyzer: The lexical leg's analyzer, None if the engine doesn't expose it.
        weigh_titles: Returns a scope with another title weight; None if the engine can't.
        reopen: Opens another scope later, to explain hits; of this generation with ``snapshot``.
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
        """Whether there is an encoder, and it was passed or can be loaded by its name."""
        return self.encoder is not None and bool(getattr(self.encoder, "available", True))

    @property
    def identity(self) -> EncoderIdentity | None:
        """The identity of the model that produced the stored vectors, None if unknown."""
        return getattr(self.encoder, "identity", None)

    def describe_settings(self, profile: SearchProfile, mode: Mode) -> str:
        """Return all on which the scores of a mode depend, on one line."""
        corpus, analyzer = self.session.corpus, self.analyzer
        parts: list[object] = [profile.describe(), corpus.title_weight]
        if mode != "dense" and analyzer is not None:
            parts += [analyzer.name, analyzer.version]
        if mode != "lexical":
            identity, metric = self.identity, corpus.metric
            parts += [metric.value if metric is not None else None, corpus.vector_set]
            parts += [identity.fingerprint if identity is not None else None]
            parts += [self.query_adapter is not None]
        return repr(parts)

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

    @property
    def window_explainer(self) -> WindowExplainer | None:
        """The session as `WindowExplainer`, None if it offers none."""
        return cast(WindowExplainer, self.session) if self.capabilities.windows else None

    def require_statistics(self, purpose: str) -> CorpusStatistics:
        """Return the session's statistics; raise QueryError, naming ``purpose``, without any."""
        if self.statistics is None:
            raise QueryError(f"{purpose} needs corpus statistics, which this backend doesn't offer")
        return self.statistics

    def encode_queries(self, texts: Sequence[str], *, adapt: bool = True) -> Vectors:
        """Return query vectors (n, dim), mapped by the active query adapter if ``adapt``.

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
        """Return ``vectors``, (n, dim) or (dim,), mapped by the active query adapter if any."""
        return self.query_adapter(vectors) if self.query_adapter is not None else vectors

    def list_keys(self) -> Keys:
        """Return the keys of all passages, or raise QueryError if the engine can't list them."""
        return self.require_statistics("listing all passages").list_keys()

    def ids(self, keys: Keys) -> Sequence[str]:
        """Return the ids of the passages with these keys."""
        return self.session.fetch(keys, texts=False).ids

    def find_keys(self, ids: Sequence[str]) -> dict[str, int]:
        """Return keys by id; unknown ids are left out."""
        found = self.session.fetch(ids=ids, texts=False)
        return dict(zip(found.ids, found.keys.tolist(), strict=True))

    def dense_scores(self, vector: Vectors, keys: Keys) -> Scores:
        """Return each passage's dense score for a query vector (dim,), NaN if it has no vector."""
        none = np.empty(0, np.int64)
        return self.session.complete([Completion(None, vector, keys, none)])[0].dense

    def lexical_scores(self, text: str, keys: Keys, scorer: Scorer | None = None) -> Scores:
        """Return each passage's lexical score for one query text."""
        none = np.empty(0, np.int64)
        return self.session.complete([Completion(text, None, none, keys, scorer)])[0].lexical


class Searchable(Protocol):
    """A target of searches: an `Index`, or an `EncodedBackend` over another engine."""

    @property
    def capabilities(self) -> Capabilities:
        """The engine's capabilities, read without I/O."""

    def open_search(self) -> AbstractContextManager[SearchScope]:
        """Return a context manager that opens a session as a `SearchScope`."""


@dataclass(frozen=True, eq=False)  # without slots: hits hold a weak reference to what was searched
class EncodedBackend:
    """An engine with the encoder, search profile and query adapter to search it with.

    Change fields by ``dataclasses.replace``, such as ``replace(target, profile=result.profile)``.

    Args:
        backend: The engine.
        encoder: The encoder that produced its vectors, None where callers pass vectors.
        profile: The search parameters, None for the defaults.
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
        """Open a session of the engine as a `SearchScope`."""
        with self.backend.session() as session:
            yield SearchScope(
                session,
                self.backend.capabilities,
                self.encoder,
                self.profile,
                self.query_adapter,
                self.open_search,
            )
