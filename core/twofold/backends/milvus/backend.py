"""The backend: an index in collections of Milvus, in place of one in a folder."""

import json
import os
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from twofold.backend import Capabilities, QueryMap, SearchProfile
from twofold.backends.batches import (
    Batch,
    BatchPlan,
    GivenVectors,
    Preparation,
    StoredBatch,
    count_stored,
    plan_batch,
    select_vectors,
)
from twofold.backends.milvus.filters import FilterCompiler, hash_id
from twofold.backends.milvus.rows import (
    FIELDS,
    KEYS_PER_QUERY,
    PARTS,
    Numbers,
    check_storable,
    count_rows,
    passage_fields,
    passage_row,
    query_all,
    query_keys,
    read_vectors,
    send,
    window_keys,
    window_rows,
)
from twofold.backends.milvus.schema import (
    MAX_RESULTS,
    Collections,
    Names,
    StoredState,
    check_index_type,
    is_exact,
)
from twofold.backends.milvus.server import (
    CONSISTENCIES,
    DEFAULT_COLLECTION,
    Address,
    Consistency,
    Server,
    check_collection_name,
)
from twofold.backends.milvus.session import MilvusSession
from twofold.backends.remote_index import RemoteIndex, Unprepared, settings_of
from twofold.dense import HNSW, IVF, Auto, Flat, IndexType, PassageVectors, index_type_from_name
from twofold.dense.index_types import index_type_as_dict, index_type_from_dict
from twofold.errors import (
    BackendError,
    IndexMismatchError,
    IndexNotFoundError,
    InputError,
    QueryError,
)
from twofold.filters import parse_filter
from twofold.index.index import Index
from twofold.index.open_options import AS_STORED, AsStored, OpenOptions
from twofold.index.saved.store import SavedUpdate
from twofold.index.view import StoredPassages, check_deletion, served_modes
from twofold.index.writing.passage_input import BATCH
from twofold.lexical import AnalyzerLike
from twofold.protocols import Encoder
from twofold.similarity import Metric
from twofold.storage import IndexSettings, StoredPassage
from twofold.types import MODES, Passage, Vectors, Where
from twofold.validation import check_choice, check_integer, check_number

_MAX_SHARDS, _MAX_REPLICAS = 64, 64
_STRONG = "Strong"
_LITE_SEGMENT = 1_000
"""New passages from which Milvus Lite writes them to a segment at the end of a call."""


