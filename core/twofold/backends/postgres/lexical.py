"""The lexical leg: BM25 in SQL, in the fixed-point numbers of the local index.

Each posting adds ``trunc(weight * tf_weight * scale + 0.5)`` to its passage, as the compiled loops
of ``twofold.lexical.kernels`` do. The sums are integers, so that scores and ties are the same.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from twofold.backend import Keys
from twofold.backends.postgres.connections import Cursor
from twofold.backends.postgres.schema import StoredState
from twofold.errors import QueryError
from twofold.lexical import (
    ATIREBM25,
    BM25,
    BM25L,
    BM25Plus,
    CountAllBM25,
    OkapiBM25,
    OkapiBM25L,
    RobertsonBM25,
)
from twofold.lexical.inverted_index import moments_of_sums
from twofold.lexical.query_terms import score_scales
from twofold.protocols import Scorer, TermStatistics
from twofold.types import LegHits, Moments, Scores, TermMatch

_TF = "p.tf::float8"
_NORM = "(%(base)s::float8 + %(b)s::float8 * (p.length::float8 / %(average)s::float8))"
_SATURATED = f"({_TF} / ({_TF} + %(k1)s::float8 * {_NORM}))"
_SHIFTED = f"({_TF} / {_NORM} + %(delta)s::float8)"
_EXPRESSIONS: dict[type[Any], str] = {
    BM25: _SATURATED,
    CountAllBM25: _SATURATED,
    RobertsonBM25: _SATURATED,
    ATIREBM25: f"(%(k1_1)s::float8 * {_SATURATED})",
    OkapiBM25: f"(%(k1_1)s::float8 * {_SATURATED})",
    BM25L: f"(%(k1_1)s::float8 * {_SHIFTED} / (%(k1)s::float8 + {_SHIFTED}))",
    BM25Plus: f"(%(k1_1)s::float8 * {_SATURATED} + %(delta)s::float8)",
    OkapiBM25L: (f"({_TF} * %(k1_1)s::float8 * {_SHIFTED} / (%(k1)s::float8 + {_SHIFTED}))"),
}
"""Each scoring function's weight of a posting, with the operations in the same order."""
_SCORED = """
    SELECT p.row, sum(trunc(q.weight * ({expression} - %(missing)s::float8) * %(scale)s::float8
        + 0.5::float8)::bigint)::bigint AS score
    FROM unnest(%(terms)s::integer[], %(weights)s::float8[]) AS q (term, weight)
    JOIN postings p ON p.term = q.term {condition}
    GROUP BY p.row"""
_BEST = """
    WITH scored AS MATERIALIZED ({scored})
    SELECT s.row, s.score FROM scored s JOIN passages d ON d.row = s.row
    WHERE s.score >= (SELECT min(b.score) FROM
        (SELECT score FROM scored ORDER BY score DESC LIMIT %(k)s::bigint) b)
    ORDER BY s.score DESC, d.id LIMIT %(k)s::bigint"""
_MOMENTS = """
    SELECT q.place, sum(v.value), sum(v.value * v.value), count(*)
    FROM unnest(%(terms)s::integer[]) WITH ORDINALITY AS q (term, place)
    JOIN postings p ON p.term = q.term
    CROSS JOIN LATERAL (SELECT {expression} - %(missing)s::float8) AS v (value)
    GROUP BY q.place"""


def hash_key(text: str) -> str:
    """Return the hash of a term or an id as the tables have it: a UUID."""
    return xxhash.xxh3_128_hexdigest(text.encode("utf-8", "surrogatepass"))


