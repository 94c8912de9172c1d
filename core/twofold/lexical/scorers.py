"""Scoring functions: the BM25 family as the field's libraries compute it, and TF-IDF.

All of them are sums over the terms that query and passage share: a term's weight, which only
the collection decides, times a part that grows with its frequency in the passage and shrinks with
the passage's length. Postings hold frequencies and lengths, so any of them can be asked for, with
any parameters, at any query. The variants: Kamphuis et al., Which BM25 Do You Mean? (ECIR 2020).
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.errors import InputError
from twofold.protocols import CorpusStatistics, Scorer

_Floats = NDArray[np.float64]
_Counts = NDArray[Any]


@dataclass(frozen=True, slots=True)
class BM25:
    """Lucene's BM25: idf * tf / (tf + k1 * (1 - b + b * length / average length)).

    idf = ln(1 + (N - n + 0.5) / (n + 0.5)), never negative. ``k1`` bounds what repeats of a term
    add, ``b`` how much long passages are held back. Robertson and Zaragoza, The Probabilistic
    Relevance Framework: BM25 and Beyond (2009); without the constant factor (k1 + 1), which
    changes no order, as Lucene since version 8.
    """

    k1: float = 1.2
    b: float = 0.75

    def __post_init__(self) -> None:
        _check("k1", self.k1, 0, math.inf)
        _check("b", self.b, 0, 1)

    def idf(self, frequencies: _Counts, corpus: CorpusStatistics) -> _Floats:
        """Return how telling terms are that occur in that many passages."""
        return np.asarray(np.log1p((corpus.passages - frequencies + 0.5) / (frequencies + 0.5)))

    def parts(self, frequencies: _Counts, lengths: _Counts, average: float) -> _Floats:
        """Return tf / (tf + K) for each pair of term frequency and passage length."""
        tf = frequencies.astype(np.float64)
        return np.asarray(tf / (tf + self.k1 * self.stretch(lengths, average)))

    def stretch(self, lengths: _Counts, average: float) -> _Floats:
        """Return 1 - b + b * length / average length: above 1 for long passages."""
        return np.asarray(1 - self.b + self.b * (lengths.astype(np.float64) / average))

    @property
    def absent(self) -> float:
        """The part of a term that a passage lacks."""
        return 0.0

    @property
    def cosine(self) -> bool:
        """Sums are not divided by the lengths of vectors."""
        return False


@dataclass(frozen=True, slots=True)
class RobertsonBM25(BM25):
    """BM25 with idf = ln((N - n + 0.5) / (n + 0.5)), or 0 for terms in over half of the passages.

    Robertson et al., Okapi at TREC-3 (1994); as bm25s's ``robertson``.
    """

    def idf(self, frequencies: _Counts, corpus: CorpusStatistics) -> _Floats:
        """Return the idf of terms that occur in that many passages."""
        odds = (corpus.passages - frequencies + 0.5) / (frequencies + 0.5)
        return np.asarray(np.log(np.maximum(odds, 1)))


@dataclass(frozen=True, slots=True)
class ATIREBM25(BM25):
    """BM25 with idf = ln(N / n), and parts times (k1 + 1).

    Trotman, Jia and Crane, Towards an Efficient and Effective Search Engine (2012); as bm25s's
    ``atire``.
    """

    def idf(self, frequencies: _Counts, corpus: CorpusStatistics) -> _Floats:
        """Return the idf of terms that occur in that many passages."""
        return np.asarray(np.log(corpus.passages / frequencies))

    def parts(self, frequencies: _Counts, lengths: _Counts, average: float) -> _Floats:
        """Return tf * (k1 + 1) / (tf + K)."""
        return np.asarray((self.k1 + 1) * BM25.parts(self, frequencies, lengths, average))


@dataclass(frozen=True, slots=True)
class BM25L(BM25):
    """BM25 that holds long passages back less: (k1 + 1) * (c + delta) / (k1 + c + delta).

    c = tf / (1 - b + b * length / average length), idf = ln((N + 1) / (n + 0.5)). Lv and Zhai,
    When Documents Are Very Long, BM25 Fails! (SIGIR 2011). Terms that a passage lacks score what
    a frequency of 0 gives, as in bm25s's ``bm25l``; with ``shared_only`` they score nothing, as
    in the paper.
    """

    delta: float = 0.5
    shared_only: bool = False

    def __post_init__(self) -> None:
        BM25.__post_init__(self)
        _check("delta", self.delta, 0, math.inf)

    def idf(self, frequencies: _Counts, corpus: CorpusStatistics) -> _Floats:
        """Return the idf of terms that occur in that many passages."""
        return np.asarray(np.log((corpus.passages + 1) / (frequencies + 0.5)))

    def parts(self, frequencies: _Counts, lengths: _Counts, average: float) -> _Floats:
        """Return the parts of terms that a passage has."""
        shifted = frequencies.astype(np.float64) / self.stretch(lengths, average) + self.delta
        return np.asarray((self.k1 + 1) * shifted / (self.k1 + shifted))

    @property
    def absent(self) -> float:
        """The part of a term that a passage lacks."""
        if self.shared_only or self.delta == 0:
            return 0.0
        return (self.k1 + 1) * self.delta / (self.k1 + self.delta)


@dataclass(frozen=True, slots=True)
class BM25Plus(BM25):
    """BM25 with a lower bound for one occurrence: tf * (k1 + 1) / (tf + K) + delta.

    idf = ln((N + 1) / n). Lv and Zhai, Lower-Bounding Term Frequency Normalization (CIKM 2011).
    Terms that a passage lacks score ``delta`` too, as in bm25s's ``bm25+`` and rank-bm25's
    ``BM25Plus`` (whose defaults are k1=1.5 and delta=1), so that delta changes scores but no
    order; with ``shared_only`` they score nothing, as in the paper.
    """

    delta: float = 1.0
    shared_only: bool = False

    def __post_init__(self) -> None:
        BM25.__post_init__(self)
        _check("delta", self.delta, 0, math.inf)

    def idf(self, frequencies: _Counts, corpus: CorpusStatistics) -> _Floats:
        """Return the idf of terms that occur in that many passages."""
        return np.asarray(np.log((corpus.passages + 1) / frequencies))

    def parts(self, frequencies: _Counts, lengths: _Counts, average: float) -> _Floats:
        """Return the parts of terms that a passage has."""
        saturated = BM25.parts(self, frequencies, lengths, average)
        return np.asarray((self.k1 + 1) * saturated + self.delta)

    @property
    def absent(self) -> float:
        """The part of a term that a passage lacks."""
        return 0.0 if self.shared_only else self.delta


@dataclass(frozen=True, slots=True)
class OkapiBM25(ATIREBM25):
    """``BM25Okapi`` of rank-bm25 0.2.2.

    idf = ln((N - n + 0.5) / (n + 0.5)); where that is negative, ``epsilon`` times the mean over
    all terms; parts times (k1 + 1).
    """

    k1: float = 1.5
    epsilon: float = 0.25

    def __post_init__(self) -> None:
        BM25.__post_init__(self)
        _check("epsilon", self.epsilon, 0, math.inf)

    def idf(self, frequencies: _Counts, corpus: CorpusStatistics) -> _Floats:
        """Return the idf of terms that occur in that many passages."""
        own = self._odds(frequencies, corpus.passages)
        if (own < 0).any():
            own[own < 0] = self.epsilon * self._odds(corpus.frequencies(), corpus.passages).mean()
        return own

    @staticmethod
    def _odds(frequencies: _Counts, passages: int) -> _Floats:
        return np.asarray(np.log(passages - frequencies + 0.5) - np.log(frequencies + 0.5))


@dataclass(frozen=True, slots=True)
class OkapiBM25L(BM25):
    """``BM25L`` of rank-bm25 0.2.2, which multiplies BM25L's part by the frequency once more."""

    k1: float = 1.5
    delta: float = 0.5

    def __post_init__(self) -> None:
        BM25.__post_init__(self)
        _check("delta", self.delta, 0, math.inf)

    def idf(self, frequencies: _Counts, corpus: CorpusStatistics) -> _Floats:
        """Return the idf of terms that occur in that many passages."""
        return np.asarray(np.log((corpus.passages + 1) / (frequencies + 0.5)))

    def parts(self, frequencies: _Counts, lengths: _Counts, average: float) -> _Floats:
        """Return tf * (k1 + 1) * (c + delta) / (k1 + c + delta)."""
        tf = frequencies.astype(np.float64)
        shifted = tf / self.stretch(lengths, average) + self.delta
        return np.asarray(tf * (self.k1 + 1) * shifted / (self.k1 + shifted))


