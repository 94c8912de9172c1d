"""Scoring functions: the BM25 family as the field's libraries compute it, and TF-IDF.

A score is a sum over the terms that query and passage share: a term's idf, times a weight that
grows with its frequency and shrinks with the passage's length. Each query may name its scoring
function. All but Lucene's BM25 count passages without terms, as the libraries do that they equal.
The variants: Kamphuis et al., Which BM25 Do You Mean? (ECIR 2020).
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from twofold.errors import InputError
from twofold.protocols import Scorer, TermStatistics
from twofold.validation import check_choice, check_number

_Floats = NDArray[np.float64]
_Counts = NDArray[Any]


@dataclass(frozen=True, slots=True)
class BM25:
    """Lucene's BM25: idf * tf / (tf + k1 * (1 - b + b * length / average length)).

    idf = ln(1 + (N - n + 0.5) / (n + 0.5)), which is never negative. Like Lucene since version 8,
    it leaves out the constant factor k1 + 1. ``k1`` bounds what repeats of a term add; ``b``, from
    0 to 1, is how much long passages are penalized. Robertson and Zaragoza, The Probabilistic
    Relevance Framework: BM25 and Beyond (2009).

    Example:
        >>> from twofold import BM25, Index, Retriever
        >>> index = Index.open(None, encoder=None)
        >>> _ = index.upsert([{"id": "1", "text": "plants make food"}])
        >>> retriever = Retriever(index, mode="lexical", scorer=BM25(k1=0.9, b=0.4))
        >>> retriever.retrieve("food").ids
        ['1']
    """

    k1: float = 1.2
    b: float = 0.75
    cosine: ClassVar[bool] = False
    counts_empty: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "shared_only":
                check_number(field.name, value, 0, 1 if field.name == "b" else math.inf)

    def idf(self, frequencies: _Counts, corpus: TermStatistics) -> _Floats:
        """Return ln(1 + (N - n + 0.5) / (n + 0.5))."""
        return np.asarray(np.log1p((corpus.passages - frequencies + 0.5) / (frequencies + 0.5)))

    def tf_weight(self, frequencies: _Counts, lengths: _Counts, average_length: float) -> _Floats:
        """Return tf / (tf + k1 * length norm) for each pair of term frequency and length."""
        tf = frequencies.astype(np.float64)
        return np.asarray(tf / (tf + self.k1 * self.length_norm(lengths, average_length)))

    def length_norm(self, lengths: _Counts, average_length: float) -> _Floats:
        """Return 1 - b + b * length / average length."""
        return np.asarray(1 - self.b + self.b * (lengths.astype(np.float64) / average_length))

    @property
    def missing_term_weight(self) -> float:
        """The weight of a term that a passage lacks."""
        return 0.0


@dataclass(frozen=True, slots=True)
class CountAllBM25(BM25):
    """Lucene's BM25 with passages without terms in the statistics. Equals bm25s's ``lucene``."""

    counts_empty: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class RobertsonBM25(BM25):
    """BM25 with idf = ln((N - n + 0.5) / (n + 0.5)), or 0 for terms in over half of the passages.

    Robertson et al., Okapi at TREC-3 (1994). Equals bm25s's ``robertson``.
    """

    counts_empty: ClassVar[bool] = True

    def idf(self, frequencies: _Counts, corpus: TermStatistics) -> _Floats:
        """Return ln((N - n + 0.5) / (n + 0.5)), at least 0."""
        odds = (corpus.passages - frequencies + 0.5) / (frequencies + 0.5)
        return np.asarray(np.log(np.maximum(odds, 1)))


@dataclass(frozen=True, slots=True)
class ATIREBM25(BM25):
    """BM25 with idf = ln(N / n), and weights times (k1 + 1).

    Trotman, Jia and Crane, Towards an Efficient and Effective Search Engine (2012). Equals bm25s's
    ``atire``.
    """

    counts_empty: ClassVar[bool] = True

    def idf(self, frequencies: _Counts, corpus: TermStatistics) -> _Floats:
        """Return ln(N / n)."""
        return np.asarray(np.log(corpus.passages / frequencies))

    def tf_weight(self, frequencies: _Counts, lengths: _Counts, average_length: float) -> _Floats:
        """Return tf * (k1 + 1) / (tf + k1 * length norm)."""
        saturated = BM25.tf_weight(self, frequencies, lengths, average_length)
        return np.asarray((self.k1 + 1) * saturated)


@dataclass(frozen=True, slots=True)
class BM25L(BM25):
    """BM25 that penalizes long passages less: (k1 + 1) * (c + delta) / (k1 + c + delta).

    c = tf / (1 - b + b * length / average length), idf = ln((N + 1) / (n + 0.5)). Lv and Zhai,
    When Documents Are Very Long, BM25 Fails! (SIGIR 2011). Missing terms score as a frequency of 0,
    as in bm25s's ``bm25l``; with ``shared_only`` they score 0, as in the paper.
    """

    delta: float = 0.5
    shared_only: bool = False
    counts_empty: ClassVar[bool] = True

    def idf(self, frequencies: _Counts, corpus: TermStatistics) -> _Floats:
        """Return ln((N + 1) / (n + 0.5))."""
        return np.asarray(np.log((corpus.passages + 1) / (frequencies + 0.5)))

    def tf_weight(self, frequencies: _Counts, lengths: _Counts, average_length: float) -> _Floats:
        """Return (k1 + 1) * (c + delta) / (k1 + c + delta), with c as above."""
        tf, norm = frequencies.astype(np.float64), self.length_norm(lengths, average_length)
        shifted = tf / norm + self.delta
        return np.asarray((self.k1 + 1) * shifted / (self.k1 + shifted))

    @property
    def missing_term_weight(self) -> float:
        """The weight of a term that a passage lacks."""
        if self.shared_only or self.delta == 0:
            return 0.0
        return (self.k1 + 1) * self.delta / (self.k1 + self.delta)


@dataclass(frozen=True, slots=True)
class BM25Plus(BM25):
    """BM25 with a lower bound for one occurrence: tf * (k1 + 1) / (tf + K) + delta.

    idf = ln((N + 1) / n). Lv and Zhai, Lower-Bounding Term Frequency Normalization (CIKM 2011).
    Missing terms score ``delta`` too, which changes no order, as in bm25s's ``bm25+`` and
    rank-bm25's ``BM25Plus`` (there k1=1.5). With ``shared_only`` they score 0, as in the paper.
    """

    delta: float = 1.0
    shared_only: bool = False
    counts_empty: ClassVar[bool] = True

    def idf(self, frequencies: _Counts, corpus: TermStatistics) -> _Floats:
        """Return ln((N + 1) / n)."""
        return np.asarray(np.log((corpus.passages + 1) / frequencies))

    def tf_weight(self, frequencies: _Counts, lengths: _Counts, average_length: float) -> _Floats:
        """Return tf * (k1 + 1) / (tf + k1 * length norm) + delta."""
        saturated = BM25.tf_weight(self, frequencies, lengths, average_length)
        return np.asarray((self.k1 + 1) * saturated + self.delta)

    @property
    def missing_term_weight(self) -> float:
        """The weight of a term that a passage lacks."""
        return 0.0 if self.shared_only else self.delta


@dataclass(frozen=True, slots=True)
class OkapiBM25(ATIREBM25):
    """``BM25Okapi`` of rank-bm25 0.2.2, with weights times (k1 + 1).

    idf = ln((N - n + 0.5) / (n + 0.5)), or ``epsilon`` times the mean idf where that is negative.
    """

    k1: float = 1.5
    epsilon: float = 0.25

    def idf(self, frequencies: _Counts, corpus: TermStatistics) -> _Floats:
        """Return ln((N - n + 0.5) / (n + 0.5)), or epsilon times the mean if negative."""
        odds = _log_odds(frequencies, corpus.passages)
        if (odds < 0).any():
            odds[odds < 0] = self.epsilon * _log_odds(corpus.frequencies(), corpus.passages).mean()
        return odds


@dataclass(frozen=True, slots=True)
class OkapiBM25L(BM25):
    """``BM25L`` of rank-bm25 0.2.2, which multiplies BM25L's weight by tf once more."""

    k1: float = 1.5
    delta: float = 0.5
    counts_empty: ClassVar[bool] = True

    def idf(self, frequencies: _Counts, corpus: TermStatistics) -> _Floats:
        """Return ln((N + 1) / (n + 0.5))."""
        return np.asarray(np.log((corpus.passages + 1) / (frequencies + 0.5)))

    def tf_weight(self, frequencies: _Counts, lengths: _Counts, average_length: float) -> _Floats:
        """Return tf * (k1 + 1) * (c + delta) / (k1 + c + delta)."""
        tf = frequencies.astype(np.float64)
        shifted = tf / self.length_norm(lengths, average_length) + self.delta
        return np.asarray(tf * (self.k1 + 1) * shifted / (self.k1 + shifted))


