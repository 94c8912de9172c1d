"""The retriever: text in, hits out, over both legs of one index."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from twofold.backend import Store, View
from twofold.concurrency import run_parallel
from twofold.dense import check_effort
from twofold.errors import QueryError
from twofold.fusion import Fusion, GuardedFusion, WeightedFusion, preset_from_name
from twofold.protocols import Observer, Reranker, Scorer
from twofold.results.hits import Hits
from twofold.retriever.pipeline import RankedQuery, RankingPipeline, observe_stage
from twofold.retriever.search_plan import DEPTH, LegResults, QueryInput, SearchPlan
from twofold.retriever.selection import ResultSelection
from twofold.types import LegHits, Mask, Mode, Scores, Vectors, Where
from twofold.validation import (
    check_fusion,
    check_integer,
    check_mode,
    check_number,
    check_queries,
    check_query_vector,
    check_scorer,
)

SPLIT = 32
"""Queries in each half of a lexical batch, below which a second thread is not worth it."""
BESIDE = 10_000
"""Passages from which on it pays to let another thread look for one query's words."""
DEFAULT_FUSION: Fusion = GuardedFusion()


@dataclass(frozen=True, slots=True)
class Retriever:
    """Retrieves passages of an index; immutable, safe for many threads.

    ``mode`` is ``"hybrid"``, ``"dense"`` or ``"lexical"``, ``k`` the number of hits wanted,
    ``where`` a filter for every query. ``depth`` candidates of each leg are scored by both legs
    before ``fusion``; ``scorer`` is the lexical leg's scoring function. What is None of these three
    is as the index's setting in use says (``Index.profiles``), else ``Guarded()``, 100 and
    ``BM25()``. ``dense_weight`` gives that fusion another share of the dense leg, from 0 to 1; the
    lexical one has the rest, and no guard shifts it. ``preset`` fuses as another library does:
    ``"langchain"``, ``"llamaindex"`` and others of ``twofold.fusion.PRESETS``, with as many
    candidates as hits.

    ``min_score``, ``min_dense``, ``min_lexical``, ``diversity``, ``dedup_threshold``, ``group_by`` and
    ``per_group`` shape the answer: see ``Shape``. ``reranker`` reads the best candidates that are
    left again, and its scores order the hits. ``strict`` raises where a leg finds nothing. Over a
    dense leg that is approximate, ``effort`` multiplies what is spent on a search, and ``exact``
    looks at all vectors. A setting that has no argument in ``retrieve`` is changed for one query by
    ``dataclasses.replace(retriever, diversity=0.3)``. ``observer`` is told of each leg and of the
    reranker as they run, for tracing.

    Scores of the default fusion compare the passages of one query: the best of each leg counts as
    1, however good it is. ``min_dense`` and ``min_lexical`` are on the legs' own scales.
    """

    index: Store
    mode: Mode = "hybrid"
    k: int = 10
    where: Where | None = None
    fusion: Fusion | None = None
    depth: int | None = None
    strict: bool = False
    scorer: Scorer | None = None
    exact: bool = False
    effort: float = 1.0
    preset: str | None = None
    min_score: float | None = None
    min_dense: float | None = None
    min_lexical: float | None = None
    diversity: float = 0.0
    dedup_threshold: float | None = None
    group_by: str | None = None
    per_group: int = 1
    reranker: Reranker | None = None
    dense_weight: float | None = None
    observer: Observer | None = None

    def __post_init__(self) -> None:
        check_integer("k", self.k, error=QueryError)
        if self.depth is not None:
            check_integer("depth", self.depth, error=QueryError)
        check_mode(self.mode, self.index.modes)
        check_scorer(self.scorer)
        check_effort(self.effort)
        if self.preset is not None:
            preset_from_name(self.preset)
            if self.fusion is not None:
                raise QueryError(f"like={self.preset!r} is a fusion too: give one of the two")
            if self.dense_weight is not None:
                raise QueryError(f"like={self.preset!r} has weights of its own: leave dense_weight")
        if self.dense_weight is not None:
            check_number("dense_weight", self.dense_weight, 0, 1)
        check_fusion(self.fusion)
        if self.reranker is not None and not isinstance(self.reranker, Reranker):
            raise QueryError(
                f"reranker is {self.reranker!r:.80}: an object with rerank, candidates and "
                "threshold is wanted, such as CrossEncoderReranker(model) of twofold.rerank"
            )
        _ = self.shape  # checks its own values
        other = {"dense": "min_lexical", "lexical": "min_dense"}.get(self.mode)
        if other is not None and getattr(self, other) is not None:
            raise QueryError(
                f"{other} needs the other leg, and mode is {self.mode!r}: leave it out"
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
        min_score: float | None = None,
        min_dense: float | None = None,
        min_lexical: float | None = None,
    ) -> Hits:
        """Return the best ``k`` passages for a text, a query vector (dim,), or both.

        A vector is used instead of encoding the text; alone, it asks the dense leg only. Never
        fewer than min(k, matches) hits come back, and never one that did not match. A blank text
        finds nothing; one without a word that is indexed finds nothing in the lexical leg.

        Raises QueryError, FilterError.
        """
        return self.retrieve_many(
            None if query is None else [query],
            k=k,
            where=where,
            mode=mode,
            vectors=None if vector is None else check_query_vector(vector)[None, :],
            scorer=scorer,
            exact=exact,
            effort=effort,
            min_score=min_score,
            min_dense=min_dense,
            min_lexical=min_lexical,
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
        min_score: float | None = None,
        min_dense: float | None = None,
        min_lexical: float | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[Hits]:
        """Return ``retrieve`` of each query, with one encoder call and one matrix product.

        ``vectors`` are (n, dim). ``progress`` is called with the number of pairs of query and
        passage that the reranker has read. Raises QueryError, FilterError.
        """
        asked = self._settled(
            k=k,
            where=where,
            mode=mode,
            scorer=scorer,
            exact=exact,
            effort=effort,
            min_score=min_score,
            min_dense=min_dense,
            min_lexical=min_lexical,
        )
        vectors = None if vectors is None else np.asarray(vectors)
        count = check_queries(queries, vectors)
        if asked.mode == "lexical" and queries is None:
            raise QueryError("mode 'lexical' needs a text: a vector has no words")
        if asked.min_lexical is not None and queries is None:
            raise QueryError("min_lexical needs a text: a vector has no words")
        if asked.reranker is not None and queries is None:
            raise QueryError("a reranker reads the query: give a text with the vector")
        if count == 0:
            return []
        with self.index.view() as view:
            rules = asked.rules(view)
            # A blank text asks nothing; a vector that was given with it still does.
            given = vectors is not None
            blank = queries is not None and not given
            if asked.mode != "lexical" and vectors is None and queries is not None:
                with observe_stage(asked.observer, "encode", view):
                    vectors = view.encode_queries(queries)
            allowed = view.allowed(asked.where)
            found = asked.ask_legs(
                view, queries, vectors, allowed, rules.scorer, asked.limit(rules)
            )
            drafting = RankingPipeline(view, asked, rules, allowed)
            drafts: list[RankedQuery] = []
            for place in range(count):
                text = queries[place] if queries is not None else None
                vector = vectors[place] if vectors is not None else None
                own = found[place]
                if blank and text is not None and not text.strip() and "dense" in own.lists:
                    own = LegResults({**own.lists, "dense": LegHits.none()}, own.completed)
                drafts.append(drafting.draft(QueryInput(text, vector, rules.scorer, given), own))
            if asked.reranker is not None:
                drafts = drafting.reranked(drafts, asked.reranker, progress)
            return drafting.hits(drafts)

    def rules(self, view: View) -> SearchPlan:
        """Return the fusion, the depth and the scoring function that hold in this generation."""
        fusion, depth, scorer = self.fusion, self.depth, self.scorer
        if self.preset is not None:
            preset = preset_from_name(self.preset)
            usual = self.k if preset.depth_is_k else DEPTH
            return SearchPlan(preset.fusion, depth if depth is not None else usual, scorer)
        setting = view.profile
        if setting is not None:
            fusion = fusion if fusion is not None else setting.fusion
            depth = depth if depth is not None else setting.depth
            scorer = scorer if scorer is not None else setting.scorer
        fusion = fusion if fusion is not None else DEFAULT_FUSION
        if self.dense_weight is not None:
            fusion = fusion.fusion if isinstance(fusion, GuardedFusion) else fusion
            if not isinstance(fusion, WeightedFusion):
                raise QueryError(f"dense_weight is given, and {fusion!r} has no such weight")
            fusion = fusion.reweighted(self.dense_weight)
        return SearchPlan(fusion, depth if depth is not None else DEPTH, scorer)

    @property
    def shape(self) -> ResultSelection:
        """What is left out of the candidates, and what is preferred among the rest."""
        return ResultSelection(
            self.min_score,
            self.min_dense,
            self.min_lexical,
            self.diversity,
            self.dedup_threshold,
            self.group_by,
            self.per_group,
        )

    def limit(self, rules: SearchPlan) -> int:
        """Return how many passages each leg is asked for."""
        if self.mode == "hybrid" or self.reranker is not None or self.shape.selects:
            budget = self.reranker.candidates if self.reranker is not None else 0
            return int(max(rules.depth, self.k, budget))
        return int(self.k)

    def ask_legs(
        self,
        view: View,
        queries: Sequence[str] | None,
        vectors: Vectors | None,
        allowed: Mask | None,
        scorer: Scorer | None,
        limit: int,
    ) -> list[LegResults]:
        """Ask the legs that the mode and the queries have for ``limit`` passages a query."""
        effort = math.inf if self.exact else self.effort

        def dense() -> Sequence[LegHits]:
            assert vectors is not None  # asked only then
            with observe_stage(self.observer, "dense", view) as report:
                return report(view.dense(vectors, limit, allowed, effort))

        def lexical() -> Sequence[LegHits]:
            assert queries is not None
            with observe_stage(self.observer, "lexical", view) as report:
                if self.mode == "lexical":
                    return report(_in_halves(words_of, queries))
                return report(words_of(queries))

        def words_of(some: Sequence[str]) -> list[LegHits]:
            return view.lexical(some, limit, allowed, scorer)

        def lexical_completed() -> tuple[Sequence[LegHits], Sequence[Scores]]:
            assert vectors is not None
            found = lexical()
            pairs = zip(vectors, found, strict=True)
            return found, [view.dense_scores(vector, hits.rows) for vector, hits in pairs]

        if self.mode == "dense" or queries is None:
            return [LegResults({"dense": hits}, None) for hits in dense()]
        if self.mode == "lexical":
            return [LegResults({"lexical": hits}, None) for hits in lexical()]
        if len(queries) == 1 and view.count < BESIDE:
            near, (words, completed) = dense(), lexical_completed()
        else:
            near, (words, completed) = run_parallel(dense, lexical_completed)
        return [
            LegResults({"dense": each, "lexical": hits}, scores)
            for each, hits, scores in zip(near, words, completed, strict=True)
        ]

    def _settled(self, **given: Any) -> "Retriever":
        """Return this retriever with the settings of one call; None means: as they are."""
        changed = {name: value for name, value in given.items() if value is not None}
        return replace(self, **changed) if changed else self


def _in_halves(
    ask: Callable[[Sequence[str]], list[LegHits]], queries: Sequence[str]
) -> Sequence[LegHits]:
    """Ask with all queries; with many, in two halves on two threads."""
    half = len(queries) // 2
    if half < SPLIT:
        return ask(queries)
    first, second = run_parallel(lambda: ask(queries[:half]), lambda: ask(queries[half:]))
    return first + second