@dataclass(frozen=True, slots=True)
class TfIdf:
    """The cosine of tf * idf vectors, between 0 and 1: Salton and Buckley (1988).

    idf = ln((1 + N) / (1 + n)) + 1, as scikit-learn's TfidfVectorizer; with ``sublinear`` a
    frequency counts as 1 + ln(tf). The length of every passage's vector depends on all others, so
    the first query after a write reads all postings once.
    """

    sublinear: bool = False

    def idf(self, frequencies: _Counts, corpus: CorpusStatistics) -> _Floats:
        """Return the idf of terms that occur in that many passages."""
        return np.asarray(np.log((1 + corpus.passages) / (1 + frequencies)) + 1)

    def parts(self, frequencies: _Counts, lengths: _Counts, average: float) -> _Floats:  # noqa: ARG002  # as the protocol has it
        """Return tf, or 1 + ln(tf)."""
        tf = frequencies.astype(np.float64)
        return np.asarray(1 + np.log(tf)) if self.sublinear else tf

    def stretch(self, lengths: _Counts, average: float) -> _Floats:  # noqa: ARG002  # as the protocol has it
        """Return 1 for every length: vectors are normalised as a whole."""
        return np.ones(len(lengths))

    @property
    def absent(self) -> float:
        """The part of a term that a passage lacks."""
        return 0.0

    @property
    def cosine(self) -> bool:
        """Sums are divided by the lengths of the query's and the passage's vectors."""
        return True


