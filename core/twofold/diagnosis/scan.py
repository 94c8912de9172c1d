"""Reads all passages of a session once, or a seeded sample of many: sizes, types and vectors."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.backend import Keys, SearchScope
from twofold.filters.mismatches import type_name
from twofold.filters.values import ValueType, encode_value, flatten_metadata
from twofold.storage import content_hash
from twofold.types import Mask, Vectors

LIMIT = 100_000
"""The most passages that are read; of more, this many are drawn."""
_MOST_BYTES = 1 << 29
"""The most bytes of vectors that are read, which are 100,000 vectors of 1,342 dimensions."""
_BATCH = 2_000
_MOST_VALUES = 2_000  # different strings of a field


@dataclass(slots=True)
class FieldValues:
    """The values of one metadata field.

    Attributes:
        types: How many passages have a value of each type, by the type's plural name.
        numeric: How many of the strings are written as a number.
        examples: The id of the first passage with each type.
        strings: How many passages have each string, of the first 2,000 different ones.
        seconds: How many numbers are seconds since 1970, from 2001 to 2033.
        milliseconds: How many are milliseconds since then.
    """

    types: Counter[str] = field(default_factory=Counter)
    numeric: int = 0
    examples: dict[str, str] = field(default_factory=dict)
    strings: Counter[str] = field(default_factory=Counter)
    seconds: int = 0
    milliseconds: int = 0

    def add(self, value: Any, passage_id: str) -> None:
        """Count a value; null counts as no value."""
        value_type, number, text = encode_value(value)
        if value_type is ValueType.NULL:
            return
        name = type_name(value_type)
        self.types[name] += 1
        self.examples.setdefault(name, passage_id)
        if value_type is ValueType.STRING:
            self.numeric += _is_numeric(text)
            if len(self.strings) < _MOST_VALUES or text in self.strings:
                self.strings[text] += 1
        elif value_type is ValueType.NUMBER:
            self.seconds += 1e9 <= number < 2e9
            self.milliseconds += 1e12 <= number < 2e12


@dataclass(frozen=True, slots=True)
class CorpusScan:
    """The passages that were read.

    Attributes:
        total: Number of passages in the index.
        keys: Keys (n,) of the passages that were read, ascending.
        ids: Their ids.
        hashes: Hashes (n,) of their contents, case and spaces aside.
        lengths: Characters (n,) of their contents.
        vectors: Their vectors (n, dim) as stored, zero where missing; None without a dense leg.
        has_vector: Which have a vector that isn't zero (n,).
        fields: The values of their metadata, by field.
    """

    total: int
    keys: Keys
    ids: tuple[str, ...]
    hashes: NDArray[np.uint64]
    lengths: NDArray[np.int64]
    vectors: Vectors | None
    has_vector: Mask
    fields: Mapping[str, FieldValues]

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def has_text(self) -> Mask:
        """Which passages have any text (n,)."""
        return self.lengths > 0


def scan_corpus(
    scope: SearchScope,
    limit: int = LIMIT,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> CorpusScan:
    """Read up to ``limit`` passages of a session.

    Args:
        scope: The session.
        limit: The most passages to read. Of more, a sample is drawn.
        seed: Seeds the sample.
        progress: Called with the number of passages that were read, and of those to read.

    Raises:
        QueryError: The engine can't list its passages.
    """
    stored = keys = scope.list_keys()
    dim = scope.session.corpus.dim
    if dim is not None:
        limit = min(limit, max(_MOST_BYTES // (4 * dim), 1))
    if len(stored) > limit:
        keys = np.sort(np.random.default_rng(seed).choice(stored, limit, replace=False))
    dense = scope.metric is not None and "dense" in scope.capabilities.modes
    ids: list[str] = []
    hashes, lengths = np.zeros(len(keys), np.uint64), np.zeros(len(keys), np.int64)
    has_vector = np.zeros(len(keys), np.bool_)
    found_keys, vectors = np.zeros(len(keys), np.int64), _allocate(scope, len(keys), dense=dense)
    fields: dict[str, FieldValues] = {}
    for start in range(0, len(keys), _BATCH):
        fetched = scope.session.fetch(keys[start : start + _BATCH], vectors=dense)
        at = slice(len(ids), len(ids) + len(fetched))
        ids += fetched.ids
        found_keys[at] = fetched.keys
        for position, passage in enumerate(fetched.passages, at.start):
            content = passage.content
            lengths[position] = len(content)
            hashes[position] = int.from_bytes(
                content_hash(normalize_text(content).encode())[:8], "little"
            )
            for name, value in flatten_metadata(passage.metadata).items():
                fields.setdefault(name, FieldValues()).add(value, passage.id)
        if vectors is not None and fetched.vectors is not None and fetched.vectors.size:
            vectors[at] = fetched.vectors
            has_vector[at] = fetched.has_vector
            has_vector[at] &= fetched.vectors.any(axis=1)
        if progress is not None:
            progress(len(ids), len(keys))
    count = len(ids)  # fewer than asked for if others delete meanwhile
    return CorpusScan(
        total=len(stored),
        keys=found_keys[:count],
        ids=tuple(ids),
        hashes=hashes[:count],
        lengths=lengths[:count],
        vectors=vectors[:count] if vectors is not None else None,
        has_vector=has_vector[:count],
        fields=fields,
    )


def normalize_text(text: str) -> str:
    """Return a text in lower case with single spaces, by which copies are recognized."""
    return " ".join(text.lower().split())


def _allocate(scope: SearchScope, count: int, *, dense: bool) -> Vectors | None:
    dim = scope.session.corpus.dim
    return np.zeros((count, dim), np.float32) if dense and dim is not None else None


def _is_numeric(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
