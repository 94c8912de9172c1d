"""Sessions of the local index: one generation, searched and read as a whole."""

import secrets
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import overload

import numpy as np

from twofold.backend import (
    Capabilities,
    CompletedScores,
    Completion,
    CorpusInfo,
    Fetched,
    Keys,
    SearchProfile,
    SearchScope,
)
from twofold.concurrency import ForkSafeLock, run_parallel
from twofold.errors import (
    CorruptIndexError,
    DegradedWarning,
    InputError,
    QueryError,
    RebuildWarning,
)
from twofold.filters import Filter, match_rows, parse_filter, type_name
from twofold.index.analyzer_binding import AnalyzerSources
from twofold.index.encoder_binding import EncoderBinding, check_encoded
from twofold.index.layout import Layout
from twofold.index.saved_records import active_profile, default_title_weight
from twofold.index.segment_types import LexicalSegmentType
from twofold.index.snapshot import Snapshot, load_snapshot
from twofold.lexical import LiveSegment, PostingsIndex
from twofold.lexical.query_terms import find_query_spans
from twofold.protocols import Encoder, Scorer
from twofold.segments import PackedStrings, hash_strings, ids_at
from twofold.similarity import Metric
from twofold.storage import (
    Catalog,
    CatalogKey,
    CatalogReader,
    FileTimes,
    IndexSettings,
    PassageFields,
    StoredPassage,
    VectorSetRecord,
    read_head,
    storage_errors,
)
from twofold.types import (
    MODES,
    EncoderIdentity,
    LegHits,
    Mask,
    Mode,
    Moments,
    Passage,
    Rows,
    TermMatch,
    TermSpan,
    Vectors,
    Where,
    Window,
)

_TRIES = 20
"""How often a session starts again because a writer has replaced files meanwhile."""
_PAUSE = 5_000
"""Microseconds up to which it waits in between if folders are exchanged."""


def with_title_weight(
    snapshot: Snapshot, reader: CatalogReader, title_weight: int
) -> PostingsIndex:
    """Return in-memory postings of all passages with this title weight, by the same analyzer."""
    kind = snapshot.segment_types["lexical"]
    assert isinstance(kind, LexicalSegmentType)
    passages = list(reader.passages_between(0, snapshot.state.next_row))
    check_passage_count(snapshot, len(passages))
    segment = replace(kind, title_weight=title_weight).build(passages)
    return PostingsIndex(kind.analyzer, segments=[LiveSegment.from_segment(segment)])


def check_passage_count(snapshot: Snapshot, count: int) -> None:
    """Raise CorruptIndexError if ``count`` stored passages were read, and others committed.

    A changed bit in a page or in the schema can make SQLite skip rows of a table without an error.
    """
    if count != snapshot.state.passages:
        raise CorruptIndexError(
            f"{snapshot.state.passages:,} passages were committed, and {count:,} are stored: "
            "restore the index from a copy"
        )


def served_modes(settings: IndexSettings) -> tuple[Mode, ...]:
    """Return the modes that an index with these settings serves."""
    if not settings.dense:
        return ("lexical",)
    return MODES if settings.analyzer is not None else ("dense",)


@dataclass(frozen=True, slots=True)
class StoredPassages(Sequence[Passage]):
    """A sequence of passages read from the catalog, decoded when accessed."""

    stored: Sequence[PassageFields]

    def __len__(self) -> int:
        return len(self.stored)

    @overload
    def __getitem__(self, position: int) -> Passage: ...
    @overload
    def __getitem__(self, position: slice) -> "StoredPassages": ...

    def __getitem__(self, position: int | slice) -> "Passage | StoredPassages":
        if isinstance(position, slice):
            return StoredPassages(self.stored[position])
        return StoredPassage(*self.stored[position]).to_passage()


