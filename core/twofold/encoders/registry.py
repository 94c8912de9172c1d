"""Makes encoders from specs: a model with options, two models as towers, or an exported folder."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import xxhash
from numpy.typing import NDArray

from twofold.encoders.hashing import HashingEncoder
from twofold.encoders.model_encoder import Backend, ModelEncoder
from twofold.encoders.model_spec import (
    AS_SAVED,
    TOWER_SEPARATOR,
    check_model_name,
    check_no_secrets,
    is_folder,
    is_service,
    parse_spec,
    unknown_service,
)
from twofold.encoders.onnx import OnnxEncoder
from twofold.encoders.onnx_folder import is_onnx_folder
from twofold.encoders.service import ServiceEncoder
from twofold.errors import InputError
from twofold.protocols import Encoder, WindowEncoder
from twofold.types import EncoderIdentity, Vectors


class NamedEncoder(Encoder, Protocol):
    """An encoder with a name and an identity."""

    @property
    def name(self) -> str:
        """The spec by which ``encoder_from_name`` makes this encoder."""

    @property
    def identity(self) -> EncoderIdentity:
        """Name, dimensions, metric and fingerprint."""


class TowersEncoder:
    """Encodes queries and passages with different models, trained into one vector space.

    Raises InputError for a tower without a name and identity, and on first use if the towers differ
    in dimensions or metric.
    """

    def __init__(self, queries: NamedEncoder, passages: NamedEncoder) -> None:
        for role, tower in (("queries", queries), ("passages", passages)):
            if isinstance(tower, TowersEncoder):
                raise InputError(f"the tower for {role} must be one model, got a TowersEncoder")
            if getattr(type(tower), "identity", None) is None or not hasattr(tower, "name"):
                kind = type(tower).__name__
                raise InputError(f"the tower for {role} must have a name and identity, got {kind}")
        self.queries = queries
        self.passages = passages

    @property
    def name(self) -> str:
        """The spec of both towers: ``query-model | passage-model``."""
        return self.queries.name + TOWER_SEPARATOR + self.passages.name

    @property
    def known_fingerprint(self) -> str | None:
        """The identity's fingerprint if both towers are services, which need not be asked."""
        first, second = (
            getattr(tower, "known_fingerprint", None) for tower in (self.queries, self.passages)
        )
        return _hash_towers(first, second) if first is not None and second is not None else None

    @cached_property
    def identity(self) -> EncoderIdentity:
        """Name, dimensions, metric, and a hash of the fingerprints of both towers."""
        first, second = self.queries.identity, self.passages.identity
        if (first.dim, first.metric) != (second.dim, second.metric):
            raise InputError(
                f"the query tower {first.name!r} ({first.dim} dimensions, {first.metric.value}) "
                f"doesn't match the passage tower {second.name!r} ({second.dim} dimensions, "
                f"{second.metric.value}): use two towers of one model"
            )
        fingerprint = _hash_towers(first.fingerprint, second.fingerprint)
        return EncoderIdentity(self.name, first.dim, first.metric, fingerprint)

    def check_ready(self) -> None:
        """Raise the error of the first tower that can't encode."""
        for tower in (self.queries, self.passages):
            if isinstance(tower, ModelEncoder | ServiceEncoder):
                tower.check_ready()

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return one vector per query, float32 (n, dim)."""
        _ = self.identity  # raises if the towers don't match
        return self.queries.encode_queries(texts)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Return one vector per passage, float32 (n, dim)."""
        _ = self.identity
        return self.passages.encode_passages(texts)

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return how many passages have more tokens than the passage tower reads."""
        count = getattr(self.passages, "count_truncated", None)
        return int(count(texts)) if count is not None else 0

    @property
    def max_tokens(self) -> int | None:
        """The most tokens of a passage that the passage tower reads; None: all, or unknown."""
        return self.passages.max_tokens if isinstance(self.passages, WindowEncoder) else None

    def token_spans(self, texts: Sequence[str]) -> list[NDArray[np.int64] | None]:
        """Return the tokens of each passage that has more than the tower reads, else None."""
        if isinstance(self.passages, WindowEncoder):
            return self.passages.token_spans(texts)
        return [None] * len(texts)


def _hash_towers(queries: str, passages: str) -> str:
    return xxhash.xxh3_128_hexdigest(f"{queries} | {passages}".encode())


def encoder_from_name(name: str) -> NamedEncoder:
    """Return the encoder that a spec names; its model is loaded when it first encodes.

    Args:
        name: An encoder's ``name``: ``"model"``, ``"query-model | passage-model"``, ``"hashing"``,
            the folder of an exported model, or a service's model, such as
            ``"openai:text-embedding-3-small"`` or ``"ollama:nomic-embed-text"``.
            ``"model?pooling=cls&backend=torch"`` has the fields of ModelOptions and the backend of
            ModelEncoder. A relative folder becomes absolute in the encoder's name.

    Raises:
        EncoderNotFoundError: A path doesn't exist.
        InputError: The spec is malformed or has an unknown option.

    Example:
        >>> encoder_from_name("hashing").encode_queries(["red apple"]).shape
        (1, 256)
    """
    name = check_model_name(name)
    check_no_secrets(name)
    if is_folder(name) or TOWER_SEPARATOR not in name:
        return _single_encoder(name)
    towers = name.split(TOWER_SEPARATOR)
    if len(towers) != 2:
        raise InputError(
            f"the encoder {name!r} must have 2 towers, 'query-model{TOWER_SEPARATOR}passage-model'"
            f", got {len(towers)}"
        )
    return TowersEncoder(_single_encoder(towers[0]), _single_encoder(towers[1]))


def _single_encoder(spec: str) -> NamedEncoder:
    if spec == HashingEncoder.name:
        return HashingEncoder()
    if is_service(spec):
        return ServiceEncoder(spec)
    error = unknown_service(spec)
    if error is not None and not is_folder(spec):
        raise error
    model, options, backend = parse_spec(spec)
    if not is_onnx_folder(Path(model)):
        return ModelEncoder(model, options=options, backend=cast("Backend | None", backend))
    if options != AS_SAVED or backend is not None:
        raise InputError(
            f"{model} is an exported model, whose options were fixed by its export: pass {model!r}"
        )
    return OnnxEncoder(model)
