"""The contract between an index and its model: whose vectors these are, and are they still."""

import threading
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from json import dumps

import numpy as np

from twofold.dense import check_vectors
from twofold.encoders import encoder_from_name
from twofold.errors import EncoderMismatchError, EncoderWarning, QueryError, VectorError
from twofold.protocols import Encoder
from twofold.similarity import Metric
from twofold.storage import Settings, VectorSetRecord
from twofold.types import EncoderIdentity, Vectors

CANARIES = (
    "Plants make their food from sunlight, water and carbon dioxide.",
    "The quick brown fox jumps over the lazy dog.",
    "Order 66-1138: two bolts M8 x 40, zinc plated.",
    "Die Verordnung tritt am Tag nach ihrer Verkündung in Kraft.",
)
"""Fixed sentences, always encoded together, whose vectors tell one model from another."""
ANOTHER_MODEL = 0.14
"""Part of its length by which no canary's vector moves with the same model: a cosine of .99."""
DRIFT = 0.01
"""Greatest such part that is not worth a warning."""


class EncoderBinding:
    """The encoders of one open index, each looked up and checked when first needed.

    ``given`` is the caller's own. There is one for each vector set that was used, so that threads
    that still see the set before a switch go on with its model.
    """

    def __init__(self, given: Encoder | None) -> None:
        self._given = given
        self._named: dict[str, Encoder] = {}
        self._of_set: dict[int, Encoder] = {}
        self._lock = threading.Lock()

    def has_encoder(self, settings: Settings) -> bool:
        """Whether texts can be encoded at all."""
        return self._given is not None or settings.encoder is not None

    def is_available(self, settings: Settings, stored: VectorSetRecord | None) -> bool:
        """Whether a vector set's encoder was given, or has a name to look it up by."""
        given = self._given is not None or (stored is not None and stored.number in self._of_set)
        return given or (settings.encoder is not None and settings.named)

    def encoder(self, settings: Settings, stored: VectorSetRecord | None) -> Encoder:
        """Return the encoder of a vector set; raise QueryError if there is none."""
        if stored is not None and stored.number in self._of_set:
            return self._of_set[stored.number]
        if self._given is not None:
            return self._given
        name = settings.encoder
        if name is None:
            raise QueryError("this index has no encoder: give vectors instead of texts")
        if not settings.named:
            raise QueryError(
                f"this index was filled by an encoder object ({name}): open it with encoder= that "
                "object to encode texts, or give vectors"
            )
        if name not in self._named:
            self._named[name] = encoder_from_name(name)
        return self._named[name]

    def encode_queries(
        self, texts: Sequence[str], settings: Settings, stored: VectorSetRecord | None
    ) -> Vectors:
        """Return query vectors (n, dim) by the model that filled the index."""
        self.check(settings, stored)
        vectors = self.encoder(settings, stored).encode_queries(list(texts))
        return _checked(np.asarray(vectors), len(texts), settings.dim, "encode_queries")

    def encode_passages(
        self, texts: Sequence[str], settings: Settings, stored: VectorSetRecord | None
    ) -> Vectors:
        """Return passage vectors (n, dim) by the model that filled the index."""
        self.check(settings, stored)
        return encode_passages(self.encoder(settings, stored), texts, settings.dim)

    def check(self, settings: Settings, stored: VectorSetRecord | None) -> None:
        """Compare the encoder with the stored vectors, once; raise EncoderMismatchError.

        Two fingerprints decide where both are known; else the canaries do. A model that is the
        same but moves its canaries, by another library version say, is a warning.
        """
        with self._lock:
            if stored is None or stored.number in self._of_set:
                return
            encoder = self.encoder(settings, stored)
            _compare_identities(stored.to_identity(), encoder_identity(encoder))
            if stored.canaries and settings.metric is not None:
                _compare_canaries(encoder, stored, settings.metric)
            self._of_set[stored.number] = encoder

    def use(self, number: int, encoder: Encoder) -> None:
        """Use this encoder for a vector set that it fills."""
        self._of_set[number] = encoder

    def adopt(self, number: int, encoder: Encoder) -> None:
        """Use this encoder for a vector set that it has filled, and from then on."""
        self.use(number, encoder)
        self._given = encoder if self._given is not None else None


