"""The retriever: text in, hits out, over both legs of one index."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.dense import check_effort
from twofold.errors import QueryError
from twofold.fusion import Fusion, Guarded, LegEvidence
from twofold.hits import Answer, Hits, LegColumn
from twofold.protocols import Scorer, Store, View
from twofold.threads import beside
from twofold.types import MODES, Leg, LegHits, Mask, Mode, Rows, Scores, Vectors, Where

SPLIT = 32
"""Queries in each half of a lexical batch, below which a second thread is not worth it."""
DEPTH = 100
"""Candidates that each leg brings to the fusion, or k where that is more."""


@dataclass(frozen=True, slots=True)
class Retriever:
    """Retrieves passages of an index; immutable, safe for many threads.

    ``scorer`` is the lexical leg's scoring function with its parameters, None for ``BM25()``.
    ``mode`` is ``"hybrid"``, ``"dense"`` or ``"lexical"``, ``k`` the number of hits wanted,
    ``where`` a filter for every query; all three can be given anew with each query. ``depth``
    candidates of each leg are scored by both legs before ``fusion``. ``strict`` raises where a leg
    finds nothing. Over a dense leg that is approximate, ``effort`` multiplies what is spent on a
    search, and ``exact`` looks at all vectors. Scores compare the passages of one query: the best
    of each leg counts as 1, however good it is.
    """

    index: Store
    mode: Mode = "hybrid"
    k: int = 10
    where: Where | None = None
    fusion: Fusion = field(default_factory=Guarded)
    depth: int = DEPTH
    strict: bool = False
    scorer: Scorer | None = None
    exact: bool = False
    effort: float = 1.0

    def __post_init__(self) -> None:
        _check_count("k", self.k)
        _check_count("depth", self.depth)
        _check_mode(self.mode, self.index)
        if self.scorer is not None and (
            isinstance(self.scorer, type)
            or not isinstance(self.scorer, Scorer)
            or self.scorer.__hash__ is None
        ):
            raise QueryError(
                f"scorer is {self.scorer!r}: an object is wanted, such as BM25(k1=1.2, b=0.75) or "
                "scorer_named('bm25+') of twofold.lexical, and one that is hashable"
            )
        check_effort(self.effort)
        if not callable(getattr(self.fusion, "fuse", None)):
            raise QueryError(
                f"fusion is {self.fusion!r}: WeightedSum(), ReciprocalRank() or another "
                "object with a method fuse is wanted"
            )

    def retrieve(
        self,
        query: str | None = None,
        *,
        k: int | None = None,
        where: Where | None = None,
        mode: Mode | None = None,
        vector: Vectors | None = None,
        scorer: Scorer | None = None,
        exact: bool | None = None,
        effort: float | None = None,
    ) -> Hits:
        """Return the best ``k`` passages for a text, a query vector (dim,), or both.

        A vector is used instead of encoding the text; alone, it asks the dense leg only. Never
        fewer than min(k, matches) hits come back, and never one that did not match. A text
        without any word finds nothing.

        Raises QueryError, FilterError.
        """
        vectors = None if vector is None else np.asarray(vector)[None, :]
        queries = None if query is None else [query]
        return self.retrieve_many(
            queries,
            k=k,
            where=where,
            mode=mode,
            vectors=vectors,
            scorer=scorer,
            exact=exact,
            effort=effort,
        )[0]

    def retrieve_many(
        self,
        queries: Sequence[str] | None = None,
        *,
        k: int | None = None,
        where: Where | None = None,
        mode: Mode | None = None,
        vectors: Vectors | None = None,
        scorer: Scorer | None = None,
        exact: bool | None = None,
        effort: float | None = None,
    ) -> list[Hits]:
        """Return ``retrieve`` of each query, with one encoder call and one matrix product.

        ``vectors`` are (n, dim). Raises QueryError, FilterError.
        """
        asked = self._settled(
            k=k, where=where, mode=mode, scorer=scorer, exact=exact, effort=effort
        )
        vectors = None if vectors is None else np.asarray(vectors)
        count = _check_queries(queries, vectors)
        if asked.mode == "lexical" and queries is None:
            raise QueryError("mode 'lexical' needs a text: a vector has no words")
        if count == 0:
            return []
        # A blank text asks nothing; a vector that was given with it still does.
        blank = [not text.strip() for text in queries] if queries and vectors is None else None
        with self.index.view() as view:
            if asked.mode != "lexical" and vectors is None and queries is not None:
                vectors = view.encode_queries(queries)
            allowed = view.allowed(asked.where)
            dense, lexical, completed = asked._legs(view, queries, vectors, allowed)
            if dense is not None and blank is not None:
                dense = [
                    LegHits.none() if skip else hits
                    for hits, skip in zip(dense, blank, strict=True)
                ]
            filtered = allowed is not None and not allowed.any()
            drafts = [
                asked._draft(
                    view,
                    queries[place] if queries is not None else None,
                    vectors[place] if vectors is not None else None,
                    dense[place] if dense is not None else None,
                    lexical[place] if lexical is not None else None,
                    completed[place] if completed is not None else None,
                    filtered=filtered,
                )
                for place in range(count)
            ]
            return _fetched(view, drafts, asked.scorer)

    def _legs(
        self,
        view: View,
        queries: Sequence[str] | None,
        vectors: Vectors | None,
        allowed: Mask | None,
    ) -> tuple[Sequence[LegHits] | None, Sequence[LegHits] | None, Sequence[Scores] | None]:
        """Ask the legs that the mode and the queries have; None for the others.

        The third are the dense scores of what the lexical leg found, if both are asked.
        """
        limit = max(self.depth, self.k) if self.mode == "hybrid" else self.k
        effort = math.inf if self.exact else self.effort

        def dense() -> Sequence[LegHits]:
            assert vectors is not None  # asked only then
            return view.dense(vectors, limit, allowed, effort)

        def lexical() -> Sequence[LegHits]:
            assert queries is not None  # asked only then
            return view.lexical(queries, limit, allowed, self.scorer)

        def lexical_completed() -> tuple[Sequence[LegHits], Sequence[Scores]]:
            assert vectors is not None  # asked only then
            found = lexical()
            pairs = zip(vectors, found, strict=True)
            return found, [view.dense_scores(vector, hits.rows) for vector, hits in pairs]

        if self.mode == "dense" or queries is None:
            return dense(), None, None
        if self.mode == "lexical":
            return None, self._by_words(view, queries, allowed), None
        if len(queries) == 1:  # the scan of one query uses both cores by itself
            words, completed = lexical_completed()
            return dense(), words, completed
        found, (words, completed) = beside(dense, lexical_completed)
        return found, words, completed

    def _by_words(
        self, view: View, queries: Sequence[str], allowed: Mask | None
    ) -> Sequence[LegHits]:
        """Ask the lexical leg alone, many queries in two halves on two threads."""
        half = len(queries) // 2

        def ask(some: Sequence[str]) -> list[LegHits]:
            return view.lexical(some, self.k, allowed, self.scorer)

        if half < SPLIT:
            return ask(queries)
        first, second = beside(lambda: ask(queries[:half]), lambda: ask(queries[half:]))
        return first + second

    def _settled(self, **given: Any) -> "Retriever":
        """Return this retriever with the settings of one call; None means: as they are."""
        changed = {name: value for name, value in given.items() if value is not None}
        return replace(self, **changed) if changed else self

    def _draft(
        self,
        view: View,
        query: str | None,
        vector: Vectors | None,
        dense: LegHits | None,
        lexical: LegHits | None,
        completed: Scores | None,
        *,
        filtered: bool,
    ) -> "_Draft":
        """Rank what the legs found; ``completed`` scores the lexical ones densely."""
        found: dict[Leg, LegHits] = {}
        if dense is not None:
            found["dense"] = dense
        if lexical is not None:
            found["lexical"] = lexical
        used = tuple(leg for leg, hits in found.items() if len(hits.rows))
        warnings = self._warnings(query, found, filtered=filtered)
        if self.strict and warnings:
            raise QueryError(f"strict=True, and {warnings[0]}")
        if completed is not None and query is not None and vector is not None:
            rows, scores, legs = self._fused(view, query, vector, found, completed)
        else:
            (leg, hits), *_ = found.items()
            rows, scores = hits.rows[: self.k], hits.scores[: self.k]
            ranks = np.arange(1, len(rows) + 1)
            legs = {leg: LegColumn(scores, ranks, scores, 1.0)}
        answer = Answer(query, self.mode, view.generation, used, warnings)
        return _Draft(answer, scores, legs, rows)

    def _fused(
        self,
        view: View,
        query: str,
        vector: Vectors,
        found: dict[Leg, LegHits],
        completed: Scores,
    ) -> tuple[Rows, Scores, dict[Leg, LegColumn]]:
        """Score every candidate of either leg by both, fuse, and keep the best."""
        dense, lexical = found["dense"], found["lexical"]
        both = np.concatenate([dense.rows, lexical.rows])
        rows, places = np.unique(both, return_inverse=True)
        near, worded = places[: len(dense.rows)], places[len(dense.rows) :]
        words = view.lexical_scores(query, dense.rows, self.scorer)
        # Below 0 is no word in common only for rank-bm25's Okapi, where a mean idf is negative.
        lowest = min(0.0, words.min(initial=0.0), lexical.scores.min(initial=0.0))
        evidence: dict[Leg, LegEvidence] = {
            "dense": _evidence(
                len(rows), dense, near, worded, completed, view.lowest_dense(vector)
            ),
            "lexical": _evidence(len(rows), lexical, worded, near, words, lowest),
        }
        fused = self.fusion.fuse(evidence["dense"], evidence["lexical"])
        best = _best(view, rows, fused.scores, self.k)
        columns: dict[Leg, LegColumn] = {
            "dense": _column(evidence["dense"], fused.dense, fused.dense_weight, best),
            "lexical": _column(evidence["lexical"], fused.lexical, fused.lexical_weight, best),
        }
        return rows[best], fused.scores[best], columns

    def _warnings(
        self, query: str | None, found: dict[Leg, LegHits], *, filtered: bool
    ) -> tuple[str, ...]:
        """Say why a leg had nothing to give; a mode of one leg is a leg too."""
        if filtered:
            return ("the filter matches no passage",)
        if query is not None and not query.strip() and not any(len(h.rows) for h in found.values()):
            return ("the query is empty",)
        said: list[str] = []
        if self.mode == "hybrid" and query is None:
            said.append("the lexical leg was not asked: the query is a vector without a text")
        if "dense" in found and not len(found["dense"].rows):
            said.append("the dense leg found nothing: no passage that may be returned has a vector")
        if "lexical" in found and not len(found["lexical"].rows):
            said.append("the lexical leg found nothing: no passage shares a word with the query")
        return tuple(said)


@dataclass(frozen=True, slots=True)
class _Draft:
    """Hits whose passages have not been fetched yet."""

    answer: Answer
    scores: Scores
    legs: dict[Leg, LegColumn]
    rows: Rows


def _fetched(view: View, drafts: Sequence[_Draft], scorer: Scorer | None) -> list[Hits]:
    """Fetch the passages of all hits at once."""
    passages = view.passages(np.concatenate([draft.rows for draft in drafts]))
    hits: list[Hits] = []
    start = 0
    for draft in drafts:
        end = start + len(draft.rows)
        part = passages.part(start, end)
        hits.append(Hits(draft.answer, draft.scores, draft.legs, draft.rows, part, view, scorer))
        start = end
    return hits


def _best(view: View, rows: Rows, scores: Scores, k: int) -> NDArray[np.int64]:
    """Return the places of the best ``k`` rows by score, ties by id."""
    order = np.argsort(-scores, kind="stable")
    if len(order) > k:
        order = order[: int(np.searchsorted(-scores[order], -scores[order[k - 1]], side="right"))]
    ordered = scores[order]
    if (ordered[1:] == ordered[:-1]).any():
        ids = view.ids(rows[order])
        by_id = sorted(range(len(order)), key=lambda at: (-ordered[at], ids[at]))
        order = order[by_id]
    return order[:k]


def _evidence(
    count: int,
    hits: LegHits,
    listed: NDArray[np.int64],
    others: NDArray[np.int64],
    completed: Scores,
    lowest: float,
) -> LegEvidence:
    """Return what a leg says of all candidates, by place: those it listed and the ``others``."""
    ranks = np.zeros(count, np.int64)
    scores = np.empty(count)
    scores[others] = completed
    scores[listed] = hits.scores
    ranks[listed] = np.arange(1, len(hits.rows) + 1)
    return LegEvidence(scores, ranks, lowest)


def _column(
    evidence: LegEvidence,
    normalized: Scores,
    weight: float,
    best: NDArray[np.int64],
) -> LegColumn:
    return LegColumn(evidence.scores[best], evidence.ranks[best], normalized[best], weight)


def _check_count(name: str, value: int) -> None:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
        raise QueryError(f"{name} is {value!r}: a whole number of at least 1 is wanted")


def _check_mode(mode: str, index: Store) -> None:
    if mode not in MODES:
        names = ", ".join(repr(each) for each in MODES)
        raise QueryError(f"unknown mode {mode!r}: use one of {names}")
    if mode not in index.modes:
        names = ", ".join(repr(each) for each in index.modes)
        raise QueryError(
            f"this index can't serve mode {mode!r}: it lacks a leg; it serves {names}: give "
            f"mode={index.modes[0]!r}"
        )


def _check_queries(queries: Sequence[str] | None, vectors: Vectors | None) -> int:
    """Return how many queries there are; raise QueryError where they can't be asked."""
    if queries is None and vectors is None:
        raise QueryError("give a query text, a query vector, or both")
    if isinstance(queries, str):
        raise QueryError("retrieve_many takes a list of texts; use retrieve for one")
    for query in queries if queries is not None else ():
        if not isinstance(query, str):
            raise QueryError(f"a query is a string, not {type(query).__name__}: {query!r:.80}")
        if not query.isascii() and any("\ud800" <= char <= "\udfff" for char in query):
            raise QueryError(f"a query has half a surrogate pair, which is no text: {query!r:.80}")
    if vectors is None:
        return len(queries) if queries is not None else 0
    if vectors.ndim != 2:
        raise QueryError(
            f"query vectors have shape {vectors.shape}: retrieve takes (dim,), retrieve_many "
            "(n, dim)"
        )
    if queries is not None and len(queries) != len(vectors):
        raise QueryError(f"{len(queries)} texts came with {len(vectors)} vectors")
    return len(vectors)
