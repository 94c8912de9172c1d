"""The stages of a search: plan, search both legs, complete, fuse, select, fetch."""

import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from twofold.backend import Searchable, SearchScope
from twofold.calibration import Calibration
from twofold.errors import ConcurrentDeleteError, QueryError
from twofold.filters import find_mismatches
from twofold.fusion import is_depth_invariant
from twofold.fusion.base import add_candidate
from twofold.protocols import Reranker
from twofold.results import WhyNot
from twofold.results.hits import Hits, HitsInfo, QueryContext
from twofold.retriever.candidates import (
    CandidateSet,
    LegResults,
    Positions,
    QueryInput,
    rank_by_score,
)
from twofold.retriever.leg_search import complete_legs, encode_inputs, run_stage, search_legs
from twofold.retriever.search_plan import SearchOptions, SearchPlan, cap_limit, plan_search
from twofold.retriever.selection import passing_positions, pick_hits, select_candidates
from twofold.retriever.signals import measure_signals
from twofold.types import Leg, LegHits, Scores, Vectors

_DEEPER = 4
"""Factor of the search depth where groups or thresholds leave too few hits."""


@dataclass(frozen=True, slots=True)
class RankedQuery:
    """The selected candidates of one query, before their passages are fetched.

    ``limit`` is the number of passages last requested from each leg. ``selected`` (n,) has the
    hits' positions in ``candidates``, best first; ``scores`` (n,) are theirs, from a reranker if
    ``reranked``. ``duplicates`` has each hit's near-duplicates, or is empty if none were searched.
    ``signals`` (n,) and ``confidence`` are known where there is a calibration; ``abstained`` says
    why there are no hits although there are candidates.
    """

    query: QueryInput
    limit: int
    candidates: CandidateSet
    selected: Positions
    scores: Scores
    duplicates: Sequence[Positions] = ()
    reranked: bool = False
    signals: Scores | None = None
    confidence: float | None = None
    abstained: str | None = None


@dataclass(frozen=True, slots=True)
class AnsweredQuery:
    """A query and how it was searched, to explain later why a passage is not a hit.

    ``target`` is a weak reference, so that hits don't keep an index open and locked.
    """

    target: "weakref.ref[Searchable]"
    reopen: Callable[[], AbstractContextManager[SearchScope]]
    plan: SearchPlan
    query: QueryInput
    limit: int


NO_ANSWER = "no answer was given"
"""How the warning begins of a search that abstained."""
_PATIENCE = 30.0
"""Seconds for which a search is tried again whose passages are deleted while it reads them."""
ExplainAbsence = Callable[[AnsweredQuery, str, Hits], WhyNot]
"""Returns why the passage with an id is not among the hits of a query."""


def run_search(
    target: Searchable,
    options: SearchOptions,
    texts: Sequence[str] | None,
    vectors: Vectors | None,
    explain_absence: ExplainAbsence,
    progress: Callable[[int], None] | None = None,
) -> list[Hits]:
    """Return the hits of each query: ``texts``, ``vectors`` (n, dim), or both.

    ``explain_absence`` implements `Hits.why_not`. ``progress`` is called with the number of
    query-passage pairs that the reranker has scored.
    """
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        with suppress(ConcurrentDeleteError):
            return _search_once(target, options, texts, vectors, explain_absence, progress)
    return _search_once(target, options, texts, vectors, explain_absence, progress)


def _search_once(
    target: Searchable,
    options: SearchOptions,
    texts: Sequence[str] | None,
    vectors: Vectors | None,
    explain_absence: ExplainAbsence,
    progress: Callable[[int], None] | None,
) -> list[Hits]:
    with target.open_search() as scope:
        plan = plan_search(scope, options)
        queries = encode_inputs(scope, plan, texts, vectors)
        if not queries:
            return []
        found = search_legs(scope, plan, queries, plan.limit)
        candidates = complete_legs(scope, plan, queries, found)  # and fuse
        ranked = select_hits(scope, plan, queries, found, candidates)
        if options.reranker is not None:
            ranked = rerank_hits(scope, plan, options.reranker, ranked, progress)
        if plan.calibration is not None:
            ranked = [
                _judge(plan, plan.calibration, query, lists)
                for query, lists in zip(ranked, found, strict=True)
            ]
        return fetch_hits(target, scope, plan, ranked, found, explain_absence)


