"""Why a passage is not among the hits of a query: the query is searched again with it in mind."""

from dataclasses import replace

import numpy as np

from twofold.backend import SearchScope
from twofold.errors import QueryError
from twofold.protocols import Reranker
from twofold.results import Hits, LegRank, ThresholdMiss, WhyNot
from twofold.retriever.candidates import CandidateSet
from twofold.retriever.pipeline import AnsweredQuery, RankedQuery, rerank_hits
from twofold.retriever.selection import group_values
from twofold.retriever.why_not.advice import find_changes
from twofold.retriever.why_not.rerun import Rerun

_BEYOND = 100
"""Hits, beyond twice k, among which a place is looked for where hits depend on one another."""


def explain_absence(answered: AnsweredQuery, passage_id: str, hits: Hits) -> WhyNot:
    """Return why a passage is not among ``hits``, and which options would bring it in.

    Whether the passage is a hit, stored, or filtered out is answered from the hits' own generation,
    also after a write.

    Raises:
        QueryError: The legs must be searched again, and the index has changed or is gone.
    """
    if not isinstance(passage_id, str):
        raise QueryError(f"a passage id must be a string, got {passage_id!r:.80}")
    if any("\ud800" <= char <= "\udfff" for char in passage_id):
        raise QueryError(f"no id contains half a surrogate pair, got {passage_id!r:.80}")
    why = WhyNot(passage_id, hits.query)
    if passage_id in hits.ids:
        return replace(why, rank=hits.ids.index(passage_id) + 1)
    where = answered.plan.where
    with answered.reopen() as scope:
        key = scope.find_keys([passage_id]).get(passage_id)
        if key is None:
            return replace(why, stored=False)
        if where is not None and not scope.session.matches(where, np.array([key]))[0]:
            return replace(why, filtered=True)
    if "the query is empty" in hits.warnings:
        return replace(why, searched=False)
    target = answered.target()
    if target is None:
        raise QueryError("the index of these hits is gone: keep it open to explain them")
    with target.open_search() as scope:
        if scope.session.corpus.generation != answered.generation:
            raise QueryError("the index has changed since this query: retrieve again, then ask")
        key = scope.find_keys([passage_id])[passage_id]
        return _analyze(Rerun.from_query(scope, answered, key, passage_id), hits, why)


def _analyze(rerun: Rerun, hits: Hits, why: WhyNot) -> WhyNot:
    """Return the reasons and the advice for a passage that could have been a hit."""
    options, limit = rerun.options, rerun.answered.limit
    ranks = rerun.ranks
    legs = {
        leg: LegRank(
            _finite(rerun.score(leg)),
            ranks.get(leg),
            limit,
            rerun.searched,
            rerun.misses(leg, limit),
        )
        for leg in rerun.lists
    }
    # One leg's list is the ranking, and can be looked through further than it was asked for.
    depth = limit if len(rerun.lists) == 2 else rerun.searched
    candidates = rerun.candidates(depth, rerun.answered.plan.fusion)
    position = int(np.flatnonzero(candidates.keys == rerun.key)[0])
    score = float(candidates.scores[position])
    why = replace(
        why,
        legs=legs,
        score=_finite(score),
        missed=_missed_thresholds(rerun, candidates, position),
    )
    if options.reranker is not None:
        why = _analyze_reranking(rerun, candidates, position, options.reranker, hits, why)
    else:
        place = rerun.find_place(candidates, depth, 2 * options.k + _BEYOND)
        why = _compare(rerun.scope, replace(why, place=place), rerun, hits)
        why = _outrank(why, score, candidates, hits)
        if why.candidate and not (why.missed or why.duplicate_of or why.group):
            unlike = options.selection.diversity > 0 and bool((hits.scores < score).any())
            why = replace(why, diverse=unlike and (place is None or place > options.k))
    return replace(why, changes=find_changes(rerun, why))