@dataclass(slots=True, eq=False)
class BoundEncoder:
    """The encoder of one generation; raises EncoderMismatchError if it is another model."""

    binding: EncoderBinding
    settings: IndexSettings
    vector_set: VectorSetRecord | None
    _checked: Encoder | None = field(default=None, init=False)

    @property
    def identity(self) -> EncoderIdentity | None:
        """The identity of the model that produced the stored vectors."""
        return self.vector_set.to_identity() if self.vector_set is not None else None

    @property
    def available(self) -> bool:
        """Whether the encoder was passed or can be loaded by its name."""
        return self.binding.is_available(self.settings, self.vector_set)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return query vectors (n, dim)."""
        settings, vector_set = self.settings, self.vector_set
        if vector_set is None or settings.dim is None:
            return self.binding.encode_queries(texts, settings, vector_set)
        if self._checked is None:
            self.binding.check(settings, vector_set)
            self._checked = self.binding.encoder(settings, vector_set)
        vectors = self._checked.encode_queries(list(texts))
        shape = (len(texts), settings.dim)
        valid = isinstance(vectors, np.ndarray) and vectors.dtype == np.float32
        if valid and vectors.shape == shape and np.isfinite(vectors).all():
            return vectors
        return check_encoded(vectors, len(texts), settings.dim, "encode_queries")

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Return passage vectors (n, dim)."""
        return self.binding.encode_passages(texts, self.settings, self.vector_set)


@dataclass(frozen=True, slots=True)
class SnapshotContext:
    """A snapshot, and values derived from it that its sessions share."""

    key: CatalogKey
    snapshot: Snapshot
    corpus: CorpusInfo
    capabilities: Capabilities
    encoder: BoundEncoder | None
    profile: SearchProfile | None

    @classmethod
    def from_snapshot(
        cls, key: CatalogKey, snapshot: Snapshot, binding: EncoderBinding
    ) -> "SnapshotContext":
        """Return the context of a snapshot, with the encoder from ``binding``."""
        settings, vector_set = snapshot.settings, snapshot.vector_set
        corpus = CorpusInfo(
            snapshot.state.generation,
            snapshot.state.passages,
            settings.metric if snapshot.dense is not None else None,
            settings.dim,
            vector_set.number if vector_set is not None else 0,
            settings.title_weight,
            default_title_weight(settings),
        )
        has_encoder = binding.has_encoder(settings)
        # A profile whose query adapter can't be read is not used: it was tuned for other vectors.
        usable = snapshot.active_adapter.problem is None
        return cls(
            key,
            snapshot,
            corpus,
            CAPABILITIES[served_modes(settings)],
            BoundEncoder(binding, settings, vector_set) if has_encoder else None,
            active_profile(settings) if usable else None,
        )