def _judge(
    plan: SearchPlan, calibration: Calibration, query: RankedQuery, lists: LegResults
) -> RankedQuery:
    """Return a query with its confidence, and without hits if that is too low to answer."""
    options, inputs = plan.options, query.query
    if plan.mode == "hybrid" and inputs.text is None:
        if options.abstain is not None:
            raise QueryError("abstain in hybrid mode needs a query text: pass it with the vector")
        return query
    signals = measure_signals(lists, query.candidates.keys[query.selected])
    # A query without hits, or with one leg of two, is unlike those of the calibration.
    unlike = not len(query.selected) or (inputs.vector is None and plan.mode != "lexical")
    confidence = 0.0 if unlike else calibration.confidence(signals)
    judged = replace(query, signals=signals, confidence=confidence)
    if options.abstain is None:
        return judged
    threshold = calibration.threshold(options.abstain)
    if confidence > threshold:
        return judged
    reason = "its confidence is too low"
    if np.isinf(threshold):
        reason = f"{calibration.queries:,} calibration queries are too few to tell"
    return replace(
        judged,
        selected=query.selected[:0],
        scores=query.scores[:0],
        duplicates=(),
        # Equal for all queries, since adapters log each warning once.
        abstained=f"{NO_ANSWER} (abstain={options.abstain:g}): {reason}",
    )


def select_hits(
    scope: SearchScope,
    plan: SearchPlan,
    queries: Sequence[QueryInput],
    found: Sequence[LegResults],
    candidates: Sequence[CandidateSet],
) -> list[RankedQuery]:
    """Select the hits of each query, or the candidates that a reranker scores.

    Legs are searched deeper where groups or thresholds leave too few hits.
    """
    options, k, reranker = plan.options, plan.options.k, plan.options.reranker
    count, selects = k if reranker is None else max(k, reranker.candidates), options.selects
    ranked: list[RankedQuery] = []
    for query, lists, scored in zip(queries, found, candidates, strict=True):
        limit = plan.limit
        duplicates: Sequence[Positions] = ()
        if reranker is not None or not selects:
            passing = passing_positions(options, scored) if selects else None
            selected = scored.rank(scope, count, passing)
        else:
            selected, duplicates = select_candidates(options, scope, scored, limit, k, query.vector)
            while len(selected) < k and may_have_more(scope, plan, scored, lists, limit):
                limit = cap_limit(scope, limit * _DEEPER)
                (lists,) = search_legs(scope, plan, [query], limit)
                (scored,) = complete_legs(scope, plan, [query], [lists])
                selected, duplicates = select_candidates(
                    options, scope, scored, limit, k, query.vector
                )
        scores = scored.scores[selected]
        ranked.append(RankedQuery(query, limit, scored, selected, scores, duplicates))
    return ranked


def may_have_more(
    scope: SearchScope, plan: SearchPlan, candidates: CandidateSet, lists: LegResults, limit: int
) -> bool:
    """Return whether a search deeper than ``limit`` could find more that reach the thresholds."""
    options = plan.options
    if cap_limit(scope, limit + 1) == limit:
        return False
    if not any(len(hits.keys) >= limit for hits in lists.values()):
        return False
    most = {leg: _best_unlisted(leg, hits, limit) for leg, hits in lists.items()}
    for leg, score in most.items():
        least = options.min_dense if leg == "dense" else options.min_lexical
        if least is not None and score < least:
            return False
    if options.min_score is None:
        return True
    return _best_fused(plan, candidates, most) >= options.min_score


def _best_unlisted(leg: Leg, hits: LegHits, limit: int) -> float:
    """Return an upper bound of a leg's score for passages outside its list ``hits``."""
    last = float(hits.scores[-1]) if len(hits.keys) >= limit else -np.inf
    return last if leg == "dense" else max(last, 0.0)  # 0 without a shared word


def _best_fused(plan: SearchPlan, candidates: CandidateSet, most: Mapping[Leg, float]) -> float:
    """Return an upper bound of the fused score of passages whose leg scores are <= ``most``."""
    if candidates.fused is None:
        return max(most.values())
    # A least lexical score below 0 is that of the candidates, and may change with more of them.
    if not is_depth_invariant(plan.fusion) or candidates.legs["lexical"].lowest < 0:
        return np.inf
    legs = {leg: add_candidate(scores, most[leg]) for leg, scores in candidates.legs.items()}
    return float(plan.fusion.fuse(legs["dense"], legs["lexical"]).scores[-1])


