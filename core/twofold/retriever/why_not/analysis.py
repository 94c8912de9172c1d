"""What kept a passage from being a hit: the query is gone through again with it in mind."""

from dataclasses import replace

import numpy as np

from twofold.backend import View
from twofold.errors import QueryError
from twofold.protocols import Reranker
from twofold.results import Advice, LegRank, ThresholdMiss, WhyNot
from twofold.results.hits import Hits
from twofold.retriever.candidates import CandidateSet
from twofold.retriever.pipeline import RankedQuery, RankingPipeline
from twofold.retriever.query_context import QueryContext
from twofold.retriever.selection import ResultSelection, group_values
from twofold.retriever.why_not.advice import applied_k, k_needed, relaxed, remedy
from twofold.retriever.why_not.rerun import Rerun
from twofold.types import Rows

_BEYOND = 100
"""Hits, beyond twice k, among which a place is looked for where hits depend on one another."""


def why_not(inquiry: QueryContext, passage_id: str, hits: Hits) -> WhyNot:
    """Return what kept a passage from being one of ``hits``.

    What the hits' own generation knows is said after a write, too: whether it has the passage, as a
    hit or at all, and whether the filter leaves it out. For the rest the legs are asked again, so
    that QueryError is raised where the index has changed.
    """
    if not isinstance(passage_id, str):
        raise QueryError(f"a passage's id is a string, not {passage_id!r:.80}")
    if any("\ud800" <= char <= "\udfff" for char in passage_id):
        raise QueryError(f"the id {passage_id!r:.80} has half a surrogate pair, which no id has")
    said = WhyNot(passage_id, hits.query)
    if passage_id in hits.ids:
        return replace(said, rank=hits.ids.index(passage_id) + 1)
    row = inquiry.view.row_of(passage_id)
    if row is None:
        return replace(said, stored=False)
    allowed = inquiry.allowed
    if allowed is not None and not (row < len(allowed) and allowed[row]):
        return replace(said, filtered=True)
    if "the query is empty" in hits.warnings:
        return replace(said, asked=False)
    with inquiry.retriever.index.view() as view:
        if view.generation != inquiry.view.generation:
            raise QueryError(
                "the index has changed since this query, and the legs have to be asked again: "
                "retrieve again and ask then"
            )
        return _reasoned(view, inquiry, row, hits, said)


def _reasoned(view: View, inquiry: QueryContext, row: int, hits: Hits, said: WhyNot) -> WhyNot:
    """Fill in what is said of a passage that could have been a hit."""
    retriever, rules = inquiry.retriever, inquiry.rules
    limit = inquiry.limit
    trial = Rerun.of(view, inquiry, row)
    ranks = trial.ranks
    legs = {
        leg: LegRank(_known(trial.score(leg)), ranks.get(leg), limit, trial.misses(leg, limit))
        for leg in trial.lists
    }
    pool = trial.joined(trial.pool(limit, rules.fusion), rules.fusion)
    own = int(np.flatnonzero(pool.rows == row)[0])
    shape, reranker = retriever.shape, retriever.reranker
    said = replace(
        said,
        legs=legs,
        score=_known(float(pool.scores[own])),
        missed=_missed(pool, own, retriever.shape),
    )
    if reranker is None:
        place, _ = trial.place(pool, shape, limit, 2 * retriever.k + _BEYOND)
        said = _compared(view, replace(said, place=place), pool, own, shape, hits)
        said = _outranked(said, float(pool.scores[own]), pool, hits)
        if said.candidate and not (said.missed or said.duplicate_of or said.group):
            unlike = shape.diversity > 0 and bool((hits.scores < pool.scores[own]).any())
            said = replace(said, diverse=unlike and (place is None or place > retriever.k))
        return _advised(trial, said, shape, remedy(trial, shape, retriever.k))
    return _reranked(trial, pool, own, reranker, hits, said)


