"""The base of all indexes on a server: settings, encoder, analyzer, profile, and upserts."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar, NoReturn, Protocol, TypeVar

import numpy as np

from twofold.backend import Capabilities, QueryMap, SearchProfile, SearchScope, SearchSession
from twofold.backends.batches import (
    Batch,
    BatchPlan,
    FirstVectors,
    GivenVectors,
    Preparation,
    RemoteState,
    StoredBatch,
    as_stored,
    count_terms,
)
from twofold.dense import Auto, IndexType
from twofold.errors import (
    CorruptIndexError,
    DegradedWarning,
    IndexClosedError,
    InputError,
    ReadOnlyError,
    VectorError,
)
from twofold.index.analyzer_binding import StoredAnalyzer
from twofold.index.encoder_binding import EncoderBinding
from twofold.index.index import Index
from twofold.index.open_options import OpenOptions
from twofold.index.passage_encoding import encode_texts
from twofold.index.saved.profiles import SearchProfiles
from twofold.index.saved.query_adapters import QueryAdapters
from twofold.index.saved.store import SavedChange, SavedUpdate
from twofold.index.saved_records import (
    ActiveQueryAdapter,
    active_profile,
    adapter_records,
    load_active_adapter,
    unpack_adapter,
)
from twofold.index.view import BoundEncoder, served_modes
from twofold.index.writing.new_index import IndexContent
from twofold.index.writing.passage_input import BATCH, ENCODED_BATCH, PassageValidator
from twofold.index.writing.progress import PassageProgress
from twofold.index.writing.upsert import (
    UpsertPlanner,
    UpsertResult,
    start_vector_set,
    warn_of_unfindable,
)
from twofold.protocols import Analyzer, Encoder
from twofold.similarity import Metric
from twofold.storage import IndexSettings, VectorSetRecord, content_hash
from twofold.types import Mode, Passage, PassageLike, Vectors, Where
from twofold.validation import check_iterable

_Index = TypeVar("_Index", bound="RemoteIndex")


class RemoteSession(SearchSession, Protocol):
    """A session of an index on a server."""

    @property
    def state(self) -> RemoteState:
        """The settings that this session sees."""

    def read_adapter(self, name: str) -> bytes:
        """Return a stored query adapter; raise CorruptIndexError if it is missing."""


@dataclass(frozen=True, slots=True)
class Unprepared:
    """A batch whose terms or vectors must be computed before it can be stored."""

    plan: BatchPlan
    state: RemoteState


class RemoteIndex(ABC):
    """An index on a server, in place of one in a folder."""

    features: ClassVar[Capabilities]
    """The engine's capabilities with all modes."""
    same_lexical_scores: ClassVar[bool]
    """Whether lexical scores are those of an `Index` with the same passages."""

    def _start(
        self,
        options: OpenOptions,
        state: RemoteState,
        profile: SearchProfile | None,
        query_adapter: QueryMap | None,
    ) -> None:
        """Take the stored settings; raise IndexMismatchError if an option contradicts them."""
        settings = state.settings
        options.check(settings)
        self._latest = state
        self._profile, self._query_adapter = profile, query_adapter
        self._analyzers = options.analyzer_sources
        self._active_adapter: ActiveQueryAdapter | None = None
        self._analyzer: tuple[IndexSettings, Analyzer] | None = None
        self._binding = EncoderBinding(options.load_encoder(settings), Path())
        if state.vector_set is not None and options.names_another(settings):
            self._binding.check_passed(settings, state.vector_set)

    # What an engine implements

    read_only: bool

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether it was closed."""

    @abstractmethod
    def session(self) -> AbstractContextManager[RemoteSession]:
        """Open a session."""

    @abstractmethod
    def count(self, where: Where | None = None) -> int:
        """Return the number of passages that match ``where``, or of all."""

    @abstractmethod
    def get(self, ids: Iterable[str] | None = None, *, where: Where | None = None) -> list[Passage]:
        """Return the passages that satisfy ``ids``, ``where`` or both, if passed, as stored."""

    @abstractmethod
    def delete(self, ids: Iterable[str] | None = None, *, where: Where | None = None) -> int:
        """Delete passages that satisfy ``ids``, ``where`` or both, if passed; return how many."""

    @abstractmethod
    def __iter__(self) -> Iterator[Passage]:
        """Yield all passages."""

    @abstractmethod
    def read_batches(self, size: int = BATCH) -> Iterator[tuple[Batch, GivenVectors]]:
        """Yield all passages with their metadata as JSON, and their vectors."""

    @abstractmethod
    def write_settings(self, settings: IndexSettings, adapters: Mapping[str, bytes]) -> None:
        """Replace the settings and the query adapters, after all passages were stored."""

    @abstractmethod
    def reindex(self, index_type: IndexType | Auto | str) -> IndexType | Auto:
        """Change how the dense leg is searched; return the index type in use."""

    @property
    @abstractmethod
    def index_type(self) -> IndexType | Auto:
        """How the dense leg is searched."""

    @abstractmethod
    def close(self) -> None:
        """Close the connections."""

    @abstractmethod
    def change_saved(self, update: SavedUpdate) -> None:
        """Make one change of the newest settings and query adapters, for `profiles`."""

    @abstractmethod
    def _read_state(self) -> RemoteState:
        """Return the state of the server that is written to."""

    @abstractmethod
    def _check_storable(self, batch: Batch) -> None:
        """Raise PassageError for a passage that the engine can't store."""

    @abstractmethod
    def _try_store(
        self, batch: Batch, given: GivenVectors | None, prepared: Preparation
    ) -> StoredBatch | Unprepared:
        """Store a batch, or return what must be prepared before."""

    @abstractmethod
    def _finish_upsert(self, changed: int) -> None:
        """Build what the engine needs after a call that stored ``changed`` passages."""

    # Reading

    @property
    def capabilities(self) -> Capabilities:
        """The modes and features that a retriever can use, as of the last state read."""
        return replace(self.features, modes=served_modes(self._latest.settings))

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The search modes (hybrid, dense, lexical) that a retriever can use."""
        return served_modes(self.last_settings)

    @property
    def last_settings(self) -> IndexSettings:
        """The settings of the last state that was read. Asks no server."""
        return self._latest.settings

    @property
    def loaded_encoder(self) -> Encoder | None:
        """The encoder if it was passed or used before, else None. Asks no server."""
        return self._binding.find_loaded(self.last_settings, self._latest.vector_set)

    @property
    def encoder(self) -> Encoder | None:
        """The encoder, loaded on first use; None where callers pass vectors."""
        if not self._binding.has_encoder(self.last_settings):
            return None
        return self._binding.encoder(self.last_settings, self._latest.vector_set)

    @property
    def dim(self) -> int | None:
        """The vectors' dimensions, None before the first vector."""
        return self.last_settings.dim

    @property
    def metric(self) -> Metric | None:
        """The similarity of vectors, None before the first vector."""
        return self.last_settings.metric

    @property
    def given_analyzers(self) -> Sequence[Analyzer]:
        """The analyzers that the caller passed."""
        return self._analyzers.given

    @contextmanager
    def open_search(self) -> Iterator[SearchScope]:
        """Open a session with the encoder, profile and query adapter of its state."""
        with self.session() as session:
            settings, vector_set = session.state.settings, session.state.vector_set
            has_encoder = self._binding.has_encoder(settings)
            encoder = BoundEncoder(self._binding, settings, vector_set) if has_encoder else None
            profile = self._profile if self._profile is not None else active_profile(settings)
            adapter = self._query_adapter
            if adapter is None:
                adapting = self._load_adapter(session, profile)
                adapter = adapting.adapter
                profile = profile if adapting.problem is None else None
            yield SearchScope(
                session,
                self.capabilities,
                encoder,
                profile,
                adapter,
                self.open_search,
                analyzer=self._find_analyzer(session.state),
            )

    @property
    def profiles(self) -> SearchProfiles:
        """The saved search profiles by name."""
        return SearchProfiles(_RemoteStore(self))

    @property
    def query_adapters(self) -> QueryAdapters:
        """The saved query adapters by name."""
        return QueryAdapters(_RemoteStore(self))

    def read_content(self) -> IndexContent:
        """Return the settings, the vectors' encoder and the query adapters."""
        with self.session() as session:
            settings = session.state.settings
            names = adapter_records(settings)
            adapters = {name: session.read_adapter(name) for name in names}
            return IndexContent(settings, session.state.vector_set, adapters)

    def __len__(self) -> int:
        return self.count()

    def __contains__(self, passage_id: object) -> bool:
        return isinstance(passage_id, str) and bool(self.get([passage_id]))

    # Writing

    def upsert(
        self,
        passages: Iterable[PassageLike],
        *,
        vectors: Vectors | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> UpsertResult:
        """Add passages; replace those stored under the same ids.

        Batches of hundreds are stored one by one, and repeated after a transient fault. A call
        that was stopped can be repeated: unchanged passages are skipped, and not encoded again.

        Args:
            passages: The passages, as in `Index.upsert`.
            vectors: Their vectors (n, dim), used instead of encoding.
            progress: Called with the number of passages encoded or stored so far.

        Raises:
            PassageError: A passage is invalid, or the server can't store it.
            VectorError: The vectors are invalid, or missing in an index without an encoder.
            EncoderMismatchError: The encoder is not the one that produced the stored vectors.
            BackendError: The server failed. What it has acknowledged is stored.
        """
        check_iterable(passages)
        self._check_writable()
        if vectors is not None and not isinstance(passages, Sequence):
            passages = list(passages)
        state = self._read_state()
        settings = state.settings
        planner = UpsertPlanner(settings, self._binding, vectors)
        planner.check_vectors(passages if isinstance(passages, Sequence) else None)
        encodes = vectors is None and self._binding.has_encoder(settings)
        validator, shown = PassageValidator(), PassageProgress(progress)
        ids: list[str] = []
        counts = np.zeros(7, np.int64)
        new_set = None
        if vectors is not None and settings.dense and state.vector_set is None:
            new_set = start_vector_set(settings, self._binding, 1)
        for batch in validator.iterate_batches(passages, ENCODED_BATCH if encodes else BATCH):
            self._check_storable(batch)
            passed, given = planner.next_vectors(len(batch)), None
            prepared = Preparation(vector_set=new_set)
            if passed is not None:
                given = self._as_stored(passed, new_set)
            with shown.encoding(len(batch)):
                stored = self._store(batch, given, prepared)
            ids += [passage.id for passage, _ in batch]
            same = len(batch) - stored.added - stored.updated
            counts += (
                *(stored.added, stored.updated, same, prepared.truncated, prepared.windowed),
                *(stored.empty, stored.zero_vectors),
            )
            shown.commit(len(batch))
        self._finish_upsert(int(counts[0] + counts[1]))
        result = UpsertResult(tuple(ids), *counts.tolist())
        warn_of_unfindable(result, stacklevel=3)
        return result

    def write_batch(
        self, batch: Batch, vectors: GivenVectors, first: FirstVectors | None
    ) -> StoredBatch:
        """Store passages with vectors as an index has stored them; equal ones are left alone.

        Args:
            batch: Valid passages, each with its metadata as JSON.
            vectors: The vectors of each, None for one without any.
            first: The settings and the vector set, where these may be the first vectors.
        """
        self._check_writable()
        self._check_storable(batch)
        return self._store(batch, vectors, Preparation(vector_set=first))

    def _as_stored(self, vectors: Vectors, new_set: FirstVectors | None) -> GivenVectors:
        """Return vectors that the caller passed as they are stored."""
        latest = self._latest
        settings = latest.settings if latest.vector_set is not None else None
        if settings is None:
            assert new_set is not None  # the first vectors
            settings = new_set[0]
        assert settings.metric is not None  # known with the vector set
        if settings.dim not in (None, vectors.shape[1]):
            raise VectorError(
                f"vectors must have the index's {settings.dim} dimensions, got {vectors.shape[1]}"
            )
        return as_stored(settings.metric, vectors)

    def _store(
        self, batch: Batch, given: GivenVectors | None, prepared: Preparation
    ) -> StoredBatch:
        """Store a batch; terms and vectors are computed while no transaction is open."""
        while isinstance(stored := self._try_store(batch, given, prepared), Unprepared):
            self._prepare(batch, stored.plan, stored.state, prepared, given=given is not None)
        return stored

    def _prepare(
        self,
        batch: Batch,
        plan: BatchPlan,
        state: RemoteState,
        prepared: Preparation,
        *,
        given: bool,
    ) -> None:
        """Compute the terms and vectors that a plan needs."""
        settings, vector_set = state.settings, state.vector_set
        analyzer = self._find_analyzer(state)
        for position in plan.changed:
            if position not in prepared.terms:
                passage = batch[position][0]
                prepared.terms[position] = (
                    count_terms(analyzer, passage, settings.title_weight)
                    if analyzer is not None
                    else ({}, 0)
                )
        if prepared.vector_set is not None and vector_set is not None:
            prepared.vector_set = None  # another client was first
            prepared.vectors.clear()
        texts = {key: text for key, text in plan.texts.items() if key not in prepared.vectors}
        if not settings.dense or not (texts or given):
            return
        if vector_set is None and prepared.vector_set is None:
            prepared.vector_set = start_vector_set(settings, self._binding, 1)
        if vector_set is None and prepared.vector_set is not None:
            settings, vector_set = prepared.vector_set
        if not texts:
            return
        if not self._binding.has_encoder(settings):
            raise VectorError(
                f"this index has no encoder, and {len(texts)} texts have no stored vector: "
                "pass vectors="
            )
        assert settings.metric is not None  # set by start_vector_set
        encoded = encode_texts(
            list(texts.values()),
            self._binding.encoder(settings, vector_set),
            lambda some: self._binding.encode_passages(some, settings, vector_set),
            settings.metric,
            settings.windows,
        )
        prepared.add(texts, encoded)

    def _find_analyzer(self, state: RemoteState) -> Analyzer | None:
        """Return the analyzer of a state, None without a lexical leg."""
        settings = state.settings
        if settings.analyzer is None:
            return None
        if self._analyzer is None or self._analyzer[0] != settings:
            self._analyzer = settings, StoredAnalyzer(settings, self._analyzers)
        return self._analyzer[1]

    def _load_adapter(
        self, session: RemoteSession, profile: SearchProfile | None
    ) -> ActiveQueryAdapter:
        """Return the query adapter of a profile; warn once if it can't be used."""
        before, state = self._active_adapter, session.state
        found = load_active_adapter(
            profile,
            state.settings,
            state.vector_set,
            before,
            lambda name, _: unpack_adapter(name, session.read_adapter(name)),
        )
        self._active_adapter = found
        if found.problem is not None and (before is None or before.problem != found.problem):
            warnings.warn(
                f"{self!r}: {found.problem}; the profile is not used: searches use the defaults",
                DegradedWarning,
                stacklevel=4,
            )
        return found

    def _check_open(self) -> None:
        if self.closed:
            raise IndexClosedError(f"{self!r} was closed: create another one")

    def _check_writable(self) -> None:
        if self.read_only:
            raise ReadOnlyError(f"{self!r} was opened with read_only=True: it can't be written to")
        self._check_open()

    def __enter__(self: _Index) -> _Index:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __copy__(self: _Index) -> _Index:
        """Return this object, which copies of a retriever share."""
        return self

    def __deepcopy__(self: _Index, memo: object) -> _Index:
        """Return this object, which copies of a retriever share."""
        return self

    def __reduce__(self) -> NoReturn:
        """Refuse pickling, which would write the password."""
        raise TypeError(
            f"a {type(self).__name__} can't be pickled, because it may hold a password: create "
            "one in each process"
        )


class _RemoteStore:
    """The settings and query adapters of an index on a server."""

    def __init__(self, index: RemoteIndex) -> None:
        self._index = index

    def read(self) -> IndexSettings:
        """Return the newest settings."""
        with self._index.session() as session:
            return session.state.settings

    def change(self, update: SavedUpdate) -> None:
        """Make one change; raise InputError for another title weight."""
        self._index.change_saved(partial(_check_title_weight, update))

    def read_adapter(self, name: str, digest: str) -> bytes:
        """Return a query adapter; raise CorruptIndexError if it is missing or differs."""
        with self._index.session() as session:
            data = session.read_adapter(name)
        if content_hash(data).hex() != digest:
            raise CorruptIndexError(f"query adapter {name!r} has changed: save it again")
        return data


def _check_title_weight(
    update: SavedUpdate, settings: IndexSettings, vector_set: VectorSetRecord | None
) -> SavedChange:
    """Return the change that ``update`` makes, unless it needs other postings."""
    change = update(settings, vector_set)
    if change.settings.title_weight != settings.title_weight:
        raise InputError(
            f"the profile needs title_weight={change.settings.title_weight}, and the postings on "
            f"the server have {settings.title_weight}: activate it in an index, and push that"
        )
    return change


StoredIndex = Index | RemoteIndex
"""An index in a folder or on a server."""


def settings_of(index: Index) -> IndexSettings:
    """Return the settings for a copy of an index that has no passages yet."""
    return replace(
        index.last_settings,
        profiles="{}",
        active_profile=None,
        query_adapters="{}",
        agreement=None,
        agreement_passages=0,
        agreement_changed=0,
    )