@dataclass(frozen=True, slots=True)
class TfIdf:
    """The cosine of tf * idf vectors, from 0 to 1: Salton and Buckley (1988).

    idf = ln((1 + N) / (1 + n)) + 1, as in scikit-learn's TfidfVectorizer. ``sublinear`` counts a
    frequency as 1 + ln(tf). The first query after a write reads all postings once, for lengths.
    """

    sublinear: bool = False
    cosine: ClassVar[bool] = True
    counts_empty: ClassVar[bool] = True
    missing_term_weight: ClassVar[float] = 0.0

    def idf(self, frequencies: _Counts, corpus: TermStatistics) -> _Floats:
        """Return ln((1 + N) / (1 + n)) + 1."""
        return np.asarray(np.log((1 + corpus.passages) / (1 + frequencies)) + 1)

    def tf_weight(self, frequencies: _Counts, lengths: _Counts, average_length: float) -> _Floats:  # noqa: ARG002  # as the protocol has it
        """Return tf, or 1 + ln(tf)."""
        tf = frequencies.astype(np.float64)
        return np.asarray(1 + np.log(tf)) if self.sublinear else tf

    def length_norm(self, lengths: _Counts, average_length: float) -> _Floats:  # noqa: ARG002  # as the protocol has it
        """Return 1 for every length, because whole vectors are normalized."""
        return np.ones(len(lengths))