@dataclass(frozen=True, slots=True)
class WeightedQuery:
    """The distinct terms of a query that occur in passages, weighted by a scoring function.

    Attributes:
        scorer: The scoring function.
        terms: The terms, in the order of the query.
        numbers: Their numbers in the table.
        counts: How often each occurs in the query.
        frequencies: In how many passages each occurs.
        idf: Their idf.
        weights: Counts times idf.
        scale: The factor that turns scores into integers.
        missing: The score of a passage without any of them, added to every score.
        average_length: Mean length of the passages that the scoring function counts.
        coverage: The share of the query's distinct terms that any passage has.
    """

    scorer: Scorer
    terms: tuple[str, ...]
    numbers: NDArray[np.int64]
    counts: NDArray[np.int64]
    frequencies: NDArray[np.int64]
    idf: Scores
    weights: Scores
    scale: float
    missing: float
    average_length: float
    coverage: float

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of the statements' expressions."""
        scorer: Any = self.scorer
        return {
            "terms": self.numbers.tolist(),
            "weights": self.weights.tolist(),
            "scale": self.scale,
            "missing": scorer.missing_term_weight,
            "average": self.average_length,
            "k1": float(scorer.k1),
            "k1_1": float(scorer.k1 + 1),
            "b": float(scorer.b),
            "base": float(1 - scorer.b),
            "delta": float(getattr(scorer, "delta", 0.0)),
        }

    @property
    def expression(self) -> str:
        """The weight of a posting in SQL."""
        return _EXPRESSIONS[type(self.scorer)]


def check_scorer(scorer: Scorer) -> None:
    """Raise QueryError for a scoring function that has no translation to SQL."""
    if type(scorer) not in _EXPRESSIONS:
        names = ", ".join(kind.__name__ for kind in _EXPRESSIONS)
        raise QueryError(
            f"PostgreSQL computes scores by one of {names}, and can't use {scorer!r:.80}: pass "
            "one of these as scorer, or use an Index"
        )


def weigh_query(
    cursor: Cursor, state: StoredState, terms: Sequence[str], scorer: Scorer
) -> WeightedQuery:
    """Look up and weight the terms of a query, repeats included."""
    check_scorer(scorer)
    counter = Counter(terms)
    keys = {hash_key(term): term for term in counter}
    known: dict[str, tuple[int, int]] = {}
    if keys:
        cursor.execute(
            "SELECT replace(hash::text, '-', ''), number, df FROM terms "
            "WHERE hash = ANY(%s::uuid[]) AND df > 0",
            (list(keys),),
        )
        known = {keys[key]: (number, df) for key, number, df in cursor.fetchall()}
    found = tuple(term for term in counter if term in known)
    numbers = np.array([known[term][0] for term in found], np.int64)
    frequencies = np.array([known[term][1] for term in found], np.int64)
    counts = np.array([counter[term] for term in found], np.int64)
    counted = state.passages if getattr(scorer, "counts_empty", False) else state.with_terms
    average = state.length / max(counted, 1) if state.length else 1.0
    idf = np.zeros(len(found))
    if len(found):
        corpus = TermStatistics(counted, average, lambda: _all_frequencies(cursor))
        idf = scorer.idf(frequencies, corpus)
    weights = counts * idf
    scale = float(score_scales(weights, np.array([0, len(found)], np.int64), scorer)[0])
    missing = scorer.missing_term_weight
    return WeightedQuery(
        scorer,
        found,
        numbers,
        counts,
        frequencies,
        idf,
        weights,
        scale,
        missing * float(weights.sum()) if missing else 0.0,
        average,
        len(found) / len(counter) if counter else 1.0,
    )


def _all_frequencies(cursor: Cursor) -> NDArray[np.int64]:
    cursor.execute("SELECT df FROM terms WHERE df > 0")
    return np.array([df for (df,) in cursor.fetchall()], np.int64)


def search(
    cursor: Cursor, query: WeightedQuery, k: int, condition: str, parameters: dict[str, Any]
) -> LegHits:
    """Return the best ``k`` passages that have a term and satisfy the condition, ties by id."""
    if not len(query.terms):
        return LegHits.empty()
    joined = f"JOIN passages d ON d.row = p.row AND {condition}" if condition else ""
    scored = _SCORED.format(expression=query.expression, condition=joined)
    cursor.execute(_BEST.format(scored=scored), {**query.parameters, **parameters, "k": k})
    found = cursor.fetchall()
    totals = np.array([score for _, score in found], np.int64)
    rows = np.array([row for row, _ in found], np.int64)
    return LegHits(rows, totals / query.scale + query.missing)


@dataclass(frozen=True, slots=True)
class FoundPostings:
    """The postings of a query's terms in some passages, (terms, keys): 0 where there is none."""

    frequencies: NDArray[np.int64]
    lengths: NDArray[np.int64]
    totals: NDArray[np.int64]


