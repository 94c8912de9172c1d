"""From what the legs found to hits: fusing, choosing, reranking, fetching."""

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from twofold.backend import PassageBatch, View
from twofold.errors import QueryError
from twofold.fusion import Fusion, is_steady
from twofold.fusion.base import with_candidate
from twofold.protocols import Observer, Reranker, Stage
from twofold.results.hits import Hits, HitsInfo
from twofold.retriever.candidates import CandidateSet, rank_candidates
from twofold.retriever.query_context import QueryContext
from twofold.retriever.search_plan import LegResults, QueryInput, SearchPlan
from twofold.retriever.selection import Places, ResultSelection
from twofold.types import Leg, LegHits, Mask, Scores

if TYPE_CHECKING:
    from twofold.retriever.retriever import Retriever

_DEEPER = 4
"""Times as many candidates are asked for where groups or thresholds leave too few hits."""

Tried = Callable[[int], tuple[int, bool]]
"""Takes how many passages each leg is asked for; returns how many hits that gives, and whether
longer lists may hold others."""


def deepen(k: int, limit: int, tried: Tried) -> int:
    """Return how many passages each leg is asked for in the end, ``limit`` at first."""
    hits, more = tried(limit)
    while more and hits < k:
        limit *= _DEEPER
        hits, more = tried(limit)
    return limit


def may_have_more(
    pool: CandidateSet,
    lists: Mapping[Leg, LegHits],
    shape: ResultSelection,
    limit: int,
    fusion: Fusion,
) -> bool:
    """Whether a longer list of some leg could hold a passage that reaches the thresholds.

    And whether that matters: whatever comes first otherwise is among the candidates already.
    """
    if not shape.selects or not any(len(hits.rows) >= limit for hits in lists.values()):
        return False
    most = {leg: _most_unlisted(leg, hits, limit) for leg, hits in lists.items()}
    thresholds = {"dense": shape.min_dense, "lexical": shape.min_lexical}
    for leg, score in most.items():
        least = thresholds[leg]
        if least is not None and score < least:
            return False
    return shape.min_score is None or _most_fused(pool, most, fusion) >= shape.min_score


def _most_unlisted(leg: Leg, hits: LegHits, limit: int) -> float:
    """Return the most that a leg gives to a passage that it does not list."""
    last = float(hits.scores[-1]) if len(hits.rows) >= limit else -np.inf
    return last if leg == "dense" else max(last, 0.0)  # without a word in common


def _most_fused(pool: CandidateSet, most: Mapping[Leg, float], fusion: Fusion) -> float:
    """Return the most that a passage can score that neither leg lists, infinite if not known.

    It is the score of the corner: of a passage that has from each leg the most that is left.
    """
    if pool.fused is None:
        return max(most.values())
    # Below 0, the least lexical score is that of the candidates, which may be others further down.
    if not is_steady(fusion) or pool.evidence["lexical"].lowest < 0:
        return np.inf
    corner = {leg: with_candidate(each, most[leg]) for leg, each in pool.evidence.items()}
    return float(fusion.fuse(corner["dense"], corner["lexical"]).scores[-1])


Told = Callable[[Sequence[LegHits]], Sequence[LegHits]]
"""Takes what a stage found for each query, and gives it back."""


@contextmanager
def observe_stage(observer: Observer | None, stage: Stage, view: View) -> Iterator[Told]:
    """Open a stage of an observer, if there is one, and let it be told what was found."""
    if observer is None:
        yield _kept
        return
    with observer.stage(stage) as report:

        def told(found: Sequence[LegHits]) -> Sequence[LegHits]:
            if report is None:
                return found
            report(
                [
                    list(zip(view.ids(hits.rows), hits.scores.tolist(), strict=True))
                    for hits in found
                ]
            )
            return found

        yield told


def _kept(found: Sequence[LegHits]) -> Sequence[LegHits]:
    return found


@dataclass(frozen=True, slots=True)
class RankedQuery:
    """An answer before its passages are fetched.

    ``limit`` is how many passages each leg was asked for in the end. ``chosen`` are places in the
    pool, ``scores`` (n,) those that order them; ``read`` says whether these are a reranker's.
    ``stand_for`` are the near-duplicates of each, nothing where none were looked for.
    """

    question: QueryInput
    answer: HitsInfo
    limit: int
    pool: CandidateSet
    chosen: Places
    scores: Scores
    stand_for: Sequence[Places]
    read: bool = False