class IndexView:
    """A session of the local index. Keys are row numbers.

    Implements `SearchSession`, `CorpusStatistics`, `TermExplainer` and `WindowExplainer`.
    """

    def __init__(self, context: SnapshotContext, reader: CatalogReader) -> None:
        self._context = context
        self.key = context.key
        self.snapshot = context.snapshot
        self.corpus = context.corpus
        self.profile = context.profile
        self.reader = reader
        self._masks: dict[int, tuple[Filter, Mask]] = {}  # by the filter's identity

    # SearchSession

    def search_dense(
        self, vectors: Vectors, k: int, where: Filter | None, effort: float
    ) -> list[LegHits]:
        """Return the k nearest passages of each query vector (n, dim) that match ``where``."""
        if self.snapshot.dense is None:
            return [LegHits.empty() for _ in vectors]
        mask = self.mask(where) if where is not None else None
        return self.snapshot.dense.index.search(vectors, k, mask, effort)

    def search_lexical(
        self, texts: Sequence[str], k: int, where: Filter | None, scorer: Scorer | None
    ) -> list[LegHits]:
        """Return the k best passages of each query text by lexical score that match ``where``."""
        k = min(k, max(self.snapshot.state.passages, 1))  # compiled, it has 64 bits
        mask = self.mask(where) if where is not None else None
        return self._postings().search_many(texts, k, mask, scorer)

    def complete(self, wanted: Sequence[Completion]) -> list[CompletedScores]:
        """Return the dense and lexical scores for each `Completion`."""
        dense = self.snapshot.dense.index if self.snapshot.dense is not None else None
        completed = []
        for query in wanted:
            dense_scores = lexical_scores = np.empty(0)
            if len(query.dense_keys):
                dense_scores = np.full(len(query.dense_keys), np.nan)
                if dense is not None and query.vector is not None:
                    dense_scores = dense.scores(query.vector, query.dense_keys)
            if len(query.lexical_keys):
                lexical_scores = np.full(len(query.lexical_keys), np.nan)
                if query.text is not None:
                    lexical_scores = self._postings().scores(
                        query.text, query.lexical_keys, query.scorer
                    )
            completed.append(CompletedScores(dense_scores, lexical_scores))
        return completed

    def fetch(
        self,
        keys: Keys | None = None,
        *,
        ids: Sequence[str] | None = None,
        texts: bool = True,
        vectors: bool = False,
    ) -> Fetched:
        """Return passages by row, or by id, leaving out unknown ids."""
        if keys is None:
            keys = self._find_rows(ids or ())
        stored = self.reader.passages_by_row(keys.tolist()) if texts else ()
        columns = [(segment.rows, segment.ids) for segment in self.snapshot.columns]
        names = [fields[1] for fields in stored] if texts else ids_at(columns, keys)
        if not vectors:
            return Fetched(keys, names, StoredPassages(stored))
        if self.snapshot.dense is not None:
            found, present = self.snapshot.dense.vectors(keys)
        else:
            found, present = np.empty((len(keys), 0), np.float32), np.zeros(len(keys), np.bool_)
        return Fetched(keys, names, StoredPassages(stored), found, present)

    def matches(self, where: Filter, keys: Keys) -> Mask:
        """Return, for each key, whether its passage matches the filter."""
        mask = self.mask(where)
        inside = keys < len(mask)
        matched = np.zeros(len(keys), np.bool_)
        matched[inside] = mask[keys[inside]]
        return matched

    # CorpusStatistics

    @property
    def leg_agreement(self) -> float | None:
        """How well the dense ranking agrees with the lexical one, 1.0 at best; None if unknown."""
        return self.snapshot.settings.agreement

    def dense_moments(self, vector: Vectors) -> Moments:
        """Return the moments of the dense scores of all passages with a vector."""
        if self.snapshot.dense is None:
            return Moments(0.0, 0.0)
        return self.snapshot.dense.moments(vector)

    def lexical_moments(self, text: str, scorer: Scorer | None = None) -> Moments:
        """Return the moments of all passages' lexical scores, 0 for those without a shared term."""
        return self._postings().moments(text, scorer)

    def least_dense_score(self, vector: Vectors) -> float:
        """Return a lower bound of every passage's dense score."""
        if self.snapshot.dense is None:
            return 0.0
        if self.corpus.metric is Metric.COSINE:
            return -1.0
        return self.snapshot.dense.index.flat.lower_bound(vector)

    def term_coverage(self, text: str) -> float:
        """Return the share of a query's distinct terms that any passage has; 1.0 without terms."""
        return self._postings().term_coverage(text)

    def list_keys(self, where: Filter | None = None) -> Keys:
        """Return the rows of all passages that match ``where``, ascending."""
        if where is not None:
            return np.flatnonzero(self.mask(where))
        parts = [segment.rows for segment in self.snapshot.columns]
        rows = np.concatenate(parts).astype(np.int64) if parts else np.empty(0, np.int64)
        return np.sort(rows[~np.isin(rows, self.snapshot.dead)])

    def passages(self, start: int = 0) -> Iterator[StoredPassage]:
        """Yield the stored passages in the order of rows, from row ``start``.

        Raises CorruptIndexError if they are not those of the columns: see `check_passage_count`.
        """
        keys = self.list_keys()
        stored = self.reader.passages_between(start, self.snapshot.state.next_row)
        for row, passage in zip_longest(keys[keys >= start].tolist(), stored):
            if passage is None or passage.row != row:
                raise CorruptIndexError(
                    f"passage row {row} is missing from the catalog, or its columns: restore the "
                    "index from a copy"
                )
            yield passage

    def metadata_fields(self) -> list[str]:
        """Return the names of all metadata fields, sorted."""
        names: set[str] = set()
        for segment in self.snapshot.columns:
            live = ~np.isin(segment.rows, self.snapshot.dead)
            names |= set(segment.used_fields(live[segment.docs]))
        return sorted(names)

    def field_types(self, field: str) -> frozenset[str]:
        """Return the types of a field's values, such as "numbers"; none if no passage has it."""
        names: set[str] = set()
        for segment in self.snapshot.columns:
            span = segment.field(field)
            live = ~np.isin(segment.rows[segment.docs[span]], self.snapshot.dead)
            names |= {type_name(each) for each in np.unique(segment.cells.types[span][live])}
        return frozenset(names)

    # TermExplainer

    def term_matches(
        self, text: str, keys: Keys, scorer: Scorer | None = None
    ) -> list[tuple[TermMatch, ...]]:
        """Return, for each row, how every query term contributes to the lexical score."""
        return [self._postings().term_matches(text, row, scorer) for row in keys.tolist()]

    def term_spans(self, text: str, passages: Sequence[str]) -> list[list[TermSpan]]:
        """Return, for each text, the query terms' spans; none if the analyzer can't find them."""
        return find_query_spans(self._postings().analyzer, text, passages)

    # WindowExplainer

    def best_windows(self, vector: Vectors, keys: Keys) -> list[Window | None]:
        """Return, for each row, the window that scores best for one query vector (dim,)."""
        dense = self.snapshot.dense
        if dense is None or not dense.has_windows:
            return [None] * len(keys)
        spans = dense.index.flat.best_spans(vector, keys).tolist()
        return [
            Window((first, last), start, end) if last else None for first, last, start, end in spans
        ]

    # The local index's own

    @property
    def scope(self) -> SearchScope:
        """This session with the encoder, profile and query adapter of its generation."""
        scope = SearchScope(
            self,
            self._context.capabilities,
            self._context.encoder,
            self.profile,
            self.snapshot.active_adapter.adapter,
            lambda: nullcontext(scope),  # the snapshot outlives the transaction
            lambda weight: self.weigh_titles(weight).scope,
            self.snapshot.lexical.analyzer if self.snapshot.lexical is not None else None,
        )
        return scope

    def mask(self, where: Filter) -> Mask:
        """Return a mask of the rows that match, deleted ones excluded; cached for the session."""
        known = self._masks.get(id(where))
        if known is not None:
            return known[1]
        mask = match_rows(where, self.snapshot.columns)
        mask[self.snapshot.dead[self.snapshot.dead < len(mask)]] = False
        self._masks[id(where)] = where, mask
        return mask

    def warm(self) -> None:
        """Load in advance what the first query needs: the model in another thread."""
        run_parallel(self._warm_legs, self._warm_encoder)

    def _warm_legs(self) -> None:
        first = np.zeros(1, np.int64)
        if self.snapshot.dense is not None:
            self.scope.dense_scores(np.ones(self.snapshot.dense.dim, np.float32), first)
        if self.snapshot.lexical is not None:
            self.search_lexical(["warm"], 1, None, None)
            self.scope.lexical_scores("warm", first)

    def _warm_encoder(self) -> None:
        if self.scope.encoder is not None:
            self.scope.encode_queries(["warm"])

    def weigh_titles(self, title_weight: int) -> "IndexView":
        """Return this view with in-memory postings that have another title weight.

        Analyzes all passages, which takes seconds per ten thousand.

        Raises:
            QueryError: The index has no lexical leg.
        """
        self._postings()
        postings = with_title_weight(self.snapshot, self.reader, title_weight)
        snapshot = replace(self.snapshot, lexical=postings)
        return IndexView(replace(self._context, snapshot=snapshot), self.reader)

    def passages_by_id(self, ids: Sequence[str]) -> dict[str, StoredPassage]:
        """Return the passages with these ids; unknown ids are left out.

        An id that SQLite's index doesn't find is looked up in the columns, whose bytes are verified
        when they are loaded. A changed bit in SQLite's index would hide the passage.
        """
        found = self.reader.passages_by_id(ids)
        missing = [name for name in dict.fromkeys(ids) if name not in found]
        rows = self._find_rows(missing) if missing else np.empty(0, np.int64)
        hidden = [StoredPassage(*fields) for fields in self.reader.passages_by_row(rows.tolist())]
        if not {passage.id for passage in hidden} <= set(missing):
            raise CorruptIndexError(
                "the columns and the catalog have other ids for the same passages: restore the "
                "index from a copy"
            )
        return found | {passage.id: passage for passage in hidden}

    def _find_rows(self, ids: Sequence[str]) -> Rows:
        """Return the rows of these ids in their order, leaving out unknown ones."""
        hashes = hash_strings(PackedStrings.from_strings(ids))
        pairs = [
            (at, segment.rows[position])
            for segment in self.snapshot.columns
            for at, position in segment.find_ids(ids, hashes)
        ]
        places, rows = np.array(pairs, np.int64).reshape(-1, 2).T
        live = ~np.isin(rows, self.snapshot.dead)
        return rows[live][np.argsort(places[live], kind="stable")]

    def _postings(self) -> PostingsIndex:
        if self.snapshot.lexical is None:
            raise QueryError("this index has no lexical leg: it was made with analyzer=None")
        return self.snapshot.lexical


