"""The collections of a `MilvusBackend`: passages, windows of long passages, and settings.

Milvus has no transactions. A passage is written after its windows, and windows whose number differs
from that of their passage are ignored. Settings are written under the hash of their content, before
the row that names it.
"""

import base64
import json
import math
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import xxhash
from pymilvus import DataType, Function, FunctionType, MilvusClient

from twofold.backends.milvus.filters import MAX_TOKENS, TOKEN_LENGTH
from twofold.backends.milvus.server import Server
from twofold.backends.milvus.terms import MAX_TEXT
from twofold.dense import HNSW, IVF, Auto, Flat, IndexType, PassageVectors
from twofold.dense.index_types import index_type_from_dict
from twofold.errors import (
    BackendError,
    CorruptIndexError,
    IndexMismatchError,
    InputError,
    UnsupportedStorageError,
)
from twofold.lexical import BM25
from twofold.similarity import Metric
from twofold.storage import IndexSettings, VectorSetRecord

VERSION = 1
"""Number of the collections' version. Raise it when they change."""
MAX_DIM = 32_768
"""Dimensions up to which Milvus stores vectors."""
MAX_RESULTS = 16_384
"""The most results of one search."""
MAX_EFFORT = 32_768
"""The largest width of a search in a graph."""
SAMPLE = 1_000
"""Passages drawn at random for statistics of all."""
_NO_VECTOR = 2  # dimensions of the vectors that a collection must have, without a dense leg
_CHUNK = 60_000  # characters of one row of settings
_LITE_TYPES = ("FLAT", "HNSW", "IVF_FLAT", "AUTOINDEX")
_TYPES = Auto | Flat | HNSW | IVF


@dataclass(frozen=True, slots=True)
class Names:
    """The names of the collections."""

    passages: str

    @property
    def windows(self) -> str:
        """The collection of the windows of long passages."""
        return f"{self.passages}_windows"

    @property
    def state(self) -> str:
        """The collection of settings."""
        return f"{self.passages}_state"


@dataclass(frozen=True, slots=True)
class Sample:
    """Passages drawn at random, for statistics that Milvus doesn't compute.

    Attributes:
        generation: The generation that they are of.
        ids: Their ids by row.
        vectors: Their vectors.
    """

    generation: int
    ids: dict[int, str]
    vectors: PassageVectors


@dataclass(frozen=True, slots=True)
class StoredState:
    """The settings, and what is known of all passages.

    Attributes:
        generation: A number that changes with every write.
        settings: The settings.
        vector_set: The record of the vectors' encoder, None before the first vectors.
        adapters: The query adapters' files, by name.
        has_windows: Whether a passage may have windows.
        has_vectorless: Whether a passage may have no vector.
        longest: The length of the longest vector, at least.
        hash: The hash of the settings as stored.
    """

    generation: int
    settings: IndexSettings
    vector_set: VectorSetRecord | None
    adapters: Mapping[str, bytes] = field(default_factory=dict)
    has_windows: bool = False
    has_vectorless: bool = False
    longest: float = 0.0
    hash: str = ""

    @property
    def index_type(self) -> _TYPES:
        """How the dense leg is searched."""
        kind = index_type_from_dict(json.loads(self.settings.index_type))
        return kind if isinstance(kind, _TYPES) else Auto()

    @property
    def metric(self) -> Metric:
        """The similarity of vectors."""
        assert self.settings.metric is not None  # of an index with vectors
        return self.settings.metric


def check_index_type(server: Server, kind: object) -> _TYPES:
    """Return an index type that Milvus offers; raise InputError for another one."""
    if not isinstance(kind, _TYPES):
        raise InputError(
            f"{server.name} has the index types Flat(), HNSW(), IVF() and Auto(), got {kind!r}: "
            "pass one of them"
        )
    return kind


def is_exact(server: Server, kind: IndexType | Auto) -> bool:
    """Return whether searches of an index type compare all vectors."""
    return isinstance(kind, Flat) or (server.is_lite and isinstance(kind, Auto))