def rerank_hits(
    scope: SearchScope,
    plan: SearchPlan,
    reranker: Reranker,
    ranked: Sequence[RankedQuery],
    progress: Callable[[int], None] | None = None,
) -> list[RankedQuery]:
    """Order the candidates of all queries by a reranker, and select the hits."""
    keys = [query.candidates.keys[query.selected] for query in ranked]
    passages = iter(scope.session.fetch(np.concatenate(keys)).passages)
    texts = [[next(passages).content for _ in part] for part in keys]
    read: list[Scores] = []

    def score() -> list[LegHits]:
        queries = [query.query.text or "" for query in ranked]
        read.extend(reranker.rerank(queries, texts, progress))
        orders = [np.argsort(-scores, kind="stable") for scores in read]
        return [
            LegHits(part[order], scores[order])
            for part, scores, order in zip(keys, read, orders, strict=True)
        ]

    options, observer = plan.options, plan.options.observer
    score() if observer is None else run_stage(observer, "rerank", scope, score)
    reranked: list[RankedQuery] = []
    for query, part, scores in zip(ranked, keys, read, strict=True):
        passing = np.arange(len(scores))
        if reranker.threshold is not None:
            passing = np.flatnonzero(scores >= reranker.threshold)
        order = passing[rank_by_score(scope, part[passing], scores[passing], len(passing))]
        picked, duplicates = order[: options.k], []
        if options.compares:
            at, groups = pick_hits(options, scope, part[order], scores[order], options.k)
            picked, duplicates = order[at], [query.selected[order[group]] for group in groups]
        reranked.append(
            replace(
                query,
                selected=query.selected[picked],
                scores=scores[picked].astype(np.float64),
                duplicates=duplicates,
                reranked=True,
            )
        )
    return reranked


def fetch_hits(
    target: Searchable,
    scope: SearchScope,
    plan: SearchPlan,
    ranked: Sequence[RankedQuery],
    found: Sequence[LegResults],
    explain_absence: ExplainAbsence,
) -> list[Hits]:
    """Fetch the passages of all queries at once, and build their hits."""
    generation, one = scope.session.corpus.generation, len(ranked) == 1
    keys = [query.candidates.keys[query.selected] for query in ranked]
    columns = [query.candidates.columns(query.selected) for query in ranked]
    missing = [
        _missing_legs(scope, plan, query.query, lists)
        for query, lists in zip(ranked, found, strict=True)
    ]
    if plan.options.strict and any(missing):
        raise QueryError(f"{next(filter(None, missing))[0]}; strict=True forbids this")
    fetched = scope.session.fetch(keys[0] if one else np.concatenate(keys))
    results: list[Hits] = []
    start = 0
    for query, part, lists, legs, reasons in zip(
        ranked, keys, found, columns, missing, strict=True
    ):
        end = start + len(part)
        passages = fetched.passages if one else fetched.passages[start:end]
        warnings = [*reasons]
        if query.candidates.fused is not None:
            warnings += query.candidates.fused.warnings
        if query.abstained is not None:
            warnings.append(query.abstained)
        field = plan.options.group_by
        if field is not None and len(part) and not any(field in p.metadata for p in passages):
            warnings.append(f"no hit has the field {field!r}, so group_by had no effect")
        most = scope.capabilities.max_k
        if most is not None and plan.options.k > most:
            warnings.append(f"this backend returns at most {most:,} passages per search: lower k")
        answered = AnsweredQuery(weakref.ref(target), scope.reopen, plan, query.query, query.limit)
        info = HitsInfo(
            query.query.text,
            plan.mode,
            generation,
            tuple(leg for leg, hits in lists.items() if len(hits.keys)),
            tuple(warnings),
            query.confidence,
            tuple(query.signals.tolist()) if query.signals is not None else (),
            query.abstained is not None,
        )
        context = QueryContext(
            scope.reopen,
            plan.scorer,
            query.query.vector,
            query.query.given,
            partial(explain_absence, answered),
        )
        results.append(
            Hits(
                info,
                query.scores,
                legs,
                part,
                fetched.ids[start:end],
                passages,
                context,
                query.candidates.scores[query.selected] if query.reranked else None,
                [scope.ids(query.candidates.keys[group]) for group in query.duplicates],
            )
        )
        start = end
    return results


def _missing_legs(
    scope: SearchScope, plan: SearchPlan, query: QueryInput, lists: LegResults
) -> tuple[str, ...]:
    """Return a warning for each leg that found nothing or was not searched."""
    mode, text = plan.mode, query.text
    empty = [leg for leg, hits in lists.items() if not len(hits.keys)]
    zero_vector = query.vector is None and mode != "lexical" and (text is None or text.strip())
    if not empty and not zero_vector and not (mode == "hybrid" and text is None):
        return ()
    if len(empty) == len(lists):
        if plan.where is not None:
            statistics = scope.statistics
            if statistics is None:
                return ("the filter matches no passage",)
            if not len(statistics.list_keys(plan.where)):
                reasons = find_mismatches(plan.where, statistics.field_types)
                return ("the filter matches no passage", *reasons)
        if text is not None and not text.strip():
            return ("the query is empty",)
    warnings: list[str] = []
    if mode == "hybrid" and text is None:
        warnings.append("the lexical leg was not searched: the query is a vector without a text")
    if zero_vector:
        warnings.append(
            "the dense leg was not searched: the query's vector has length zero, which has no "
            "cosine"
        )
    elif "dense" in empty:
        warnings.append("the dense leg found nothing: no passage that was searched has a vector")
    if "lexical" in empty:
        warnings.append("the lexical leg found nothing: no passage shares a word with the query")
    return tuple(warnings)
