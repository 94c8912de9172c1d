"""Shards: the vectors of some passages, and the pure function that encodes them."""

import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from twofold.dense import PassageVectors
from twofold.errors import CorruptIndexError
from twofold.index.encoder_binding import EncoderBinding
from twofold.index.passage_encoding import encode_texts
from twofold.protocols import Encoder
from twofold.storage import IndexSettings, VectorSetRecord, pack_arrays, unpack_arrays

_DIGEST = 16  # bytes of the checksum at the end of a shard
_UNKNOWN = "null"  # the identity of an encoder that has none
_KEPT = 2  # encoders that a worker keeps loaded


@dataclass(frozen=True, slots=True)
class Model:
    """The model that encodes, as workers load and check it.

    Attributes:
        settings: The settings with metric, dimensions and windows, as JSON.
        identity: The encoder's identity, as JSON.
        canaries: The encoder's vectors of fixed sentences, which each worker compares.
        encoder: The encoder, None to load it by its name.
    """

    settings: str
    identity: str
    canaries: bytes
    encoder: Encoder | None = None

    @property
    def vector_set(self) -> VectorSetRecord:
        """The record of the vectors' encoder."""
        return VectorSetRecord(1, self.identity, self.canaries, 1)

    @property
    def key(self) -> str:
        """The hash of the model, which tells shards of different models apart."""
        hashed = xxhash.xxh3_128(self.identity.encode())
        settings = IndexSettings.from_json(self.settings)
        chosen = (settings.encoder, settings.metric, settings.dim, settings.windows)
        hashed.update(repr(chosen).encode())
        if self.identity == _UNKNOWN:  # vectors differ in their last bits among machines
            hashed.update(self.canaries)
        return hashed.hexdigest()


@dataclass(frozen=True, slots=True)
class ShardTask:
    """The passages of one shard.

    Attributes:
        number: The shard's number.
        ids: The passages' ids.
        texts: What the encoder reads of each, which may be empty.
        model: The model.
    """

    number: int
    ids: tuple[str, ...]
    texts: tuple[str, ...]
    model: Model

    @property
    def key(self) -> str:
        """The hash of ids, texts and model: equal tasks have equal shards."""
        hashed = xxhash.xxh3_128(self.model.key.encode())
        for text in (*self.ids, *self.texts):
            data = text.encode("utf-8", "surrogatepass")
            hashed.update(len(data).to_bytes(8, "little") + data)
        return hashed.hexdigest()


@dataclass(frozen=True, slots=True)
class Shard:
    """The vectors of some passages.

    Attributes:
        number: The shard's number.
        key: The key of the task that it is the result of.
        ids: The passages' ids.
        vectors: Each passage's vectors as an index stores them, None for one without.
        truncated: How many texts are longer than the encoder reads, and have no windows.
        windowed: How many texts have windows.
    """

    number: int
    key: str
    ids: tuple[str, ...]
    vectors: Sequence[PassageVectors | None]
    truncated: int
    windowed: int

    def to_bytes(self) -> bytes:
        """Return the shard as a file's content, with a checksum at its end."""
        found = [each for each in self.vectors if each is not None]
        dim = found[0].vectors.shape[1] if found else 0
        joined = PassageVectors.concatenate(found, dim)
        notes = {
            "number": self.number,
            "key": self.key,
            "ids": self.ids,
            "truncated": self.truncated,
            "windowed": self.windowed,
        }
        counts = [len(each) if each is not None else 0 for each in self.vectors]
        data = pack_arrays(
            {
                "notes": np.frombuffer(json.dumps(notes).encode(), np.uint8),
                "counts": np.array(counts, np.int64),
                "vectors": joined.vectors,
                "spans": joined.spans if joined.spans is not None else np.empty((0, 4), np.int64),
            }
        )
        return data + xxhash.xxh3_128_digest(data)

    @classmethod
    def from_bytes(cls, content: bytes) -> "Shard":
        """Return the shard of a file's content; raise CorruptIndexError if it is damaged."""
        data, digest = content[:-_DIGEST], content[-_DIGEST:]
        if len(content) < _DIGEST or xxhash.xxh3_128_digest(data) != digest:
            raise CorruptIndexError("a shard is damaged: delete it and run the job again")
        arrays = unpack_arrays(data)
        notes: dict[str, Any] = json.loads(arrays["notes"].tobytes())
        vectors: list[PassageVectors | None] = []
        start = 0
        for count in arrays["counts"].tolist():
            stop = start + count
            spans = arrays["spans"][start:stop] if len(arrays["spans"]) else None
            rows = np.zeros(count, np.int64)
            found = PassageVectors(rows, arrays["vectors"][start:stop], spans)
            vectors.append(found if count else None)
            start = stop
        return cls(
            notes["number"],
            notes["key"],
            tuple(notes["ids"]),
            vectors,
            notes["truncated"],
            notes["windowed"],
        )


_bindings: "OrderedDict[str, EncoderBinding]" = OrderedDict()


def encode_shard(task: ShardTask) -> Shard:
    """Encode the passages of a shard: equal tasks give equal shards.

    The model is loaded once per process, and compared with the one that started the job.

    Raises:
        EncoderMismatchError: The model is another one here than where the job was started.
    """
    model = task.model
    settings, vector_set = IndexSettings.from_json(model.settings), model.vector_set
    binding = _bindings.get(model.key)
    if binding is None:
        binding = _bindings[model.key] = EncoderBinding(model.encoder, Path())
        while len(_bindings) > _KEPT:
            _bindings.popitem(last=False)
    distinct = list(dict.fromkeys(text for text in task.texts if text))
    assert settings.metric is not None  # of a started job
    encoded = encode_texts(
        distinct,
        binding.encoder(settings, vector_set),
        lambda some: binding.encode_passages(some, settings, vector_set),
        settings.metric,
        settings.windows,
    )
    by_text = dict(zip(distinct, encoded.vectors, strict=True))
    vectors = [by_text.get(text) for text in task.texts]
    return Shard(task.number, task.key, task.ids, vectors, encoded.truncated, encoded.windowed)