class MilvusBackend(RemoteIndex):
    """An index in Milvus: passages, vectors and terms in collections of their own.

    Takes the place of an `Index` in a `Retriever` and in both adapters. Milvus computes BM25 from
    the terms of the library's analyzers, with the statistics of a shard. A write returns when
    Milvus has acknowledged it.

    A lexical leg needs Milvus 2.5 or later, or Milvus Lite.

    Args:
        uri: The address, such as ``http://localhost:19530``, or the path of a Milvus Lite file
            that ends in ``.db``. A token is read from the environment variable MILVUS_TOKEN.
        collection: The collection, which is created if there is none. Default: that in the URI, as
            in ``milvus://localhost:19530?collection=manuals``, or ``"twofold"``.
        encoder: As in `Index.open`.
        dim: As in `Index.open`.
        metric: As in `Index.open`.
        analyzer: As in `Index.open`.
        title_weight: As in `Index.open`.
        windows: As in `Index.open`. They have a collection of their own.
        index_type: ``Flat()`` scans all vectors, which is exact; ``HNSW(...)`` and ``IVF(...)`` are
            Milvus's own, with float32 vectors. ``Auto()``, the default, leaves it to Milvus.
        template: An index whose settings and encoder a new collection gets; for `push`.
        profile: Search parameters, in place of the active profile.
        query_adapter: Maps query vectors, in place of the profile's adapter.
        consistency: Which writes a search sees: ``"strong"``, all that were acknowledged before
            it; ``"session"``, all of this client; ``"bounded"``, all but those of the last
            seconds; ``"eventually"``, any. Writes and `get` always use ``"strong"``.
        shards: Over how many shards a new collection is spread.
        replicas: How many copies are loaded for queries.
        create: Whether to create the collections if there are none.
        read_only: Whether to refuse writes. Nothing is created then.
        trust: As in `Index.open`.
        timeout: Seconds after which a call is given up that the server doesn't answer.

    Raises:
        InputError: An argument is invalid.
        IndexNotFoundError: There are no collections, and they can't be created.
        IndexMismatchError: An argument contradicts what is stored.
        BackendError: The server can't be reached, or refuses, or is too old.
        MissingExtraError: pymilvus is not installed.

    Example:
        Backend and retriever, as with an index:

            backend = MilvusBackend("http://localhost:19530", collection="manuals")
            backend.upsert([{"id": "1", "text": "plants make food from light"}])
            Retriever(backend).retrieve("how do plants make food?")
    """

    same_lexical_scores = False
    features = Capabilities(MODES, max_k=MAX_RESULTS, statistics=True, explains=True, windows=True)

    def __init__(
        self,
        uri: str | os.PathLike[str],
        *,
        collection: str | None = None,
        encoder: Encoder | str | AsStored | None = AS_STORED,
        dim: int | Literal["first"] | None = None,
        metric: Metric | str | None = None,
        analyzer: AnalyzerLike | AsStored | None = AS_STORED,
        title_weight: int | None = None,
        windows: bool | int | None = None,
        index_type: IndexType | Auto | str | None = None,
        template: Index | None = None,
        profile: SearchProfile | None = None,
        query_adapter: QueryMap | None = None,
        consistency: Consistency = "session",
        shards: int = 1,
        replicas: int = 1,
        create: bool = True,
        read_only: bool = False,
        trust: Collection[str] = (),
        timeout: float = 30.0,
    ) -> None:
        check_number("timeout", timeout, 1)
        check_choice("consistency", consistency, CONSISTENCIES)
        check_integer("shards", shards, 1, _MAX_SHARDS)
        check_integer("replicas", replicas, 1, _MAX_REPLICAS)
        address = Address.from_uri(uri)
        if collection is None:
            collection = address.collection or DEFAULT_COLLECTION
        self._names = Names(check_collection_name(collection))
        options = OpenOptions(encoder, dim, metric, analyzer, title_weight, windows, trust, 0, None)
        if isinstance(index_type, str):
            index_type = index_type_from_name(index_type)
        self.read_only = read_only
        self._consistency = consistency.capitalize()
        self._unflushed = 0
        self._numbers, self._writing = Numbers(), threading.Lock()
        if address.is_file and (read_only or not create) and not Path(address.uri).exists():
            raise IndexNotFoundError(f"there is no Milvus Lite file {address.uri}")
        self._server = Server(address, float(timeout))
        try:
            self._collections = Collections(self._server, self._names, shards, replicas)
            kind = check_index_type(self._server, index_type) if index_type is not None else None
            if not self._collections.exist():
                if not create or read_only:
                    raise IndexNotFoundError(
                        f"there is no index in the collection {collection!r} of "
                        f"{self._server.label}"
                    )
                self._create(options, kind, template)
            state = self._collections.read_state(_STRONG)
            self._check_version(state.settings)
            self._start(options, state, profile, query_adapter)
        except BaseException:
            self.close()
            raise

    def _create(
        self,
        options: OpenOptions,
        kind: "Auto | Flat | HNSW | IVF | None",
        template: Index | None,
    ) -> None:
        settings = options.to_settings(Path()) if template is None else settings_of(template)
        if kind is None:
            stored = index_type_from_dict(json.loads(settings.index_type))
            kind = stored if isinstance(stored, Flat | HNSW | IVF) else Auto()
        self._check_version(settings)
        self._collections.create_state(_with_index_type(replace(settings, home=""), kind))

    def _check_version(self, settings: IndexSettings) -> None:
        if settings.analyzer is not None and not self._server.has_full_text:
            raise BackendError(
                f"{self._server.name} at {self._server.label} has no full-text search, which came "
                "with Milvus 2.5: upgrade it, or pass analyzer=None for dense search alone"
            )

    # Reading

    @property
    def capabilities(self) -> Capabilities:
        """The modes and features that a retriever can use, as of the last state read."""
        exact = is_exact(self._server, self.index_type)
        return replace(self.features, modes=served_modes(self._latest.settings), exact=exact)

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._server.closed

    @property
    def collection(self) -> str:
        """The name of the collection of passages."""
        return self._names.passages

    @property
    def index_type(self) -> "Auto | Flat | HNSW | IVF":
        """How the dense leg is searched. Asks no server."""
        return StoredState(0, self._latest.settings, None).index_type

    @contextmanager
    def session(self) -> Iterator[MilvusSession]:
        """Open a session. It sees the writes that the consistency promises."""
        self._check_open()
        state = self._collections.read_state(self._consistency)
        self._latest = state
        yield MilvusSession(
            self._server, self._collections, state, self._find_analyzer(state), self._consistency
        )

    def get(self, ids: Iterable[str] | None = None, *, where: Where | None = None) -> list[Passage]:
        """Return the passages that satisfy ``ids``, ``where`` or both, if passed, as stored.

        Raises:
            InputError: Neither ``ids`` nor ``where`` is passed.
            FilterError: The filter is invalid, or beyond the server's version.
        """
        selected = check_deletion("get", ids, where)
        found = {row["id"]: row for row in self._select(selected, where, FIELDS)}
        if selected is None:
            ordered = sorted(found.values(), key=lambda row: int(row["row"]))
        else:
            ordered = [found[name] for name in selected if name in found]
        return list(StoredPassages([passage_fields(row) for row in ordered]))

    def count(self, where: Where | None = None) -> int:
        """Return the number of passages that match ``where``, or of all."""
        self._check_open()
        condition = self._compile(where)
        if not self._collections.load(self._names.passages):
            return 0
        return count_rows(self._server, self._names.passages, condition, _STRONG)

    def __iter__(self) -> Iterator[Passage]:
        """Yield all passages, in the order of storing."""
        for batch, _ in self._read_pages(BATCH, vectors=False):
            yield from (passage for passage, _ in batch)

    def search_fused(
        self,
        query: str,
        *,
        k: int = 10,
        depth: int = 100,
        where: Where | None = None,
        vector: Vectors | None = None,
        dense_weight: float | None = None,
    ) -> list[tuple[Passage, float]]:
        """Search both legs in one request that Milvus fuses, instead of a `Retriever`.

        It saves round trips. Scores are Milvus's: they aren't completed, and can't be explained.

        Args:
            query: The query.
            k: How many passages to return.
            depth: How many candidates each leg proposes.
            where: A filter.
            vector: The query's vector (dim,), encoded and adapted if not passed.
            dense_weight: The weight of the dense leg, from 0 to 1, in a sum of scaled scores. None
                fuses by reciprocal ranks (k = 60).

        Returns:
            Passages with their fused scores, best first.

        Raises:
            QueryError: A leg is missing, or passages have windows, which Milvus can't fuse.
        """
        check_integer("k", k, 1, MAX_RESULTS)
        check_integer("depth", depth, 1, MAX_RESULTS)
        if dense_weight is not None:
            check_number("dense_weight", dense_weight, 0, 1)
        node = parse_filter(where) if where is not None else None
        with self.open_search() as scope:
            session = cast(MilvusSession, scope.session)
            if len(scope.capabilities.modes) < len(MODES):
                raise QueryError("search_fused needs both legs: use a Retriever")
            if vector is None:
                vector = scope.encode_queries([query])[0]
            found = session.search_fused(query, vector, (k, max(depth, k)), node, dense_weight)
            passages = session.fetch(found.keys).passages
        return list(zip(passages, found.scores.tolist(), strict=True))

    # Writing

    def delete(self, ids: Iterable[str] | None = None, *, where: Where | None = None) -> int:
        """Delete passages that satisfy ``ids``, ``where`` or both, if passed; return how many.

        Unknown ids are ignored.

        Raises:
            InputError: Neither ``ids`` nor ``where`` is passed.
            FilterError: The filter is invalid, or beyond the server's version.
        """
        selected = check_deletion("delete", ids, where)
        self._check_writable()
        rows = list(self._select(selected, where, PARTS))
        for start in range(0, len(rows), KEYS_PER_QUERY):
            some = [row["key"] for row in rows[start : start + KEYS_PER_QUERY]]
            self._server.call("delete", self._names.passages, ids=some)
        self._delete_windows(window_keys(rows))
        if rows:
            self._count_generation()
        return len(rows)

    def reindex(self, index_type: IndexType | Auto | str) -> "Auto | Flat | HNSW | IVF":
        """Change how the dense leg is searched. No search is answered until it is built.

        Args:
            index_type: ``Flat()``, ``HNSW(...)``, ``IVF(...)``, ``Auto()`` or their names.

        Returns:
            The index type in use.
        """
        self._check_writable()
        if isinstance(index_type, str):
            index_type = index_type_from_name(index_type)
        kind = check_index_type(self._server, index_type)
        settings = _with_index_type(self._collections.read_state(_STRONG).settings, kind)
        # What is stopped in between says of no approximate index that it is exact.
        if not isinstance(kind, Flat):
            self._write_index_type(kind)
        self._collections.change_index(settings)
        if isinstance(kind, Flat):
            self._write_index_type(kind)
        self._collections.load_all()
        self._latest = self._collections.read_state(_STRONG)
        return kind

    def _write_index_type(self, kind: "Auto | Flat | HNSW | IVF") -> None:
        state = self._collections.read_state(_STRONG)
        settings = _with_index_type(state.settings, kind)
        self._collections.write_content(replace(state, settings=settings))
        self._count_generation()

    def close(self) -> None:
        """Close the connection."""
        self._server.close()

    def __repr__(self) -> str:
        return f"MilvusBackend({self._server.label!r}, collection={self.collection!r})"

    # Moving, by `twofold.backends.moving`

    def write_settings(self, settings: IndexSettings, adapters: Mapping[str, bytes]) -> None:
        """Replace the settings and the query adapters; the index type stays."""
        self._check_writable()
        state = self._collections.read_state(_STRONG)
        written = replace(settings, index_type=state.settings.index_type)
        self._collections.write_content(replace(state, settings=written, adapters=adapters))
        self._count_generation()
        self._finish_upsert(0)

    def change_saved(self, update: SavedUpdate) -> None:
        """Make one change of the newest settings and query adapters, for `profiles`.

        Of two clients that do so at the same time, the last one wins.
        """
        self._check_writable()
        state = self._collections.read_state(_STRONG)
        made = update(state.settings, state.vector_set)
        kept = {name: data for name, data in state.adapters.items() if name not in made.deleted}
        changed = replace(state, settings=made.settings, adapters={**kept, **made.written})
        if changed != state:
            self._collections.write_content(changed)
            self._count_generation()

    def read_batches(self, size: int = BATCH) -> Iterator[tuple[Batch, GivenVectors]]:
        """Yield all passages with their metadata as JSON, and their vectors."""
        yield from self._read_pages(size, vectors=True)

    def _read_pages(self, size: int, *, vectors: bool) -> Iterator[tuple[Batch, GivenVectors]]:
        """Yield passages in the order of storing, and their vectors if asked for."""
        self._check_open()
        state = self._collections.read_state(_STRONG)
        if not self._collections.load(self._names.passages):
            return
        names = self._names.passages
        listed = query_all(self._server, names, "", ["row", "key"], _STRONG)
        ordered = sorted((row["row"], row["key"]) for row in listed)
        for start in range(0, len(ordered), size):
            keys = [key for _, key in ordered[start : start + size]]
            rows = query_keys(self._server, names, keys, FIELDS, _STRONG)
            found = sorted(rows, key=lambda row: int(row["row"]))
            by_row: dict[int, PassageVectors] = {}
            if vectors and state.vector_set is not None:
                by_row = self._read_vectors(state, {row["key"]: row["row"] for row in found})
            passages = StoredPassages([passage_fields(row) for row in found])
            yield (
                [(passages[at], row["metadata"]) for at, row in enumerate(found)],
                [by_row.get(row["row"]) for row in found],
            )

    # Storing

    def _read_state(self) -> StoredState:
        self._latest = self._collections.read_state(_STRONG)
        return self._latest

    def _check_storable(self, batch: Batch) -> None:
        check_storable(batch)

    def _finish_upsert(self, changed: int) -> None:
        """Make Milvus Lite index many new passages, which it would do anew for each search.

        Its statistics are those of the passages that one call wrote.
        """
        del changed  # those of a push are stored by several calls
        if self._server.is_lite and self._unflushed >= _LITE_SEGMENT:
            for name in (self._names.passages, self._names.windows):
                if self._collections.load(name):
                    self._server.call("flush", name)
            self._unflushed = 0

    def _try_store(
        self, batch: Batch, given: GivenVectors | None, prepared: Preparation
    ) -> StoredBatch | Unprepared:
        state = self._read_state()
        rows_before = self._read_stored(batch)
        stored = {name: StoredPassage(*passage_fields(row)) for name, row in rows_before.items()}
        keys = {row["row"]: row["key"] for row in rows_before.values()}

        def read(rows: Sequence[int]) -> Mapping[int, PassageVectors]:
            if state.vector_set is None:
                return {}
            return self._read_vectors(state, {keys[row]: row for row in rows})

        dense = state.settings.dense
        plan = plan_batch(batch, given, stored, read, dense=dense)
        if not plan.changed:
            return StoredBatch(0, 0, 0, 0)
        if prepared.lacks(plan, state, given=given is not None):
            return Unprepared(plan, state)
        vectors = select_vectors(batch, plan, prepared, given) if dense else {}
        state = self._ensure_collections(state, prepared, vectors, needed=len(plan.changed))
        replaced = [rows_before[passage.id] for passage in plan.replaced.values()]
        self._write_rows(state, batch, plan, prepared, vectors, replaced)
        self._unflushed += len(plan.changed)
        self._count_generation()
        return count_stored(batch, plan, list(vectors), given=given is not None, dense=dense)

    def _ensure_collections(
        self,
        state: StoredState,
        prepared: Preparation,
        vectors: Mapping[int, PassageVectors],
        *,
        needed: int,
    ) -> StoredState:
        """Create the collection of passages and store the vector set, before the first ones."""
        if state.vector_set is None and prepared.vector_set is not None:
            first, record = prepared.vector_set
            dim = next(iter(vectors.values())).vectors.shape[1] if vectors else first.dim
            settings = replace(state.settings, metric=first.metric, dim=dim)
            self._collections.write_content(replace(state, settings=settings, vector_set=record))
            state = self._collections.read_state(_STRONG)
            if state.vector_set is None or state.vector_set.identity != record.identity:
                raise IndexMismatchError(
                    "another client has stored the first vectors, of another encoder, at the same "
                    "time: open the index again"
                )
        settings = state.settings
        if settings.dense and settings.dim is None:
            raise InputError(
                f"Milvus needs the vectors' dimensions before the first passage: pass dim=, or "
                f"passages with a text among the first {needed}"
            )
        if settings.dense and settings.metric is None:
            settings = replace(settings, metric=Metric.COSINE)
        self._collections.create_passages(settings)
        flags: dict[str, str] = {}
        if any(len(each) > 1 for each in vectors.values()):
            self._collections.create_windows(settings)
            if not state.has_windows:
                flags["windows"] = "1"
        if settings.dense and len(vectors) < needed and not state.has_vectorless:
            flags["vectorless"] = "1"
        lengths = [
            float(np.linalg.norm(each.vectors.astype(np.float64), axis=1).max())
            for each in vectors.values()
        ]
        if lengths and max(lengths) > state.longest:
            flags["longest"] = repr(max(lengths))
        if flags:
            self._collections.set_flags(flags)
            state = self._collections.read_state(_STRONG)
        return state

    def _write_rows(
        self,
        state: StoredState,
        batch: Batch,
        plan: BatchPlan,
        prepared: Preparation,
        vectors: Mapping[int, PassageVectors],
        replaced: Sequence[Mapping[str, Any]],
    ) -> None:
        """Store windows, then the passages, then delete the windows of replaced passages."""
        dim = state.settings.dim or 2
        rows = self._numbers.take(len(plan.changed))
        passages: list[dict[str, Any]] = []
        windows: list[dict[str, Any]] = []
        for at, position in enumerate(plan.changed):
            passage, metadata = batch[position]
            found = vectors.get(position)
            terms = prepared.terms[position]
            passages.append(passage_row(passage, metadata, rows[at], terms, found, dim))
            if found is not None and len(found) > 1:
                windows += window_rows(passage, metadata, rows[at], found, dim)
        # Milvus Lite takes one write at a time.
        with self._writing if self._server.is_lite else nullcontext():
            send(self._server, self._names.windows, windows)
            send(self._server, self._names.passages, passages)
            self._delete_windows(window_keys(replaced))

    def _delete_windows(self, parts: Sequence[str]) -> None:
        """Delete windows by their primary keys."""
        if not parts or not self._collections.load(self._names.windows):
            return
        for start in range(0, len(parts), KEYS_PER_QUERY):
            some = list(parts[start : start + KEYS_PER_QUERY])
            self._server.call("delete", self._names.windows, ids=some)

    def _count_generation(self) -> None:
        self._collections.set_flags({"generation": str(time.time_ns())})

    def _read_stored(self, batch: Batch) -> dict[str, dict[str, Any]]:
        """Return the rows that are stored under the ids of a batch, by id."""
        if not self._collections.load(self._names.passages):
            return {}
        keys = [hash_id(passage.id) for passage, _ in batch]
        fields = [*FIELDS, "parts"]
        rows = query_keys(self._server, self._names.passages, keys, fields, _STRONG)
        return {row["id"]: row for row in rows}

    def _read_vectors(
        self, state: StoredState, rows_by_key: Mapping[str, int]
    ) -> dict[int, PassageVectors]:
        windows = state.has_windows and self._collections.load(self._names.windows)
        found = read_vectors(self._server, self._names, rows_by_key, _STRONG, windows=windows)
        return dict(found.by_passage())

    def _select(
        self, ids: list[str] | None, where: Where | None, fields: Sequence[str]
    ) -> Iterator[dict[str, Any]]:
        """Yield the rows that satisfy ids and filter."""
        self._check_open()
        condition = self._compile(where)
        if not self._collections.load(self._names.passages):
            return iter(())
        names = self._names.passages
        if ids is None:
            return query_all(self._server, names, condition, fields, _STRONG)
        keys = [hash_id(name) for name in dict.fromkeys(ids)]
        return query_keys(self._server, names, keys, fields, _STRONG, condition)

    def _compile(self, where: Where | None) -> str:
        if where is None:
            return ""
        compiler = FilterCompiler(self._server.name, has_infix=self._server.has_infix)
        return compiler.compile(parse_filter(where))


def _with_index_type(settings: IndexSettings, kind: IndexType | Auto) -> IndexSettings:
    return replace(settings, index_type=json.dumps(index_type_as_dict(kind)))
