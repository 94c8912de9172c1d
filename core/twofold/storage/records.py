"""Rows of the catalog's tables, their checksums and the schema."""

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any, cast

import numpy as np
import xxhash
from numpy.typing import NDArray

from twofold.errors import CorruptIndexError
from twofold.similarity import Metric
from twofold.storage.files import content_hash
from twofold.types import EncoderIdentity, Passage, Rows

FORMAT = 6
"""Number of the storage format. Raise it when stored names or bytes change their meaning."""
OLDEST_FORMAT = 5
"""The oldest format that is read. A write changes the index to the present one."""
MAX_TITLE_WEIGHT = 100
"""The most times that a title's terms count."""
MAX_DIM = 65_536
"""The most dimensions of vectors."""
_MAX_PLACE = 1 << 40  # of a vector in its file
_SPAN = 4  # numbers of a span
_FILE_NAME = re.compile(r"[0-9a-f]{16}-[0-9]{10,20}\.[0-9a-z]{1,16}")


def row_checksum(*fields: str | bytes | int | None) -> int:
    """Return a signed 64-bit checksum of a row's fields, including their types and lengths."""
    parts = [
        f"s{len(field)}:{field}"
        if isinstance(field, str)
        else f"b{field.hex()}"
        if isinstance(field, bytes)
        else f"i{field!r}"
        for field in fields
    ]
    digest = xxhash.xxh3_64_intdigest("\0".join(parts).encode())
    return digest - (1 << 64) if digest >> 63 else digest


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """Settings of an index, stored as JSON.

    Attributes:
        format: Storage format.
        dense: Whether the index has a dense leg.
        encoder: Name of the encoder. None for vectors from the caller or without a dense leg.
        named: Whether the encoder can be loaded by that name.
        home: The index's folder when the encoder was named. Models beside it may move with it.
        dim: Dimensions of the vectors, None until they are known.
        metric: Similarity of the vectors, None until it is known.
        analyzer: Language or import path. None without a lexical leg.
        analyzer_version: Version of the analyzer.
        analyzer_fingerprint: Identifies the terms that the analyzer produces.
        title_weight: How many times each term of a title counts.
        index_type: Index type of the dense leg, as JSON.
        profiles: Search profiles by name, as JSON.
        active_profile: Name of the active profile. None for the library's defaults.
        default_title_weight: ``title_weight`` when no profile is active.
        agreement: How well dense and lexical ranking agree, 1.0 at best. None if not measured.
        agreement_passages: Number of passages at the last measurement, 0 without one.
        agreement_encoded: Whether an encoder took part in the measurement.
        agreement_changed: Number of passages added, deleted or changed since the measurement.
        query_adapters: File hash and vector set number of each query adapter, as JSON.
        windows: Tokens of a window of long passages; 0 for no windows, None for the default.
        pending_windows: The same of the vector set that is being filled.
    """

    format: int = FORMAT
    dense: bool = True
    encoder: str | None = None
    named: bool = False
    home: str = ""
    dim: int | None = None
    metric: Metric | None = None
    analyzer: str | None = None
    analyzer_version: int = 0
    analyzer_fingerprint: str = ""
    title_weight: int = 1
    index_type: str = '{"kind": "auto"}'
    profiles: str = "{}"
    active_profile: str | None = None
    default_title_weight: int | None = None
    agreement: float | None = None
    agreement_passages: int = 0
    agreement_encoded: bool = False
    agreement_changed: int = 0
    query_adapters: str = "{}"
    windows: int | None = None
    pending_windows: int | None = None

    def to_json(self) -> str:
        """Return the settings as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    @lru_cache(maxsize=16)  # every commit reads them
    def from_json(cls, text: str) -> "IndexSettings":
        """Return the settings that ``to_json`` wrote; raise CorruptIndexError for other values."""
        try:
            return cls.from_values(json.loads(text))
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise CorruptIndexError(
                f"the settings in the catalog are not valid ({error}): restore the index from a "
                "copy"
            ) from error

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> "IndexSettings":
        """Return the settings of JSON values; raise ValueError or TypeError for wrong ones."""
        metric = values["metric"]
        old = values["format"] == OLDEST_FORMAT
        before = {"windows": 0, "pending_windows": 0} if old else {}
        named = {"metric": Metric(metric) if metric is not None else None}
        settings = cls(**{**before, **values, **named})
        for field in fields(settings):
            value, kind = getattr(settings, field.name), cast(Any, field.type)
            accepted = kind | int if isinstance(value, int) and field.name == "agreement" else kind
            if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
                raise TypeError(f"{field.name} must be {kind}, got {value!r:.80}")
            if isinstance(value, str):
                value.encode()  # raises for half a surrogate pair
        if settings.dim is not None and not 1 <= settings.dim <= MAX_DIM:
            raise ValueError(f"dim must be an integer from 1 to {MAX_DIM:,}, got {settings.dim}")
        weights = {settings.title_weight, settings.default_title_weight or 0}
        if not all(0 <= weight <= MAX_TITLE_WEIGHT for weight in weights):
            raise ValueError(f"title_weight must be an integer from 0 to {MAX_TITLE_WEIGHT}")
        if settings.windows is not None and settings.windows < 0:
            raise ValueError(f"windows must be an integer >= 0, got {settings.windows}")
        for name in ("index_type", "profiles", "query_adapters"):
            records = json.loads(getattr(settings, name))
            if not isinstance(records, dict):
                raise TypeError(f"{name} must be a JSON object, got {records!r:.80}")
            json.dumps(records, ensure_ascii=False).encode()  # raises as above
            if name == "profiles" and settings.active_profile not in (None, *records):
                raise ValueError(f"there is no profile {settings.active_profile!r}")
        for record in records.values():  # of query adapters
            if not isinstance(record["hash"], str) or not isinstance(record["set"], int):
                raise TypeError(f"query_adapters must have hash and set, got {record!r:.80}")
        return settings


@dataclass(frozen=True, slots=True)
class State:
    """Identity and counters of one generation.

    ``identity`` is random and belongs to one folder: a copy gets another one.
    ``segments`` and ``vectors``, which include deleted ones, show whether any were lost.
    ``digest`` is the sum of all passages' checksums, modulo 2**64.
    """

    identity: str = ""
    generation: int = 0
    next_row: int = 0
    next_file: int = 1
    passages: int = 0
    segments: int = 0
    vectors: int = 0
    digest: int = 0


def new_identity() -> str:
    """Return a random identity for a new index: 16 hexadecimal digits."""
    return secrets.token_hex(8)


PassageFields = tuple[int, str, str, str, str, bytes]
"""The fields of a StoredPassage as a tuple."""


@dataclass(frozen=True, slots=True)
class StoredPassage:
    """A row of the passages table. ``content`` is the hash of the text that encoders read."""

    row: int
    id: str
    title: str
    text: str
    metadata: str
    content: bytes

    @classmethod
    def from_passage(cls, row: int, passage: Passage, metadata: str) -> "StoredPassage":
        """Return a valid passage as a row; ``metadata`` is its metadata as JSON."""
        content = content_hash(passage.content.encode())
        return cls(row, passage.id, passage.title, passage.text, metadata, content)

    @property
    def encoded_text(self) -> str:
        """The text that encoders read; may be empty."""
        return f"{self.title} {self.text}".strip()

    @property
    def checksum(self) -> int:
        """The checksum of all fields."""
        return row_checksum(*field_values(self))

    def to_passage(self) -> Passage:
        """Return the row as a Passage; raise CorruptIndexError if its metadata is no object."""
        try:
            metadata = json.loads(self.metadata)
        except (ValueError, RecursionError) as error:
            raise damaged_row_error(f"the metadata of passage {self.id!r}") from error
        if not isinstance(metadata, dict):
            raise damaged_row_error(f"the metadata of passage {self.id!r}")
        return Passage(text=self.text, id=self.id, title=self.title, metadata=metadata)


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    """A segment of a leg: ``rows`` rows from ``first`` to ``last``, in ``file`` or ``blob``."""

    number: int
    leg: str
    first: int
    last: int
    rows: int
    file: str | None
    blob: bytes | None
    size: int
    hash: bytes

    @property
    def checksum(self) -> int:
        """The checksum of all fields except the blob, which has its own hash."""
        return row_checksum(
            self.number, self.leg, self.first, self.last, self.rows, self.file, self.size, self.hash
        )


@dataclass(frozen=True, slots=True)
class BlockRecord:
    """A run of ``count`` vectors in a file from position ``first``, with their encoded rows.

    In ``rows_data``, the spans of all vectors follow the rows if a passage has several vectors.
    """

    number: int
    vector_set: int
    file: str
    first: int
    count: int
    rows_data: bytes
    hash: bytes

    @property
    def is_consistent(self) -> bool:
        """Whether there is a row for each vector, ascending, and spans where rows repeat."""
        sizes = (4 * self.count, 4 * (1 + _SPAN) * self.count)
        if not self.count or len(self.rows_data) not in sizes or self.first >= _MAX_PLACE:
            return False
        steps, spans = np.diff(self.rows), self.spans
        if spans is None:
            return bool((steps > 0).all())
        lengths = np.diff(spans[:, [0, 1]]), np.diff(spans[:, [2, 3]])
        valid = all((length >= 0).all() for length in lengths)
        is_part = lengths[0][:, 0] > 0
        repeated = steps == 0
        return bool(valid and (steps >= 0).all() and (is_part[1:] & is_part[:-1])[repeated].all())

    @property
    def rows(self) -> Rows:
        """The rows of the vectors, ascending."""
        return np.frombuffer(self.rows_data, "<u4", self.count).astype(np.int64)

    @property
    def spans(self) -> NDArray[np.int64] | None:
        """The part of its passage that each vector encodes (n, 4); None if all are whole."""
        if len(self.rows_data) == 4 * self.count:
            return None
        stored = np.frombuffer(self.rows_data, "<u4", offset=4 * self.count)
        return stored.astype(np.int64).reshape(self.count, _SPAN)

    @property
    def checksum(self) -> int:
        """The checksum of all fields."""
        return row_checksum(*field_values(self))


@dataclass(frozen=True, slots=True)
class VectorSetRecord:
    """The vectors of one encoder.

    ``canaries`` are the float32 vectors of fixed sentences. ``active`` is 1 for the set that is
    searched and 0 for a set that is still being filled.
    """

    number: int
    identity: str
    canaries: bytes
    active: int

    @property
    def checksum(self) -> int:
        """The checksum of all fields."""
        return row_checksum(*field_values(self))

    @property
    def is_consistent(self) -> bool:
        """Whether the canaries are vectors, and the identity can be decoded."""
        try:
            self.to_identity()
        except CorruptIndexError:
            return False
        return len(self.canaries) % 16 == 0

    def to_identity(self) -> EncoderIdentity | None:
        """Decode the encoder's identity, None if it has none; raise CorruptIndexError."""
        try:
            values: dict[str, Any] | None = json.loads(self.identity)
            if values is None:
                return None
            identity = EncoderIdentity(**{**values, "metric": Metric(values["metric"])})
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise damaged_row_error("the encoder") from error
        if not has_valid_types(identity):
            raise damaged_row_error("the encoder")
        return identity


