"""Checks that the encoder is the one that produced the stored vectors."""

import warnings
from collections.abc import Sequence
from dataclasses import asdict
from json import dumps
from pathlib import Path

import numpy as np

from twofold.concurrency import ForkSafeLock
from twofold.encoders import encoder_from_name
from twofold.encoders.model_spec import find_moved_models
from twofold.errors import EncoderMismatchError, EncoderWarning, QueryError, VectorError
from twofold.protocols import Encoder
from twofold.similarity import Metric
from twofold.storage import IndexSettings, VectorSetRecord
from twofold.types import EncoderIdentity, Vectors
from twofold.validation import as_array, check_vectors

CANARIES = (
    "Plants make their food from sunlight, water and carbon dioxide.",
    "The quick brown fox jumps over the lazy dog.",
    "Order 66-1138: two bolts M8 x 40, zinc plated.",
    "Die Verordnung tritt am Tag nach ihrer Verkündung in Kraft.",
)
"""Fixed sentences, encoded as one batch. Their vectors identify a model."""
ANOTHER_MODEL = 0.14
"""Relative change of a canary's vector from which the model counts as another: a cosine of 0.99."""
DRIFT = 0.01
"""Relative change of a canary's vector above which a warning is issued."""


class EncoderBinding:
    """The encoders of one open index, each loaded and checked on first use.

    Keeps one encoder per vector set (the vectors of one model), so that threads that read an older
    generation go on with the model of its vectors.

    Attributes:
        given: The encoder passed to ``Index.open``, if any.
    """

    def __init__(self, given: Encoder | None, folder: Path) -> None:
        self.given = given
        self._folder = folder
        self._by_name: dict[str, Encoder] = {}
        self._by_vector_set: dict[int, Encoder] = {}
        self._lock = ForkSafeLock()

    def renew(self) -> "EncoderBinding":
        """Return a binding for another index, with the same passed encoder, not yet checked."""
        return EncoderBinding(self.given, self._folder)

    def has_encoder(self, settings: IndexSettings) -> bool:
        """Return whether an encoder was passed or is named in the settings."""
        return self.given is not None or settings.encoder is not None

    def is_available(self, settings: IndexSettings, stored: VectorSetRecord | None) -> bool:
        """Return whether the encoder of a vector set was passed or can be loaded by its name."""
        known = stored is not None and stored.number in self._by_vector_set
        return known or self.given is not None or (settings.encoder is not None and settings.named)

    def find_loaded(
        self, settings: IndexSettings, stored: VectorSetRecord | None
    ) -> Encoder | None:
        """Return the encoder of a vector set if it was passed or used before, else None."""
        if stored is not None and stored.number in self._by_vector_set:
            return self._by_vector_set[stored.number]
        if self.given is not None:
            return self.given
        return self._by_name.get(settings.encoder) if settings.encoder is not None else None

    def encoder(self, settings: IndexSettings, stored: VectorSetRecord | None) -> Encoder:
        """Return the encoder of a vector set; raise QueryError if there is none."""
        found = self.find_loaded(settings, stored)
        if found is not None:
            return found
        name = settings.encoder
        if name is None:
            raise QueryError("this index has no encoder: pass vectors instead of texts")
        if not settings.named:
            raise QueryError(
                f"this index was filled by an encoder object ({name}), which can't be loaded by "
                "name: pass it to Index.open as encoder=, or pass vectors instead of texts"
            )
        if name not in self._by_name:
            moved = find_moved_models(name, settings.home, self._folder) if settings.home else name
            self._by_name.setdefault(name, encoder_from_name(moved))
        return self._by_name[name]

    def encode_queries(
        self, texts: Sequence[str], settings: IndexSettings, stored: VectorSetRecord | None
    ) -> Vectors:
        """Return query vectors (n, dim) by the encoder of a vector set."""
        self.check(settings, stored)
        vectors = self.encoder(settings, stored).encode_queries(list(texts))
        return check_encoded(vectors, len(texts), settings.dim, "encode_queries")

    def encode_passages(
        self, texts: Sequence[str], settings: IndexSettings, stored: VectorSetRecord | None
    ) -> Vectors:
        """Return passage vectors (n, dim) by the encoder of a vector set."""
        self.check(settings, stored)
        return encode_passages(self.encoder(settings, stored), texts, settings.dim)

    def check(self, settings: IndexSettings, stored: VectorSetRecord | None) -> None:
        """Check that the encoder produced the vector set ``stored``, once per vector set.

        Compares fingerprints where both are known, and the vectors of the canaries. Warns if the
        same model gives slightly other vectors, as another library version may.

        Raises:
            EncoderMismatchError: The encoder is another model.
        """
        with self._lock:
            if stored is None or stored.number in self._by_vector_set:
                return
            encoder = self.encoder(settings, stored)
            _check_fingerprint(encoder, stored)
            if stored.canaries and settings.metric is not None:
                _compare_canaries(encoder, stored, settings.metric)
            self._by_vector_set[stored.number] = encoder

    def check_passed(self, settings: IndexSettings, stored: VectorSetRecord) -> None:
        """Check the encoder passed on opening; of a service, the fingerprint alone.

        A service is asked for the canaries when it first encodes.
        """
        if getattr(self.given, "known_fingerprint", None) is None:
            self.check(settings, stored)
        elif self.given is not None:
            _check_fingerprint(self.given, stored)

    def assign(self, number: int, encoder: Encoder) -> None:
        """Use this encoder for the vector set ``number``."""
        self._by_vector_set[number] = encoder

    def replace(self, number: int, encoder: Encoder) -> None:
        """Use this encoder for the vector set ``number``, and forget the one passed to open."""
        self.assign(number, encoder)
        self.given = encoder if self.given is not None else None