SCORERS: dict[str, type[Scorer]] = {
    "bm25": BM25,
    "lucene": BM25,
    "robertson": RobertsonBM25,
    "atire": ATIREBM25,
    "bm25l": BM25L,
    "bm25+": BM25Plus,
    "okapi": OkapiBM25,
    "okapi-l": OkapiBM25L,
    "tfidf": TfIdf,
}
"""The scoring functions by the names that the command line uses."""


def scorer_from_name(name: str, **parameters: float | None) -> Scorer:
    """Return a scoring function with those of its parameters that aren't None.

    Raises InputError for an unknown name, and for a parameter that it doesn't have.
    """
    if name not in SCORERS:
        raise InputError(f"unknown scoring function {name!r}: use one of {', '.join(SCORERS)}")
    kind = SCORERS[name]
    given = {key: value for key, value in parameters.items() if value is not None}
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]  # all are dataclasses
    unknown = [key for key in given if key not in known]
    if unknown:
        raise InputError(
            f"the scoring function {name!r} has no parameter {unknown[0]!r}: it has "
            f"{', '.join(known)}"
        )
    return kind(**given)


def scorer_as_dict(scorer: Scorer) -> dict[str, Any]:
    """Return one of the library's scoring functions as JSON values, by its first name.

    Raises InputError for one of the user's own, which can't be made again from values.
    """
    for name, kind in SCORERS.items():
        if type(scorer) is kind:
            return {"name": name, **asdict(scorer)}  # type: ignore[call-overload]  # all are dataclasses
    raise InputError(f"{scorer!r:.80} can't be stored: use one of {', '.join(SCORERS)}")


def scorer_from_dict(values: Mapping[str, Any]) -> Scorer:
    """Return the scoring function that ``scorer_as_dict`` gave."""
    own = dict(values)
    return SCORERS[own.pop("name")](**own)


def _check(name: str, value: float, low: float, high: float) -> None:
    """Raise InputError if a parameter is not a finite number in its range."""
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not (number and math.isfinite(value) and low <= value <= high):
        wanted = f"between {low} and {high}" if math.isfinite(high) else f"of at least {low}"
        raise InputError(f"{name} is {value!r}: a number {wanted} is wanted")