def field_values(record: Any) -> tuple[Any, ...]:
    """Return a record's fields in the order of the table's columns."""
    return tuple(getattr(record, name) for name in record.__slots__)


def encode_rows(rows: Rows, spans: NDArray[np.int64] | None = None) -> bytes:
    """Return row numbers, and the spans of vectors if any, as stored: u32, little-endian."""
    data = rows.astype("<u4").tobytes()
    return data if spans is None else data + spans.astype("<u4").tobytes()


def is_file_name(name: str) -> bool:
    """Return whether a vector or segment file can have this name."""
    return _FILE_NAME.fullmatch(name) is not None


def has_valid_types(record: Any) -> bool:
    """Return whether all fields have the declared types; integers are not negative."""
    record_type: Any = type(record)
    for name, kind in _field_types(record_type):
        value = getattr(record, name)
        if not isinstance(value, kind) or isinstance(value, bool):
            return False
        if isinstance(value, int) and not 0 <= value < 1 << 64:
            return False
    return True


@lru_cache(maxsize=16)
def _field_types(record_type: Any) -> tuple[tuple[str, Any], ...]:
    return tuple((field.name, field.type) for field in fields(record_type))


def verify_record(name: str, stored: int, record: Any) -> Any:
    """Return ``record``; raise CorruptIndexError for a wrong checksum, type or file name."""
    file = getattr(record, "file", None)
    valid = has_valid_types(record) and (file is None or is_file_name(file))
    if not valid or record.checksum != stored or not getattr(record, "is_consistent", True):
        raise damaged_row_error(name)
    return record