CAPABILITIES: dict[tuple[Mode, ...], Capabilities] = {
    modes: Capabilities(
        modes, scorers=True, snapshot=True, statistics=True, explains=True, windows=True
    )
    for modes in (MODES, ("dense",), ("lexical",))
}
"""The local index's capabilities, by the modes that it serves."""


class SnapshotProvider:
    """Opens sessions of the newest generation, and keeps the snapshot loaded last.

    If another index replaces the one in the folder, open sessions go on with the old one. New
    sessions see the new one, unless ``check`` raises for its settings.

    Attributes:
        analyzers: The analyzers that the caller has passed or trusts.
        encoder_binding: The encoders of the index that is now in the folder.
    """

    def __init__(
        self,
        catalog: Catalog,
        layout: Layout,
        analyzers: AnalyzerSources,
        encoder_binding: EncoderBinding,
        check: Callable[[IndexSettings], None],
    ) -> None:
        self._catalog = catalog
        self._check = check
        self.encoder_binding = encoder_binding
        self._layout = layout
        self.analyzers = analyzers
        self._lock = ForkSafeLock()
        self._context: SnapshotContext | None = None
        self._times: FileTimes | None = None  # of the catalog file that HEAD was compared with

    @property
    def latest(self) -> Snapshot | None:
        """The generation that was loaded last, None before the first session."""
        return self._context.snapshot if self._context is not None else None

    @contextmanager
    def view(self) -> Iterator[IndexView]:
        """Open the newest generation in one read transaction."""
        for _ in range(_TRIES):
            with self._catalog.read_transaction() as reader:
                key, context = reader.key(), self._context
                if reader.times != self._times:
                    with storage_errors(self._layout.folder):
                        self._check_overwritten(reader, key)
                if context is None or context.key != key:
                    with storage_errors(self._layout.folder):
                        context = self._load(reader, key)
                if context is not None:
                    yield IndexView(context, reader)
                    return
        raise CorruptIndexError(f"{self._layout.folder} changes faster than it can be read")

    def _load(self, reader: CatalogReader, key: CatalogKey) -> SnapshotContext | None:
        """Load the generation of a read transaction; None if it is already out of date."""
        with self._lock:
            context, binding = self._context, self.encoder_binding
            before = context.snapshot if context is not None else None
            if context is not None and context.key[:2] == key[:2]:
                if context.key[2] >= key[2]:
                    return context if context.key == key else None
            elif context is not None:  # another index has taken the folder
                if self._newest() != key:
                    return None
                self._check(reader.settings())
                before, binding = None, binding.renew()
            snapshot = load_snapshot(reader, self._layout, before, self.analyzers)
            if snapshot.damage and self._newest() != key:
                return None  # the files are gone because a writer has replaced them
            for problem in snapshot.rebuilt:
                warnings.warn(
                    f"{self._layout.folder}: {problem}; a derived file is rebuilt in memory, and "
                    "on disk by the next write",
                    RebuildWarning,
                    stacklevel=4,
                )
            adapting = snapshot.active_adapter
            if adapting.problem is not None and (
                before is None or before.active_adapter.problem != adapting.problem
            ):
                warnings.warn(
                    f"{self._layout.folder}: {adapting.problem}; the profile "
                    f"{snapshot.settings.active_profile!r} is not used: searches use the "
                    "defaults",
                    DegradedWarning,
                    stacklevel=4,
                )
            self.encoder_binding = binding
            self._context = SnapshotContext.from_snapshot(key, snapshot, binding)
            return self._context

    def _check_overwritten(self, reader: CatalogReader, key: CatalogKey) -> None:
        """Raise CorruptIndexError if another tool has copied another index over this one's files.

        SQLite would combine the new catalog with the log of the old one, which has its identity.
        HEAD, which has no log, has the new one. The catalog file itself changes when its log is
        written back, so HEAD is rarely read.
        """
        times, head_file = reader.times, self._layout.head
        for _ in range(_TRIES):
            head = read_head(head_file)
            if head is None or head[0] == key[1] or self._newest() != key:
                break
            # Two folders may be exchanged again and again, not in step with this thread.
            time.sleep(secrets.randbelow(_PAUSE) / 1e6)
        else:
            self._layout.check_head(key[1:], head)
        # A tool that copies file by file may replace HEAD last. Until then, it is read each time.
        is_newer = times is None or head is None or head_file.stat().st_mtime_ns >= times[0]
        if is_newer or self._times is None:
            self._times = times

    def _newest(self) -> CatalogKey:
        with self._catalog.read_transaction() as reader:
            return reader.key()


