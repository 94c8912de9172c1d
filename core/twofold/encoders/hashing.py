"""An encoder without a model, for tests, examples and baselines."""

import re
from collections.abc import Sequence

import numpy as np
import xxhash

from twofold.similarity import Metric
from twofold.types import EncoderIdentity, Vectors

_WORD = re.compile(r"\w+")
_BIAS = 0.1  # in every vector, so that a text without words has a direction too


class HashingEncoder:
    """Hashes words into dimensions: texts that share words get similar vectors.

    Feature hashing with signs (Weinberger et al., ICML 2009) into 255 dimensions, plus a constant.
    The vectors are the same on every machine. There is no model to download, so tests, examples and
    tutorials use it. A dense search finds shared words only, no synonyms.

    Attributes:
        name: The spec that ``encoder_from_name`` takes.
        dim: The number of dimensions of the vectors.
        identity: Name, dimensions, metric and fingerprint, which an index stores.

    Example:
        >>> from twofold import HashingEncoder
        >>> HashingEncoder().encode_queries(["plants", "light"]).shape
        (2, 256)
    """

    name = "hashing"
    dim = 256

    @property
    def identity(self) -> EncoderIdentity:
        """The name, dimensions, metric and fingerprint that an index stores."""
        return EncoderIdentity(self.name, self.dim, Metric.COSINE, "hashing-1")

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return one unit vector per query, float32 (n, 256); equal to `encode_passages`."""
        return self.encode_passages(texts)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Return one unit vector per passage, float32 (n, 256).

        Each word is case-folded and hashed to a dimension and a sign. A text without words has only
        the constant dimension, so that its cosine is defined.
        """
        vectors = np.zeros((len(texts), self.dim))
        vectors[:, 0] = _BIAS
        for vector, text in zip(vectors, texts, strict=True):
            for word in _WORD.findall(text.casefold()):
                number = xxhash.xxh3_64_intdigest(word.encode())
                vector[1 + (number >> 1) % (self.dim - 1)] += 1.0 if number & 1 else -1.0
        norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        return np.asarray(vectors / norms[:, None], np.float32)