def damaged_row_error(name: str) -> CorruptIndexError:
    """Return the error for a row with a wrong checksum."""
    return CorruptIndexError(f"{name} in the catalog is damaged: restore the index from a copy")


APPLICATION_ID = 0x32464C44  # "2FLD": identifies SQLite files that are catalogs

SCHEMA = (
    "CREATE TABLE settings (value TEXT NOT NULL, checksum INTEGER NOT NULL)",
    """CREATE TABLE state (
        identity TEXT NOT NULL, generation INTEGER NOT NULL, next_row INTEGER NOT NULL,
        next_file INTEGER NOT NULL,
        passages INTEGER NOT NULL, segments INTEGER NOT NULL, vectors INTEGER NOT NULL,
        digest TEXT NOT NULL, checksum INTEGER NOT NULL)""",
    """CREATE TABLE passages (
        row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, title TEXT NOT NULL, text TEXT NOT NULL,
        metadata TEXT NOT NULL, content BLOB NOT NULL, checksum INTEGER NOT NULL)""",
    "CREATE INDEX passages_content ON passages (content)",
    """CREATE TABLE segments (
        number INTEGER PRIMARY KEY, leg TEXT NOT NULL, first INTEGER NOT NULL,
        last INTEGER NOT NULL, rows INTEGER NOT NULL, file TEXT, blob BLOB,
        size INTEGER NOT NULL, hash BLOB NOT NULL, checksum INTEGER NOT NULL)""",
    """CREATE TABLE vector_sets (
        number INTEGER PRIMARY KEY, identity TEXT NOT NULL, canaries BLOB NOT NULL,
        active INTEGER NOT NULL, checksum INTEGER NOT NULL)""",
    """CREATE TABLE vector_blocks (
        number INTEGER PRIMARY KEY, vector_set INTEGER NOT NULL, file TEXT NOT NULL,
        first INTEGER NOT NULL, count INTEGER NOT NULL, rows BLOB NOT NULL,
        hash BLOB NOT NULL, checksum INTEGER NOT NULL)""",
    """CREATE TABLE tombstones (
        number INTEGER PRIMARY KEY, rows BLOB NOT NULL, checksum INTEGER NOT NULL)""",
)