def encoder_identity(encoder: Encoder) -> EncoderIdentity | None:
    """Return an encoder's identity, None if it has none."""
    identity: EncoderIdentity | None = getattr(encoder, "identity", None)
    return identity


def choose_metric(
    identity: EncoderIdentity | None, requested: Metric | None, *, stacklevel: int
) -> Metric:
    """Return ``requested``, else the model's metric, else cosine; warn if the first two differ."""
    if identity is None:
        return requested if requested is not None else Metric.COSINE
    if requested is None or requested is identity.metric:
        return identity.metric
    warnings.warn(
        f"the index uses metric={requested.value!r}, but {identity.name!r} was trained for "
        f"{identity.metric.value!r}: results may be worse than the model's best",
        EncoderWarning,
        stacklevel=stacklevel,
    )
    return requested


def encode_passages(encoder: Encoder, texts: Sequence[str], dim: int | None) -> Vectors:
    """Return passage vectors (n, dim) by an encoder; None for ``dim`` allows any dimensions."""
    vectors = encoder.encode_passages(list(texts))
    return check_encoded(vectors, len(texts), dim, "encode_passages")


def new_vector_set(number: int, encoder: Encoder, metric: Metric) -> VectorSetRecord:
    """Return the record of a new vector set, with the encoder's vectors of the canaries."""
    identity = encoder_identity(encoder)
    canaries = metric.prepare(encode_passages(encoder, CANARIES, None))
    text = dumps(asdict(identity) if identity is not None else None)
    return VectorSetRecord(number, text, canaries.tobytes(), 1)


def canary_dim(record: VectorSetRecord) -> int:
    """Return the dimensions of a vector set's canaries."""
    return len(record.canaries) // (4 * len(CANARIES))


def has_fingerprint(identity: EncoderIdentity | None, stored: VectorSetRecord) -> bool:
    """Return whether an encoder's fingerprint is known and that of the stored vectors."""
    known = stored.to_identity()
    if known is None or identity is None:
        return False
    return known.fingerprint == identity.fingerprint


