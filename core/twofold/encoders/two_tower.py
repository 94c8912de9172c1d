"""Two encoders as one: the first for queries, the second for passages."""

from collections.abc import Sequence
from typing import Protocol

import xxhash

from twofold.encoders.model_spec import TOWER_SEPARATOR
from twofold.errors import InputError
from twofold.protocols import Encoder
from twofold.types import EncoderIdentity, Vectors


class NamedEncoder(Encoder, Protocol):
    """An encoder with a name and an identity."""

    @property
    def name(self) -> str:
        """The spec that ``encoder_from_name`` takes."""
        ...

    @property
    def identity(self) -> EncoderIdentity:
        """Name, dimensions, metric and fingerprint."""
        ...


class TowersEncoder:
    """Encodes queries and passages with different models, trained into one vector space.

    Raises InputError for a tower without a name and identity, and on first use if the towers differ
    in dimensions or metric.
    """

    def __init__(self, queries: NamedEncoder, passages: NamedEncoder) -> None:
        for role, tower in (("queries", queries), ("passages", passages)):
            if isinstance(tower, TowersEncoder):
                raise InputError(f"the tower for {role} must be one model, got two towers")
            if getattr(type(tower), "identity", None) is None or not hasattr(tower, "name"):
                kind = type(tower).__name__
                raise InputError(f"the tower for {role} must have a name and identity, got {kind}")
        self.queries = queries
        self.passages = passages
        self._identity: EncoderIdentity | None = None

    @property
    def name(self) -> str:
        """The spec of both towers: ``query-model | passage-model``."""
        return self.queries.name + TOWER_SEPARATOR + self.passages.name

    @property
    def identity(self) -> EncoderIdentity:
        """Name, dimensions, metric, and a fingerprint of both fingerprints."""
        if self._identity is None:
            first, second = self.queries.identity, self.passages.identity
            if (first.dim, first.metric) != (second.dim, second.metric):
                raise InputError(
                    f"the query tower {first.name!r} ({first.dim} dimensions, "
                    f"{first.metric.value}) doesn't match the passage tower {second.name!r} "
                    f"({second.dim} dimensions, {second.metric.value}): use two towers of one model"
                )
            both = f"{first.fingerprint} | {second.fingerprint}"
            self._identity = EncoderIdentity(
                self.name, first.dim, first.metric, xxhash.xxh3_128_hexdigest(both.encode())
            )
        return self._identity

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return one vector per query, float32 (n, dim)."""
        _ = self.identity  # raises if the towers don't match
        return self.queries.encode_queries(texts)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Return one vector per passage, float32 (n, dim)."""
        _ = self.identity
        return self.passages.encode_passages(texts)

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return how many passages are longer than the passage tower reads."""
        count = getattr(self.passages, "count_truncated", None)
        return int(count(texts)) if count is not None else 0