def _reranked(
    trial: Rerun, pool: CandidateSet, own: int, reranker: Reranker, hits: Hits, said: WhyNot
) -> WhyNot:
    """Fill in what the reranker makes of the passage."""
    view, retriever, question = trial.view, trial.inquiry.retriever, trial.inquiry.question
    first = retriever.shape.apart  # what holds before reranking
    ranked = trial.order(pool, first, trial.inquiry.limit)
    places = np.flatnonzero(ranked == own)
    place = int(places[0]) + 1 if len(places) else None
    budget = max(retriever.k, reranker.candidates)
    read = ranked[:budget]
    would = own in read
    content = view.passages(pool.rows[[own]])[0].content
    score = float(reranker.rerank([question.text or ""], [[content]])[0][0])
    beyond = place is not None and place > budget
    said = replace(said, place=place, reranked=score, budget=budget if beyond else None)
    if reranker.threshold is not None and score < reranker.threshold:
        had = ThresholdMiss("the reranker's threshold", reranker.threshold, score)
        said = replace(said, missed=(*said.missed, had))
    if said.missed:
        return _advised(trial, _outranked(said, score, pool, hits), first, None)
    everyone = replace(retriever, k=len(read) + 1)
    drafting = RankingPipeline(view, everyone, trial.inquiry.rules, trial.inquiry.allowed)
    candidates = read if would else np.append(read, own)
    limit, scores = trial.inquiry.limit, pool.scores[candidates]
    draft = RankedQuery(question, hits.answer, limit, pool, candidates, scores, ())
    (draft,) = drafting.reranked([draft], reranker, None)
    at = np.flatnonzero(draft.chosen == own)
    last = int(at[0]) + 1 if len(at) else None
    said = _compared(view, said, pool, own, retriever.shape, hits)
    said = _outranked(said, score, pool, hits)
    if last is None:
        return replace(said, settings=relaxed(trial, said))
    if would and said.candidate:
        exact = applied_k(trial, last)
        return said if exact is None else replace(said, k_needed=last, exact_needed=exact)
    found = remedy(trial, first, budget) if last <= retriever.k else None
    return _advised(trial, said, first, found)


def _advised(trial: Rerun, said: WhyNot, shape: ResultSelection, found: Advice | None) -> WhyNot:
    """Fill in what would bring the passage in."""
    k, exact = k_needed(trial, shape) or (None, False)
    settings = relaxed(trial, said)
    return replace(said, remedy=found, k_needed=k, exact_needed=exact, settings=settings)


def _missed(pool: CandidateSet, own: int, shape: ResultSelection) -> tuple[ThresholdMiss, ...]:
    """Return the thresholds that a candidate does not reach."""
    out: list[ThresholdMiss] = []
    score = float(pool.scores[own])
    if shape.min_score is not None and score < shape.min_score:
        out.append(ThresholdMiss("min_score", shape.min_score, _known(score)))
    for leg, each in pool.evidence.items():
        least = shape.min_dense if leg == "dense" else shape.min_lexical
        if least is not None and each.completed[own] < least:
            out.append(ThresholdMiss(f"min_{leg}", least, _known(float(each.scores[own]))))
    return tuple(out)


def _outranked(said: WhyNot, score: float, pool: CandidateSet, hits: Hits) -> WhyNot:
    """Say which hits are above a score; equal ones by id, or as the fusion has it."""
    listed = pool.fused is not None and pool.fused.precedence is not None
    above = [
        (each, float(its))
        for each, its in zip(hits.ids, hits.scores, strict=True)
        if its > score or (its == score and (listed or each < said.passage_id))
    ]
    if not above:
        return said
    ids = tuple(each for each, _ in above)
    gap = min(its for _, its in above) - score
    return replace(said, outranked_by=ids, gap=_known(gap))


def _compared(
    view: View, said: WhyNot, pool: CandidateSet, own: int, shape: ResultSelection, hits: Hits
) -> WhyNot:
    """Say which hit stands for the passage, or which fill its group."""
    if not said.candidate or said.missed:
        return said
    for hit in hits:
        if said.passage_id in hit.duplicates:
            return replace(said, duplicate_of=hit.id)
    if shape.group_by is None:
        return said
    rows: Rows = np.array([int(pool.rows[own]), *hits.rows], np.int64)
    values = group_values(view, rows, shape.group_by)
    same = tuple(hit.id for hit, group in zip(hits, values[1:], strict=True) if group == values[0])
    return replace(said, group=same) if len(same) >= shape.per_group else said


def _known(score: float) -> float | None:
    return score if np.isfinite(score) else None