def has_drifted(encoder: Encoder, stored: VectorSetRecord, metric: Metric) -> bool:
    """Return whether a vector of a canary differs from the stored one by more than DRIFT."""
    return bool(stored.canaries) and not _max_drift(encoder, stored, metric) <= DRIFT


def has_same_canaries(first: VectorSetRecord, second: VectorSetRecord) -> bool:
    """Return whether two records of one encoder have the same canaries, up to DRIFT.

    A service gives slightly other vectors each time.
    """
    if len(first.canaries) != len(second.canaries):
        return False
    before, now = (_read_canaries(record) for record in (first, second))
    return _relative_change(before, now) <= DRIFT


def _check_fingerprint(encoder: Encoder, stored: VectorSetRecord) -> None:
    """Raise EncoderMismatchError if the stored fingerprint is known and not the encoder's.

    An encoder's ``known_fingerprint`` is that of its identity without the request for dimensions.
    """
    known = stored.to_identity()
    if known is None:
        return
    fingerprint: str | None = getattr(encoder, "known_fingerprint", None)
    given = encoder_identity(encoder) if fingerprint is None else None
    if fingerprint is None and given is not None:
        fingerprint = given.fingerprint
    if fingerprint is None or fingerprint == known.fingerprint:
        return
    name = repr(getattr(encoder, "name", type(encoder).__qualname__))
    described = _describe(given) if given is not None else f"{name} ({fingerprint[:12]})"
    raise EncoderMismatchError(
        f"the index holds vectors of {_describe(known)}, but the encoder passed is {described}: "
        "pass the encoder of the stored vectors, or change the index to the new encoder with "
        "Index.reencode"
    )


def _read_canaries(record: VectorSetRecord) -> Vectors:
    return np.frombuffer(record.canaries, np.float32).reshape(len(CANARIES), -1)


def _relative_change(before: Vectors, now: Vectors) -> float:
    """Return the largest change of a vector, relative to its norm before."""
    change = np.linalg.norm(now - before, axis=1)
    length = np.linalg.norm(before, axis=1)
    return float((change / np.maximum(length, np.finfo(np.float32).tiny)).max())


def _max_drift(encoder: Encoder, stored: VectorSetRecord, metric: Metric) -> float:
    """Return the largest change of a canary's vector since it was stored, relative to its norm."""
    before = _read_canaries(stored)
    now = metric.prepare(encode_passages(encoder, CANARIES, None))
    if before.shape != now.shape:
        raise EncoderMismatchError(
            f"the encoder is another model ({now.shape[1]} dimensions, stored {before.shape[1]}): "
            "pass the encoder of the stored vectors, or use Index.reencode"
        )
    return _relative_change(before, now)


def _compare_canaries(encoder: Encoder, stored: VectorSetRecord, metric: Metric) -> None:
    drift = _max_drift(encoder, stored, metric)
    if not drift < ANOTHER_MODEL:
        raise EncoderMismatchError(
            "the encoder is another model than that of the stored vectors, or used in another way "
            f"(the vectors of fixed sentences differ by {drift:.3f} of their length): pass the "
            "encoder of the stored vectors, or use Index.reencode"
        )
    if drift > DRIFT:
        warnings.warn(
            "the encoder's vectors of fixed sentences, now and when the index was filled, "
            f"differ by up to {drift:.5f} of their length: Index.reencode renews the vectors",
            EncoderWarning,
            stacklevel=5,
        )


def check_encoded(vectors: Vectors, count: int, dim: int | None, method: str) -> Vectors:
    """Return an encoder's vectors as float32; raise VectorError, naming ``method``."""
    try:
        array = as_array(vectors)
        expected = dim if dim is not None else (array.shape[1] if array.ndim == 2 else -1)
        return check_vectors(array, expected, count)
    except VectorError as error:
        raise VectorError(f"the encoder's {method}: {error}") from None


def _describe(identity: EncoderIdentity) -> str:
    return f"{identity.name!r} ({identity.dim} dimensions, {identity.fingerprint[:12]})"
