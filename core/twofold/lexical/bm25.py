"""The BM25 formula, as Lucene computes it since version 8."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twofold.errors import InputError


@dataclass(frozen=True, slots=True)
class BM25:
    """score = sum over terms of idf * tf / (tf + k1 * (1 - b + b * length / average length)).

    idf = ln(1 + (N - n + 0.5) / (n + 0.5)), never negative. ``k1`` bounds what repeats of a term
    add, ``b`` how much long passages are held back. Robertson and Zaragoza, The Probabilistic
    Relevance Framework: BM25 and Beyond (2009); the variant without the constant factor
    (k1 + 1): Kamphuis et al., Which BM25 Do You Mean? (ECIR 2020).
    """

    k1: float = 1.2
    b: float = 0.75

    def __post_init__(self) -> None:
        if not (self.k1 >= 0 and math.isfinite(self.k1)):
            raise InputError(f"k1 is {self.k1}: it must be a number of at least 0")
        if not 0 <= self.b <= 1:
            raise InputError(f"b is {self.b}: it must lie between 0 and 1")

    def idf(self, passages: int, document_frequency: int) -> float:
        """Return how telling a term is that occurs in that many of all passages."""
        rare = passages - document_frequency + 0.5
        return math.log(1 + rare / (document_frequency + 0.5))

    def frequency_parts(
        self, frequencies: NDArray[np.uint32], lengths: NDArray[np.uint32], average: float
    ) -> NDArray[np.float64]:
        """Return tf / (tf + K) for each pair of term frequency and passage length."""
        tf = frequencies.astype(np.float64)
        saturation = self.k1 * (1 - self.b + self.b * (lengths.astype(np.float64) / average))
        return np.asarray(tf / (tf + saturation))