SCORERS: dict[str, type[Scorer]] = {
    "bm25": BM25,
    "lucene": BM25,
    "bm25s": CountAllBM25,
    "robertson": RobertsonBM25,
    "atire": ATIREBM25,
    "bm25l": BM25L,
    "bm25+": BM25Plus,
    "okapi": OkapiBM25,
    "okapi-l": OkapiBM25L,
    "tfidf": TfIdf,
}
"""The scoring functions by name."""


def scorer_from_name(name: str, **parameters: float | None) -> Scorer:
    """Return the scoring function ``name``; parameters that are None keep their defaults.

    Raises InputError for an unknown name or parameter.
    """
    check_choice("scorer", name, SCORERS)
    given = {key: value for key, value in parameters.items() if value is not None}
    known = [field.name for field in fields(SCORERS[name])]  # type: ignore[arg-type]  # all are dataclasses
    unknown = [key for key in given if key not in known]
    if unknown:
        raise InputError(f"scorer {name!r} takes only {', '.join(known)}, got {unknown[0]!r}")
    return SCORERS[name](**given)


def scorer_as_dict(scorer: Scorer) -> dict[str, Any]:
    """Return a scoring function as JSON values; raise InputError for a user-defined one."""
    for name, scorer_type in SCORERS.items():
        if type(scorer) is scorer_type:
            return {"name": name, **asdict(scorer)}  # type: ignore[call-overload]  # all are dataclasses
    raise InputError(f"scorer {scorer!r:.80} can't be stored: use one of {', '.join(SCORERS)}")


def scorer_from_dict(values: Mapping[str, Any]) -> Scorer:
    """Return the scoring function that ``scorer_as_dict`` converted."""
    parameters = dict(values)
    return SCORERS[parameters.pop("name")](**parameters)


def _log_odds(frequencies: _Counts, passages: int) -> _Floats:
    return np.asarray(np.log(passages - frequencies + 0.5) - np.log(frequencies + 0.5))
