"""The contract between an index and its model: whose vectors these are, and are they still."""

import threading
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from json import dumps

import numpy as np

from twofold.catalog import Settings, VectorSetRecord
from twofold.dense import check_vectors
from twofold.encoders import encoder_named
from twofold.errors import EncoderMismatchError, EncoderWarning, QueryError, VectorError
from twofold.metrics import Metric
from twofold.protocols import Encoder
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


class EncoderContract:
    """The encoder of one open index, looked up and checked when its vectors are first needed."""

    def __init__(self, settings: Settings, given: Encoder | None) -> None:
        self._name = settings.encoder
        self._named = settings.named
        self._given = given
        self._lock = threading.Lock()
        self._checked = False

    @property
    def present(self) -> bool:
        """Whether texts can be encoded at all."""
        return self._given is not None or self._name is not None

    def encoder(self) -> Encoder:
        """Return the encoder; raise QueryError if the index has none."""
        if self._given is None:
            if self._name is None:
                raise QueryError("this index has no encoder: give vectors instead of texts")
            if not self._named:
                raise QueryError(
                    f"this index was filled by an encoder object ({self._name}): open it with "
                    "encoder= that object to encode texts, or give vectors"
                )
            self._given = encoder_named(self._name)
        return self._given

    def identity(self) -> EncoderIdentity | None:
        """Return the encoder's identity if it has one."""
        identity: EncoderIdentity | None = getattr(self.encoder(), "identity", None)
        return identity

    def encode_queries(
        self, texts: Sequence[str], settings: Settings, stored: VectorSetRecord | None
    ) -> Vectors:
        """Return query vectors (n, dim) by the model that filled the index."""
        self.check(settings, stored)
        vectors = np.asarray(self.encoder().encode_queries(list(texts)))
        return _checked(vectors, len(texts), settings.dim, "encode_queries")

    def encode_passages(
        self, texts: Sequence[str], settings: Settings, stored: VectorSetRecord | None
    ) -> Vectors:
        """Return passage vectors (n, dim) by the model that filled the index."""
        self.check(settings, stored)
        vectors = np.asarray(self.encoder().encode_passages(list(texts)))
        return _checked(vectors, len(texts), settings.dim, "encode_passages")

    def check(self, settings: Settings, stored: VectorSetRecord | None) -> None:
        """Compare the encoder with the stored vectors, once; raise EncoderMismatchError.

        Two fingerprints decide where both are known; else the canaries do. A model that is the
        same but moves its canaries, by another library version say, is a warning.
        """
        with self._lock:
            if self._checked or stored is None:
                return
            self.compare_identity(stored)
            if stored.canaries and settings.metric is not None:
                self._compare_canaries(stored, settings.metric)
            self._checked = True

    def compare_identity(self, stored: VectorSetRecord) -> None:
        """Raise EncoderMismatchError if both identities are known and differ."""
        was, now = stored.to_identity(), self.identity()
        if was is None or now is None or was.fingerprint == now.fingerprint:
            return
        raise EncoderMismatchError(
            f"the index holds vectors of {_described(was)}, and the encoder given is "
            f"{_described(now)}: open the index with the first, or make a new index"
        )

    def new_set(self, number: int, metric: Metric) -> VectorSetRecord:
        """Return the record of a vector set that this encoder is about to fill."""
        identity = self.identity()
        canaries = metric.stored(self._canaries())
        text = dumps(asdict(identity) if identity is not None else None)
        self._checked = True
        return VectorSetRecord(number, text, canaries.tobytes(), 1)

    def _canaries(self) -> Vectors:
        vectors = np.asarray(self.encoder().encode_passages(list(CANARIES)))
        return _checked(vectors, len(CANARIES), None, "encode_passages")

    def _compare_canaries(self, stored: VectorSetRecord, metric: Metric) -> None:
        was = np.frombuffer(stored.canaries, np.float32).reshape(len(CANARIES), -1)
        now = metric.stored(self._canaries())
        if was.shape != now.shape:
            raise EncoderMismatchError(
                f"the index holds vectors of {was.shape[1]} dimensions, and the encoder gives "
                f"{now.shape[1]}: it is another model"
            )
        gap = np.linalg.norm(now - was, axis=1)
        length = np.linalg.norm(was, axis=1)
        worst = float((gap / np.maximum(length, np.finfo(np.float32).tiny)).max())
        if not worst < ANOTHER_MODEL:
            raise EncoderMismatchError(
                "the encoder's vectors of fixed sentences are not those stored in the index (they "
                f"differ by {worst:.3f} of their length): it is another model, or used in another "
                "way"
            )
        if worst > DRIFT:
            warnings.warn(
                f"the encoder's vectors have drifted since the index was filled: by {worst:.5f} of "
                "their length at worst, on fixed sentences",
                EncoderWarning,
                stacklevel=4,
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
