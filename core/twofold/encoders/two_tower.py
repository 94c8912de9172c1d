"""Two encoders as one: the first for queries, the second for passages."""

from collections.abc import Sequence
from typing import Protocol

import xxhash

from twofold.encoders.model_spec import TOWER_SEPARATOR
from twofold.errors import InputError
from twofold.protocols import Encoder
from twofold.types import EncoderIdentity, Vectors


class NamedEncoder(Encoder, Protocol):
    """An encoder that can be told from another."""

    @property
    def name(self) -> str:
        """The spec that ``encoder_named`` makes it from."""
        ...

    @property
    def identity(self) -> EncoderIdentity:
        """Name, dimensions, metric and fingerprint."""
        ...


class TowersEncoder:
    """Queries by one encoder and passages by another, trained into one space of vectors.

    Both need an ``identity``. Raises InputError, when first used, for towers whose dimensions or
    metrics differ.
    """

    def __init__(self, queries: NamedEncoder, passages: NamedEncoder) -> None:
        for role, tower in (("queries", queries), ("passages", passages)):
            if isinstance(tower, TowersEncoder):
                raise InputError(f"the tower for {role} has two towers itself: give one model")
            if getattr(type(tower), "identity", None) is None or not hasattr(tower, "name"):
                raise InputError(
                    f"the tower for {role} is a {type(tower).__name__}, which has no name and "
                    "identity: an index couldn't tell it from another"
                )
        self.queries = queries
        self.passages = passages
        self._identity: EncoderIdentity | None = None

    @property
    def name(self) -> str:
        """The spec of both: ``queries-model | passages-model``."""
        return self.queries.name + TOWER_SEPARATOR + self.passages.name

    @property
    def identity(self) -> EncoderIdentity:
        """Name, dimensions, metric, and a fingerprint of both fingerprints."""
        if self._identity is None:
            ours, theirs = self.queries.identity, self.passages.identity
            if (ours.dim, ours.metric) != (theirs.dim, theirs.metric):
                raise InputError(
                    f"queries by {ours.name!r} ({ours.dim} dimensions, {ours.metric.value}) can't "
                    f"be compared with passages by {theirs.name!r} ({theirs.dim} dimensions, "
                    f"{theirs.metric.value}): give two towers of one model"
                )
            both = f"{ours.fingerprint} | {theirs.fingerprint}"
            self._identity = EncoderIdentity(
                self.name, ours.dim, ours.metric, xxhash.xxh3_128_hexdigest(both.encode())
            )
        return self._identity

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return one vector a query by the first tower, float32 (n, dim)."""
        self._check()
        return self.queries.encode_queries(texts)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Return one vector a passage by the second tower, float32 (n, dim)."""
        self._check()
        return self.passages.encode_passages(texts)

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return how many passages are longer than their tower reads."""
        count = getattr(self.passages, "count_truncated", None)
        return int(count(texts)) if count is not None else 0

    def _check(self) -> None:
        """Raise InputError for towers that don't belong together."""
        _ = self.identity