class RankingPipeline:
    """Makes the answers of one call, within one view."""

    def __init__(
        self, view: View, retriever: "Retriever", rules: SearchPlan, allowed: Mask | None
    ) -> None:
        self._view = view
        self._retriever = retriever
        self._rules = rules
        self._allowed = allowed
        self._shape = retriever.shape

    def draft(self, question: QueryInput, found: LegResults) -> RankedQuery:
        """Fuse what the legs found, and choose the hits; or all that may be, for a reranker."""
        retriever = self._retriever
        filtered = self._allowed is not None and not self._allowed.any()
        missing = _missing(retriever.mode, question.text, found.lists, filtered=filtered)
        if retriever.strict and missing:
            raise QueryError(f"strict=True, and {missing[0]}")
        pool = CandidateSet.of(self._view, question, found, self._rules.fusion)
        weak = pool.fused.warnings if pool.fused is not None else ()
        used = tuple(leg for leg, hits in found.lists.items() if len(hits.rows))
        answer = HitsInfo(
            question.text, retriever.mode, self._view.generation, used, (*missing, *weak)
        )
        if retriever.reranker is not None:
            budget = max(retriever.k, retriever.reranker.candidates)
            ranked = pool.best(self._view, budget, self._shape.passing(pool))
            limit = retriever.limit(self._rules)
            return RankedQuery(question, answer, limit, pool, ranked, pool.scores[ranked], ())
        return self._deepened(question, answer, found, pool)

    def reranked(
        self,
        drafts: Sequence[RankedQuery],
        reranker: Reranker,
        progress: Callable[[int], None] | None,
    ) -> list[RankedQuery]:
        """Order the candidates of all drafts by a reranker, and choose the hits."""
        view = self._view
        texts: list[list[str]] = []
        for draft in drafts:
            passages = view.passages(draft.pool.rows[draft.chosen])
            texts.append([passages[place].content for place in range(len(draft.chosen))])
        queries = [draft.question.text or "" for draft in drafts]
        out: list[RankedQuery] = []
        with observe_stage(self._retriever.observer, "rerank", view) as told:
            scored = reranker.rerank(queries, texts, progress)
            told(
                [
                    LegHits(draft.pool.rows[draft.chosen][order], read[order])
                    for draft, read in zip(drafts, scored, strict=True)
                    for order in [np.argsort(-read, kind="stable")]
                ]
            )
        for draft, read in zip(drafts, scored, strict=True):
            kept = np.arange(len(read))
            if reranker.threshold is not None:
                kept = np.flatnonzero(read >= reranker.threshold)
            own = draft.chosen[kept]
            order = rank_candidates(view, draft.pool.rows[own], read[kept], len(own))
            scores = np.full(len(draft.pool.rows), -np.inf)
            scores[own] = read[kept]
            chosen, stand_for = self._shape.reranked(
                view, draft.pool, own[order], scores, self._retriever.k
            )
            out.append(
                replace(draft, chosen=chosen, scores=scores[chosen], stand_for=stand_for, read=True)
            )
        return out

    def hits(self, drafts: Sequence[RankedQuery]) -> list[Hits]:
        """Fetch the passages of all drafts at once."""
        rows = [draft.pool.rows[draft.chosen] for draft in drafts]
        passages = self._view.passages(np.concatenate(rows))
        out: list[Hits] = []
        store = weakref.ref(self._retriever.index)
        settings = {
            each.name: getattr(self._retriever, each.name)
            for each in fields(self._retriever)
            if each.name not in ("index", "observer")  # whose run is over when hits are asked
        }
        start = 0
        for draft, own in zip(drafts, rows, strict=True):
            part = passages.part(start, start + len(own))
            inquiry = QueryContext(
                self._view,
                store,
                settings,
                self._rules,
                draft.question,
                self._allowed,
                draft.limit,
            )
            legs = draft.pool.columns(draft.chosen)
            fused = draft.pool.scores[draft.chosen] if draft.read else None
            answer = draft.answer
            field = self._retriever.group_by
            if field is not None and len(own) and not _has(part, field):
                said = f"no hit has the field {field!r}, by which they should be grouped"
                answer = replace(answer, warnings=(*answer.warnings, said))
            twins = [self._view.ids(draft.pool.rows[each]) for each in draft.stand_for]
            out.append(Hits(answer, draft.scores, legs, own, part, inquiry, fused, twins))
            start += len(own)
        return out

    def _deepened(
        self, question: QueryInput, answer: HitsInfo, found: LegResults, pool: CandidateSet
    ) -> RankedQuery:
        """Choose the hits, from more candidates as long as there are too few and may be more."""
        view, retriever, shape = self._view, self._retriever, self._shape
        fusion, first = self._rules.fusion, retriever.limit(self._rules)
        drafts: list[RankedQuery] = []

        def tried(limit: int) -> tuple[int, bool]:
            own, lists = pool, found.lists
            if limit > first:
                texts = [question.text] if question.text is not None else None
                vectors = question.vector[None, :] if question.vector is not None else None
                (deeper,) = retriever.ask_legs(
                    view, texts, vectors, self._allowed, question.scorer, limit
                )
                own, lists = CandidateSet.of(view, question, deeper, fusion), deeper.lists
            chosen, stand_for = shape.hits(view, own, limit, retriever.k, question.vector)
            scores = own.scores[chosen]
            drafts.append(RankedQuery(question, answer, limit, own, chosen, scores, stand_for))
            return len(chosen), may_have_more(own, lists, shape, limit, fusion)

        deepen(retriever.k, first, tried)
        return drafts[-1]


def _has(passages: PassageBatch, field: str) -> bool:
    """Whether any of these passages has a metadata field."""
    return any(field in passages[at].metadata for at in range(len(passages.ids)))


def _missing(
    mode: str, query: str | None, found: Mapping[Leg, LegHits], *, filtered: bool
) -> tuple[str, ...]:
    """Say why a leg had nothing to give; a mode of one leg is a leg too."""
    if filtered:
        return ("the filter matches no passage",)
    if query is not None and not query.strip() and not any(len(h.rows) for h in found.values()):
        return ("the query is empty",)
    said: list[str] = []
    if mode == "hybrid" and query is None:
        said.append("the lexical leg was not asked: the query is a vector without a text")
    if "dense" in found and not len(found["dense"].rows):
        said.append("the dense leg found nothing: no passage that may be returned has a vector")
    if "lexical" in found and not len(found["lexical"].rows):
        said.append("the lexical leg found nothing: no passage shares a word with the query")
    return tuple(said)
