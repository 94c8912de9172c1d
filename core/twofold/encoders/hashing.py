"""An encoder without a model: words hashed into dimensions, the same on every machine."""

import re
from collections.abc import Sequence

import numpy as np
import xxhash

from twofold.similarity import Metric
from twofold.types import EncoderIdentity, Vectors

_WORD = re.compile(r"\w+")
_BIAS = 0.1  # in every vector, so that a text without words has a direction too


class HashingEncoder:
    """Texts that share words are near; for tests and examples, and a floor to measure against.

    Feature hashing with signs (Weinberger et al., ICML 2009) into 255 dimensions and a constant.
    """

    name = "hashing"
    dim = 256

    @property
    def identity(self) -> EncoderIdentity:
        """What an index remembers of this encoder."""
        return EncoderIdentity(self.name, self.dim, Metric.COSINE, "hashing-1")

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return unit vectors, float32 (n, 256)."""
        return self.encode_passages(texts)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Return unit vectors, float32 (n, 256)."""
        vectors = np.zeros((len(texts), self.dim))
        vectors[:, 0] = _BIAS
        for vector, text in zip(vectors, texts, strict=True):
            for word in _WORD.findall(text.casefold()):
                number = xxhash.xxh3_64_intdigest(word.encode())
                vector[1 + (number >> 1) % (self.dim - 1)] += 1.0 if number & 1 else -1.0
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        return np.asarray(vectors / lengths[:, None], np.float32)