def encoder_identity(encoder: Encoder) -> EncoderIdentity | None:
    """Return an encoder's identity if it has one."""
    identity: EncoderIdentity | None = getattr(encoder, "identity", None)
    return identity


def choose_metric(identity: EncoderIdentity | None, wanted: Metric | None) -> Metric:
    """Return the metric wanted, else the model's own, else cosine; warn where the first two differ.

    The warning is for the caller of the index's method that asked.
    """
    own = identity.metric if identity is not None else None
    if own is not None and wanted is not None and wanted is not own:
        name = identity.name if identity is not None else ""
        warnings.warn(
            f"the index uses metric={wanted.value!r}, and {name!r} was trained for {own.value!r}: "
            "results may be poorer than the model's best",
            EncoderWarning,
            stacklevel=6,
        )
    if wanted is not None:
        return wanted
    return own if own is not None else Metric.COSINE


def encode_passages(encoder: Encoder, texts: Sequence[str], dim: int | None) -> Vectors:
    """Return an encoder's passage vectors (n, dim), of any dimensions where ``dim`` is None."""
    vectors = np.asarray(encoder.encode_passages(list(texts)))
    return _checked(vectors, len(texts), dim, "encode_passages")


def _compare_identities(was: EncoderIdentity | None, now: EncoderIdentity | None) -> None:
    """Raise EncoderMismatchError if both are known and differ."""
    if was is None or now is None or was.fingerprint == now.fingerprint:
        return
    raise EncoderMismatchError(
        f"the index holds vectors of {_described(was)}, and the encoder given is "
        f"{_described(now)}: open the index with the first, change it to the second with "
        "Index.reencode, or make a new index"
    )


def new_set(number: int, encoder: Encoder, metric: Metric) -> VectorSetRecord:
    """Return the record of a vector set that this encoder is about to fill."""
    identity = encoder_identity(encoder)
    canaries = metric.stored(encode_passages(encoder, CANARIES, None))
    text = dumps(asdict(identity) if identity is not None else None)
    return VectorSetRecord(number, text, canaries.tobytes(), 1)


def has_drifted(encoder: Encoder, stored: VectorSetRecord, metric: Metric) -> bool:
    """Whether an encoder gives other vectors of the canaries than those that are stored."""
    return bool(stored.canaries) and not _drift(encoder, stored, metric) <= DRIFT


def _drift(encoder: Encoder, stored: VectorSetRecord, metric: Metric) -> float:
    """Return by what part of its length a canary's vector has moved at worst."""
    was = np.frombuffer(stored.canaries, np.float32).reshape(len(CANARIES), -1)
    now = metric.stored(encode_passages(encoder, CANARIES, None))
    if was.shape != now.shape:
        raise EncoderMismatchError(
            f"the index holds vectors of {was.shape[1]} dimensions, and the encoder gives "
            f"{now.shape[1]}: it is another model"
        )
    gap = np.linalg.norm(now - was, axis=1)
    length = np.linalg.norm(was, axis=1)
    return float((gap / np.maximum(length, np.finfo(np.float32).tiny)).max())


def _compare_canaries(encoder: Encoder, stored: VectorSetRecord, metric: Metric) -> None:
    worst = _drift(encoder, stored, metric)
    if not worst < ANOTHER_MODEL:
        raise EncoderMismatchError(
            "the encoder's vectors of fixed sentences are not those stored in the index (they "
            f"differ by {worst:.3f} of their length): it is another model, or used in another way"
        )
    if worst > DRIFT:
        warnings.warn(
            f"the encoder's vectors have drifted since the index was filled: by {worst:.5f} of "
            "their length at worst, on fixed sentences",
            EncoderWarning,
            stacklevel=5,
        )


def _checked(vectors: Vectors, count: int, dim: int | None, method: str) -> Vectors:
    """Return an encoder's vectors if they are as promised; raise VectorError naming the method."""
    wanted = dim if dim is not None else (vectors.shape[1] if vectors.ndim == 2 else -1)
    try:
        return check_vectors(vectors, wanted, count)
    except VectorError as error:
        raise VectorError(f"the encoder's {method}: {error}") from None


def _described(identity: EncoderIdentity) -> str:
    return f"{identity.name!r} ({identity.dim} dimensions, {identity.fingerprint[:12]})"