def find_postings(cursor: Cursor, query: WeightedQuery, keys: Keys) -> FoundPostings:
    """Return the postings of a query's terms in some passages, and what each adds to a score."""
    shape = len(query.terms), len(keys)
    frequencies, lengths = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    totals = np.zeros(shape, np.int64)
    if not shape[0] or not shape[1]:
        return FoundPostings(frequencies, lengths, totals)
    cursor.execute(
        "SELECT p.term, p.row, p.tf, p.length FROM postings p "
        "WHERE p.term = ANY(%s::integer[]) AND p.row = ANY(%s::bigint[])",
        (query.numbers.tolist(), keys.tolist()),
    )
    places = {number: at for at, number in enumerate(query.numbers.tolist())}
    columns: dict[int, list[int]] = {}
    for at, key in enumerate(keys.tolist()):
        columns.setdefault(key, []).append(at)
    found = cursor.fetchall()
    if not found:
        return FoundPostings(frequencies, lengths, totals)
    tf, length = (np.array([each[at] for each in found], np.int64) for at in (2, 3))
    parts = query.scorer.tf_weight(tf, length, query.average_length)
    parts = parts - query.scorer.missing_term_weight
    for (term, row, _, _), each, size, part in zip(found, tf, length, parts, strict=True):
        place = places[term]
        total = int(query.weights[place] * part * query.scale + 0.5)
        for column in columns[row]:
            frequencies[place, column], lengths[place, column] = each, size
            totals[place, column] = total
    return FoundPostings(frequencies, lengths, totals)


def scores(cursor: Cursor, query: WeightedQuery, keys: Keys) -> Scores:
    """Return the score of each passage, 0.0 where it shares no term with the query."""
    found = find_postings(cursor, query, keys)
    shares = (found.frequencies > 0).any(axis=0)
    return np.where(shares, found.totals.sum(axis=0) / query.scale + query.missing, 0.0)


def moments(cursor: Cursor, query: WeightedQuery, passages: int) -> Moments:
    """Return the moments of all passages' scores, as `PostingsIndex.moments` estimates them."""
    if not passages or not len(query.terms):
        return Moments(0.0, 0.0)
    cursor.execute(_MOMENTS.format(expression=query.expression), query.parameters)
    first, second = np.zeros(len(query.terms)), np.zeros(len(query.terms))
    for place, total, squares, _ in cursor.fetchall():
        first[place - 1], second[place - 1] = total, squares
    sharing = 0
    if query.missing:
        cursor.execute(
            "SELECT count(DISTINCT p.row) FROM postings p WHERE p.term = ANY(%s::integer[])",
            (query.numbers.tolist(),),
        )
        counted = cursor.fetchone()
        sharing = counted[0] if counted is not None else 0
    return moments_of_sums(query.weights, first, second, passages, query.missing, sharing)


def term_matches(cursor: Cursor, query: WeightedQuery, keys: Keys) -> list[tuple[TermMatch, ...]]:
    """Return what each query term adds to each passage's score, highest first."""
    found = find_postings(cursor, query, keys)
    scorer = query.scorer
    matches: list[tuple[TermMatch, ...]] = []
    for column in range(len(keys)):
        frequencies = found.frequencies[:, column]
        if not frequencies.any():
            matches.append(())
            continue
        length = found.lengths[:, column].max()
        norm = float(scorer.length_norm(np.array([length]), query.average_length)[0])
        of_passage: list[TermMatch] = []
        for at, term in enumerate(query.terms):
            if not frequencies[at] and not scorer.missing_term_weight:
                continue
            score = float(found.totals[at, column] / query.scale)
            score += float(query.weights[at]) * scorer.missing_term_weight
            count, idf = int(query.counts[at]), float(query.idf[at])
            of_passage.append(
                TermMatch(
                    term=term,
                    query_frequency=count,
                    frequency=int(frequencies[at]),
                    document_frequency=int(query.frequencies[at]),
                    idf=idf,
                    length=int(length),
                    average_length=query.average_length,
                    length_norm=norm,
                    tf_weight=score / (count * idf) if idf else 0.0,
                    contribution=score,
                )
            )
        matches.append(tuple(sorted(of_passage, key=lambda each: (-each.contribution, each.term))))
    return matches