def checked_ids(ids: Iterable[str]) -> list[str]:
    """Return ``ids`` as a list; raise InputError for an id that no passage can have."""
    if isinstance(ids, str | bytes | Mapping) or not isinstance(ids, Iterable):
        raise InputError(
            f"ids must be a list of ids, got {type(ids).__name__} {ids!r:.80}; a filter is passed "
            "as where="
        )
    checked = list(ids)
    for passage_id in checked:
        if not isinstance(passage_id, str) or any("\ud800" <= c <= "\udfff" for c in passage_id):
            raise InputError(f"an id must be a string of valid Unicode, got {passage_id!r:.80}")
    return checked


def check_deletion(verb: str, ids: Iterable[str] | None, where: Where | None) -> list[str] | None:
    """Return the checked ids, None for all; raise InputError without ``ids`` and ``where``."""
    if ids is None and where is None:
        raise InputError(f"{verb} takes ids=, where= or both; to {verb} all, pass where={{}}")
    return checked_ids(ids) if ids is not None else None


def find_passages(
    view: IndexView, ids: list[str] | None, where: Where | None
) -> tuple[StoredPassage, ...]:
    """Return the passages with these ids (None: any id) that match ``where`` (None: all)."""
    allowed = view.mask(parse_filter(where)) if where is not None else None
    if ids is not None:
        found = view.passages_by_id(ids).values()
        return tuple(p for p in found if allowed is None or allowed[p.row])
    assert allowed is not None  # one of the two is given
    rows = np.flatnonzero(allowed).tolist()
    return tuple(StoredPassage(*fields) for fields in view.reader.passages_by_row(rows))