def search_parameters(kind: _TYPES, metric: Metric, k: int, effort: float) -> dict[str, Any]:
    """Return the parameters of a search for ``k`` vectors."""
    parameters: dict[str, Any] = {}
    if isinstance(kind, HNSW):
        parameters["ef"] = min(max(round(kind.search_effort * effort), k), MAX_EFFORT)
    elif isinstance(kind, IVF):
        lists = kind.lists or _LISTS
        probes = kind.probes or max(lists // 8, 1)
        parameters["nprobe"] = min(max(round(probes * effort), 1), lists)
    return {"metric_type": metric_name(metric), "params": parameters}


_LISTS = 1_024


def metric_name(metric: Metric) -> str:
    """Return Milvus's name of a metric. Vectors under cosine are stored with unit length."""
    return "L2" if metric is Metric.EUCLIDEAN else "IP"


def as_score(metric: Metric, distance: float) -> float:
    """Return a distance as Milvus gives it as a score."""
    if metric is Metric.EUCLIDEAN:
        return -math.sqrt(max(distance, 0.0))
    return min(max(distance, -1.0), 1.0) if metric is Metric.COSINE else distance


class Collections:
    """Creates and reads the collections of one index.

    Args:
        server: The server.
        names: The collections' names.
        shards: Over how many shards the passages are spread.
        replicas: How many copies are loaded for queries.
    """

    def __init__(self, server: Server, names: Names, shards: int, replicas: int) -> None:
        self.names = names
        self._server = server
        self._shards, self._replicas = shards, replicas
        self._ready: set[str] = set()
        self._read: StoredState | None = None
        self.sample: Sample | None = None

    def exist(self) -> bool:
        """Return whether the index is there; raise IndexMismatchError for another collection."""
        if self._server.call("has_collection", self.names.state) and self.load(self.names.state):
            return "content" in self._query_state(["content"], "Strong")
        if self._server.call("has_collection", self.names.passages):
            raise IndexMismatchError(
                f"the collection {self.names.passages!r} was made by another program: pass "
                "another collection, which is created"
            )
        return False

    def create_state(self, settings: IndexSettings) -> None:
        """Create the collection of settings for an index without passages."""
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("name", DataType.VARCHAR, max_length=256, is_primary=True)
        schema.add_field("value", DataType.VARCHAR, max_length=MAX_TEXT)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=_NO_VECTOR)
        if not self._server.call("has_collection", self.names.state):
            self._create(self.names.state, schema, _state_index(), shards=1)
        self.load(self.names.state)
        if "content" not in self._query_state(["content"], "Strong"):
            self.set_flags({"generation": str(time.time_ns())})
            self.write_content(StoredState(0, settings, None))  # from here on, it exists

    def load(self, name: str) -> bool:
        """Load a collection for queries, once; return False if there is none."""
        if name in self._ready:
            return True
        if not self._server.call("has_collection", name):
            return False
        if not self._server.call("list_indexes", name):  # its creation was interrupted
            self._create_index(name)
        self._server.call("load_collection", name, replica_number=self._replicas)
        self._ready.add(name)
        return True

    def _create_index(self, name: str) -> None:
        """Create the indexes of a collection that has none."""
        if name == self.names.state:
            parameters = _state_index()
        else:
            assert self._read is not None  # the settings are read first
            parameters = self._vector_index(self._read.settings)
            if name == self.names.passages:
                self._add_word_index(parameters, self._read.settings)
        self._server.call("create_index", name, index_params=parameters, sync=False)

    def create_passages(self, settings: IndexSettings) -> None:
        """Create the collection of passages, unless it is there."""
        if self.load(self.names.passages):
            return
        schema = self._searchable_schema(settings)
        for name in ("id", "title", "body", "metadata", "terms"):
            options: dict[str, Any] = {"max_length": MAX_TEXT}
            if name == "terms" and settings.analyzer is not None:
                # Matches are counted for explanations.
                options |= {"enable_analyzer": True, "enable_match": True}
                options["analyzer_params"] = {"tokenizer": "standard"}
            schema.add_field(name, DataType.VARCHAR, **options)
        schema.add_field("parts", DataType.INT32)
        parameters = self._vector_index(settings)
        if settings.analyzer is not None:
            schema.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR)
            schema.add_function(
                Function(
                    name="bm25",
                    function_type=FunctionType.BM25,
                    input_field_names=["terms"],
                    output_field_names=["sparse"],
                )
            )
        self._add_word_index(parameters, settings)
        self._create(self.names.passages, schema, parameters, self._shards)

    def _add_word_index(self, parameters: Any, settings: IndexSettings) -> None:
        if settings.analyzer is None:
            return
        scorer = BM25()
        parameters.add_index(
            "sparse",
            index_type="SPARSE_INVERTED_INDEX",
            metric_type="BM25",
            params=self._index_options({"bm25_k1": scorer.k1, "bm25_b": scorer.b}),
        )

    def create_windows(self, settings: IndexSettings) -> None:
        """Create the collection of windows, unless it is there."""
        if self.load(self.names.windows):
            return
        schema = self._searchable_schema(settings, primary="part")
        self._create(self.names.windows, schema, self._vector_index(settings), self._shards)

    def _searchable_schema(self, settings: IndexSettings, primary: str = "key") -> Any:
        """Return the fields of vectors and filters, with a primary key of this name."""
        dim = settings.dim or _NO_VECTOR
        if dim > MAX_DIM:
            raise InputError(
                f"Milvus stores vectors of at most {MAX_DIM:,} dimensions, got {dim:,}: pass an "
                "encoder of fewer"
            )
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field(primary, DataType.VARCHAR, max_length=64, is_primary=True)
        if primary != "key":
            schema.add_field("key", DataType.VARCHAR, max_length=64)
        schema.add_field("row", DataType.INT64)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dim)
        schema.add_field("span", DataType.VARCHAR, max_length=64)
        schema.add_field(
            "tokens",
            DataType.ARRAY,
            element_type=DataType.VARCHAR,
            max_capacity=MAX_TOKENS,
            max_length=TOKEN_LENGTH,
        )
        schema.add_field("values", DataType.JSON)
        return schema

    def _vector_index(self, settings: IndexSettings) -> Any:
        state = StoredState(0, settings, None)
        parameters = MilvusClient.prepare_index_params()
        kind = state.index_type if settings.dense else Flat()
        metric = metric_name(settings.metric) if settings.metric is not None else "IP"
        options: dict[str, Any] = {}
        name = {Auto: "AUTOINDEX", Flat: "FLAT", HNSW: "HNSW", IVF: "IVF_FLAT"}[type(kind)]
        if isinstance(kind, HNSW):
            options = {"M": kind.links, "efConstruction": kind.build_effort}
        elif isinstance(kind, IVF):
            options = {"nlist": kind.lists or _LISTS}
        options = self._index_options(options)
        parameters.add_index("vector", index_type=name, metric_type=metric, params=options)
        return parameters

    def _index_options(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return an index's options as the server reads them; Milvus Lite expects them nested."""
        return {"params": options} if self._server.is_lite and options else options

    def _create(self, name: str, schema: Any, parameters: Any, shards: int) -> None:
        self._server.call(
            "create_collection",
            name,
            schema=schema,
            num_shards=shards,
            consistency_level="Session",
        )
        # Waiting for the index of an empty collection would take a pause of half a second.
        self._server.call("create_index", name, index_params=parameters, sync=False)
        self._server.call("load_collection", name, replica_number=self._replicas)
        self._ready.add(name)

    def change_index(self, settings: IndexSettings) -> None:
        """Build the index over all vectors that the settings ask for."""
        for name in (self.names.passages, self.names.windows):
            if not self._server.call("has_collection", name):
                continue
            self._ready.discard(name)
            self._server.call("release_collection", name)
            for index in self._server.call("list_indexes", name, field_name="vector"):
                self._server.call("drop_index", name, index_name=index)
            parameters = self._vector_index(settings)
            if name == self.names.passages and not self._server.call(
                "list_indexes", name, field_name="sparse"
            ):  # Milvus Lite drops all
                self._add_word_index(parameters, settings)
            self._server.call("create_index", name, index_params=parameters)

    def load_all(self) -> None:
        """Load the collections of passages and windows for queries."""
        for name in (self.names.passages, self.names.windows):
            self.load(name)

    # Settings

    def read_state(self, consistency: str, tries: int = 5) -> StoredState:
        """Return the settings and flags.

        Raises:
            CorruptIndexError: They are missing or damaged.
            UnsupportedStorageError: They are of a later version.
        """
        names = ["content", "generation", "windows", "vectorless", "longest"]
        self.load(self.names.state)
        rows = self._query_state(names, consistency)
        if "content" not in rows or "generation" not in rows:
            raise CorruptIndexError(
                f"the collection {self.names.state!r} has no settings: restore it from a backup"
            )
        pointer = json.loads(rows["content"])
        if pointer["version"] > VERSION:
            raise UnsupportedStorageError(
                f"the collections have version {pointer['version']}, but this version of twofold "
                f"reads version {VERSION}: upgrade twofold"
            )
        known = self._read
        if known is None or known.hash != pointer["hash"]:
            read = self._read_content(pointer["hash"], pointer["parts"])
            if read is None:  # replaced by another client since the pointer was read
                if tries > 1:
                    return self.read_state("Strong", tries - 1)
                raise BackendError(
                    f"the settings in {self.names.state!r} change again and again while they are "
                    "read: try again later"
                )
            known = read
        state = replace(
            known,
            generation=int(rows["generation"]),
            has_windows="windows" in rows,
            has_vectorless="vectorless" in rows,
            longest=float(rows.get("longest", "0")),
        )
        self._read = state
        return state

    def write_content(self, state: StoredState) -> None:
        """Write settings, vector set and adapters; flags are left alone."""
        content: dict[str, Any] = {
            "settings": state.settings.to_json(),
            "vector_set": None,
            "adapters": {name: _to_base64(data) for name, data in state.adapters.items()},
        }
        if state.vector_set is not None:
            record = state.vector_set
            content["vector_set"] = [record.number, record.identity, _to_base64(record.canaries)]
        text = json.dumps(content)
        # Equal settings written twice are two versions, so that deleting one keeps the other.
        digest = f"{xxhash.xxh3_128_hexdigest(text.encode())}-{secrets.token_hex(4)}"
        parts = [text[start : start + _CHUNK] for start in range(0, len(text), _CHUNK)]
        self.set_flags({f"{digest}.{at}": part for at, part in enumerate(parts)})
        pointer = {"version": VERSION, "hash": digest, "parts": len(parts)}
        self.set_flags({"content": json.dumps(pointer)})
        if state.hash and state.hash != digest:
            self._server.call("delete", self.names.state, filter=f'name like "{state.hash}.%"')

    def set_flags(self, values: Mapping[str, str]) -> None:
        """Write rows of the collection of settings."""
        rows = [
            {"name": name, "value": value, "vector": [0.0] * _NO_VECTOR}
            for name, value in values.items()
        ]
        for row in rows:  # a request of several large rows may be too large
            self._server.call("upsert", self.names.state, [row])

    def _read_content(self, digest: str, parts: int) -> StoredState | None:
        """Return a version of the settings, None if it is gone."""
        names = [f"{digest}.{at}" for at in range(parts)]
        rows = self._query_state(names, "Strong")
        text = "".join([rows.get(name, "") for name in names])
        if xxhash.xxh3_128_hexdigest(text.encode()) != digest.partition("-")[0]:
            return None
        content = json.loads(text)
        record = None
        if content["vector_set"] is not None:
            number, identity, canaries = content["vector_set"]
            record = VectorSetRecord(number, identity, base64.b64decode(canaries), 1)
        adapters = {name: base64.b64decode(data) for name, data in content["adapters"].items()}
        settings = IndexSettings.from_json(content["settings"])
        return StoredState(0, settings, record, adapters, hash=digest)

    def _query_state(self, names: list[str], consistency: str) -> dict[str, str]:
        joined = ", ".join(f'"{name}"' for name in names)
        found = self._server.call(
            "query",
            self.names.state,
            filter=f"name in [{joined}]",
            output_fields=["name", "value"],
            consistency_level=consistency,
        )
        return {row["name"]: row["value"] for row in found}


def _to_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _state_index() -> Any:
    parameters = MilvusClient.prepare_index_params()
    parameters.add_index("vector", index_type="FLAT", metric_type="IP")
    return parameters