def _analyze_reranking(
    rerun: Rerun,
    candidates: CandidateSet,
    position: int,
    reranker: Reranker,
    hits: Hits,
    why: WhyNot,
) -> WhyNot:
    """Return the reasons where a reranker orders the hits."""
    scope, answered, options = rerun.scope, rerun.answered, rerun.options
    passing = options.selection.passing(candidates)
    ranked = candidates.rank(scope, len(candidates.keys), passing)
    places = np.flatnonzero(ranked == position)
    place = int(places[0]) + 1 if len(places) else None
    budget = max(options.k, reranker.candidates)
    read = ranked[:budget]
    if position not in read:
        read = np.append(read, position)
    query = RankedQuery(answered.query, answered.limit, candidates, read, candidates.scores[read])
    everything = replace(
        answered.plan,
        options=replace(options, k=len(read), diversity=0.0, group_by=None, dedup_threshold=None),
    )
    (only,) = [np.array([position])]
    alone = replace(query, selected=only, scores=candidates.scores[only])
    keep_all = _WithoutThreshold(reranker)
    (scored,) = rerank_hits(scope, everything, keep_all, [alone])
    score = float(scored.scores[0])
    beyond = place is not None and place > budget
    why = replace(why, place=place, reranked=score, budget=budget if beyond else None)
    if reranker.threshold is not None and score < reranker.threshold:
        miss = ThresholdMiss("the reranker's threshold", reranker.threshold, score)
        why = replace(why, missed=(*why.missed, miss))
    if not why.missed:
        why = _compare(scope, why, rerun, hits)
    return _outrank(why, score, candidates, hits)


class _WithoutThreshold:
    """A reranker whose threshold is ignored, to learn a score below it."""

    threshold = None

    def __init__(self, reranker: Reranker) -> None:
        self.candidates = reranker.candidates
        self.rerank = reranker.rerank


def _missed_thresholds(
    rerun: Rerun, candidates: CandidateSet, position: int
) -> tuple[ThresholdMiss, ...]:
    """Return the thresholds that a candidate does not reach."""
    selection = rerun.options.selection
    missed: list[ThresholdMiss] = []
    score = float(candidates.scores[position])
    if selection.min_score is not None and score < selection.min_score:
        missed.append(ThresholdMiss("min_score", selection.min_score, _finite(score)))
    for leg, scores in candidates.legs.items():
        least = selection.min_dense if leg == "dense" else selection.min_lexical
        if least is not None and scores.completed[position] < least:
            raw = _finite(float(scores.scores[position]))
            missed.append(ThresholdMiss(f"min_{leg}", least, raw))
    return tuple(missed)


def _outrank(why: WhyNot, score: float, candidates: CandidateSet, hits: Hits) -> WhyNot:
    """Add which hits have a better score; equal ones win by id, or by the fusion's precedence."""
    by_precedence = candidates.fused is not None and candidates.fused.precedence is not None
    above = [
        (hit, float(other))
        for hit, other in zip(hits.ids, hits.scores, strict=True)
        if other > score or (other == score and (by_precedence or hit < why.passage_id))
    ]
    if not above:
        return why
    gap = min(other for _, other in above) - score
    return replace(why, outranked_by=tuple(hit for hit, _ in above), gap=_finite(gap))


def _compare(scope: SearchScope, why: WhyNot, rerun: Rerun, hits: Hits) -> WhyNot:
    """Add which hit the passage duplicates, or which hits fill its group."""
    if not why.candidate or why.missed:
        return why
    for hit in hits:
        if why.passage_id in hit.duplicates:
            return replace(why, duplicate_of=hit.id)
    field = rerun.options.group_by
    if field is None:
        return why
    fetched = scope.session.fetch(ids=[why.passage_id, *hits.ids])
    values = group_values(fetched.keys, fetched.passages, field)
    same = tuple(
        hit for hit, value in zip(fetched.ids[1:], values[1:], strict=True) if value == values[0]
    )
    return replace(why, group=same) if len(same) >= rerun.options.per_group else why


def _finite(score: float) -> float | None:
    return score if np.isfinite(score) else None
