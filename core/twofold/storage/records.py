"""The rows of the catalog's tables, each with the checksum of its content."""

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from twofold.errors import CorruptIndexError
from twofold.similarity import Metric
from twofold.storage.checksum import content_hash, passage_checksum, row_checksum
from twofold.types import EncoderIdentity, Passage, Rows

FORMAT = 3


@dataclass(frozen=True, slots=True)
class Settings:
    """What was chosen when the index was made; ``dim`` and ``metric`` may follow later.

    ``encoder`` is the name to find the model by, None for caller's vectors or no dense leg;
    ``named`` tells whether that name can be looked up again. ``analyzer`` is a language or an
    import path, None for no lexical leg; ``analyzer_signature`` tells what terms it gave, and the
    terms of titles count ``title_weight`` times. ``kind`` is the dense leg's kind as JSON.
    ``agreement`` of the legs was measured when there were ``agreement_of`` passages, 0 for never;
    it is None where too little was there to measure; ``agreement_encoded`` tells whether an encoder
    took part, and ``agreement_changed`` how many passages came, went or changed since.

    ``saved`` has settings of searches by name, as JSON, and ``active`` is the name of the one in
    use, None for the library's defaults, under which titles weigh ``own_title_weight``.
    ``adapters`` has by name, as JSON, the hash of each saved query adapter's file, and the number
    of the vector set that it was learned for.
    """

    format: int = FORMAT
    dense: bool = True
    encoder: str | None = None
    named: bool = False
    dim: int | None = None
    metric: Metric | None = None
    analyzer: str | None = None
    analyzer_version: int = 0
    analyzer_signature: str = ""
    title_weight: int = 1
    kind: str = '{"kind": "auto"}'
    saved: str = "{}"
    active: str | None = None
    own_title_weight: int | None = None
    agreement: float | None = None
    agreement_of: int = 0
    agreement_encoded: bool = False
    agreement_changed: int = 0
    adapters: str = "{}"

    def to_json(self) -> str:
        """Return the settings as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Settings":
        """Return the settings that ``to_json`` gave."""
        values = json.loads(text)
        metric = values.pop("metric")
        return cls(**values, metric=Metric(metric) if metric is not None else None)


@dataclass(frozen=True, slots=True)
class State:
    """Counters of one generation; ``digest`` is the sum of all passages' checksums, mod 2**64.

    ``segments`` and ``vectors`` (dead ones included) tell whether one of them got lost.
    """

    generation: int = 0
    next_row: int = 0
    next_file: int = 1
    passages: int = 0
    segments: int = 0
    vectors: int = 0
    digest: int = 0


PassageFields = tuple[int, str, str, str, str, bytes]
"""The fields of a StoredPassage, before one is made of them."""


@dataclass(frozen=True, slots=True)
class StoredPassage:
    """One row of the passages table; ``content`` is the hash of what encoders see."""

    row: int
    id: str
    title: str
    text: str
    metadata: str
    content: bytes

    @classmethod
    def of(cls, row: int, passage: Passage, metadata: str) -> "StoredPassage":
        """Return ``passage``, checked before, as a row."""
        content = content_hash(passage.content.encode())
        return cls(row, passage.id, passage.title, passage.text, metadata, content)

    @property
    def encoded_text(self) -> str:
        """What encoders see; empty if there are no words."""
        return f"{self.title} {self.text}".strip()

    @property
    def checksum(self) -> int:
        """The checksum of all fields."""
        return passage_checksum(
            self.row, self.id, self.title, self.text, self.metadata, self.content
        )

    def to_passage(self) -> Passage:
        """Decode the row."""
        return Passage(
            text=self.text, id=self.id, title=self.title, metadata=json.loads(self.metadata)
        )


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    """One segment of a leg: rows from ``first`` to ``last``, in a file or in ``blob``."""

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
        """The checksum of all fields but the blob, which has its own hash."""
        return row_checksum(
            self.number, self.leg, self.first, self.last, self.rows, self.file, self.size, self.hash
        )


@dataclass(frozen=True, slots=True)
class BlockRecord:
    """A run of vectors in a file: ``count`` from place ``first``, of these rows."""

    number: int
    vector_set: int
    file: str
    first: int
    count: int
    rows_data: bytes
    hash: bytes

    @property
    def rows(self) -> Rows:
        """The rows of the vectors, ascending."""
        return np.frombuffer(self.rows_data, "<u4").astype(np.int64)

    @property
    def checksum(self) -> int:
        """The checksum of all fields."""
        return row_checksum(
            self.number,
            self.vector_set,
            self.file,
            self.first,
            self.count,
            self.rows_data,
            self.hash,
        )


@dataclass(frozen=True, slots=True)
class VectorSetRecord:
    """The vectors of one encoder; ``canaries`` are float32 vectors of fixed sentences.

    ``active`` is 1 for the set that is searched, 0 for one that is still being filled.
    """

    number: int
    identity: str
    canaries: bytes
    active: int

    @property
    def checksum(self) -> int:
        """The checksum of all fields."""
        return row_checksum(self.number, self.identity, self.canaries, self.active)

    def to_identity(self) -> EncoderIdentity | None:
        """Decode the encoder's identity, None where it has none."""
        values: dict[str, Any] | None = json.loads(self.identity)
        if values is None:
            return None
        return EncoderIdentity(**{**values, "metric": Metric(values["metric"])})


def values(record: Any) -> tuple[Any, ...]:
    """Return a record's fields, as its table has them."""
    return tuple(getattr(record, name) for name in record.__slots__)


def rows_data(rows: Rows) -> bytes:
    """Return row numbers as stored: u32, little-endian."""
    return rows.astype("<u4").tobytes()


def verified(what: str, given: int, record: Any) -> Any:
    """Return ``record`` if its checksum is the stored one, else raise CorruptIndexError."""
    if record.checksum != given:
        raise not_as_written(what)
    return record


def not_as_written(what: str) -> CorruptIndexError:
    """Return the error for a row whose checksum is not the stored one."""
    return CorruptIndexError(
        f"{what} in the catalog is not what was written: restore the index from a copy"
    )


APPLICATION_ID = 0x32464C44  # "2FLD", so that no other SQLite file is taken for a catalog

SCHEMA = (
    "CREATE TABLE settings (value TEXT NOT NULL, checksum INTEGER NOT NULL)",
    """CREATE TABLE state (
        generation INTEGER NOT NULL, next_row INTEGER NOT NULL, next_file INTEGER NOT NULL,
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
