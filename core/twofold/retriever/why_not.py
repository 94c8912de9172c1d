"""Why a passage is not among the hits of a query, and which options would make it one.

The query is searched again, deeper, to rank the passage. Every suggested option was tried.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from twofold.backend import SearchScope
from twofold.errors import InputError, QueryError
from twofold.filters import parse_filter
from twofold.fusion import Fusion, GuardedFusion, WeightedFusion
from twofold.fusion.base import add_candidate
from twofold.protocols import Reranker
from twofold.results import Hits, LegRank, ThresholdMiss, WhyNot
from twofold.retriever.candidates import CandidateSet, LegResults
from twofold.retriever.leg_search import complete_legs, search_legs
from twofold.retriever.pipeline import NO_ANSWER, AnsweredQuery, run_search
from twofold.retriever.search_plan import SearchOptions, SearchPlan, cap_limit, plan_search
from twofold.retriever.selection import group_values, passing_positions, select_candidates
from twofold.types import Leg, LegHits

_SEARCHED = 10_000
"""Passages of each leg among which the passage is ranked."""
_MORE_HITS = 100
"""If hits are compared with each other, the passage is ranked among 2 * k + this many."""
_WEIGHTS = 20
"""Steps in which the dense weight is tried, from 0 to 1."""
_FACTORS = (2, 5, 10, 20, 50, 100)
"""Multiples of k that are tried, in addition to the passage's ranks."""
_MAX_K = 1_000


def explain_absence(answered: AnsweredQuery, passage_id: str, hits: Hits) -> WhyNot:
    """Return why a passage is not among ``hits``, and which options would make it one.

    Even after a write, the generation that was searched tells whether the passage was stored, and
    whether the filter excluded it.

    Raises:
        QueryError: A new search is needed, and the index has changed or no longer exists.
    """
    if not isinstance(passage_id, str):
        raise QueryError(f"a passage id must be a string, got {passage_id!r:.80}")
    if any("\ud800" <= char <= "\udfff" for char in passage_id):
        raise QueryError(f"a passage id can't have half a surrogate pair, got {passage_id!r:.80}")
    why = WhyNot(passage_id, hits.query)
    if passage_id in hits.ids:
        return replace(why, rank=hits.ids.index(passage_id) + 1)
    where = answered.plan.where
    with answered.reopen() as scope:
        key = scope.find_keys([passage_id]).get(passage_id)
        if key is None:
            why = _find_file(scope, replace(why, stored=False))
        elif where is not None and not scope.session.matches(where, np.array([key]))[0]:
            return replace(why, filtered=True)
    if why.parts:
        best = _find_best_part(answered, why.parts, hits)
        return replace(explain_absence(answered, best, hits), parts=why.parts)
    if not why.stored:
        return why
    if answered.query.vector is None and not (answered.query.text or "").strip():
        return replace(why, searched=False)
    if hits.abstained:
        reason = next(text for text in hits.warnings if text.startswith(NO_ANSWER))
        return replace(why, abstained=reason)
    target = answered.target()
    if target is None:
        raise QueryError("the index of these hits no longer exists: keep it open to explain them")
    with target.open_search() as scope:
        if scope.session.corpus.generation != hits.info.generation:
            raise QueryError("the index has changed since this query: retrieve and explain again")
        rerun = Rerun.from_query(scope, answered, passage_id)
        why = _find_reasons(rerun, hits, why)
        return replace(why, changes=_find_changes(rerun, why))


def _find_best_part(answered: AnsweredQuery, parts: Sequence[str], hits: Hits) -> str:
    """Return the passage of a file that is a hit, or has the best rank in a leg, or matches."""
    found = [passage_id for passage_id in hits.ids if passage_id in set(parts)]
    target, where = answered.target(), answered.plan.where
    if found or target is None or len(parts) == 1:
        return found[0] if found else parts[0]
    with target.open_search() as scope:
        keys = {key: passage_id for passage_id, key in scope.find_keys(list(parts)).items()}
        if scope.session.corpus.generation != hits.info.generation or not keys:
            return parts[0]  # asking for it says that the index has changed
        if where is not None:
            matches = scope.session.matches(where, np.array(list(keys)))
            parts = [keys[key] for key, match in zip(keys, matches, strict=True) if match] or parts
        if answered.query.vector is None and not (answered.query.text or "").strip():
            return parts[0]
        lists = Rerun.from_query(scope, answered, next(iter(keys.values()))).lists
        ranked = (
            (rank, keys[key])
            for found_by_leg in lists.values()
            for rank, key in enumerate(found_by_leg.keys.tolist())
            if key in keys
        )
        return min(ranked, default=(0, parts[0]))[1]


def _find_file(scope: SearchScope, why: WhyNot) -> WhyNot:
    """Return ``why`` with the passages of the file that its id names, if that is a file's path."""
    statistics = scope.statistics
    if statistics is None:
        return why
    path = PurePosixPath(why.passage_id.partition("#")[0])
    for start in range(len(path.parts)):  # the path below the folder that was indexed
        source = str(PurePosixPath(*path.parts[start:]))
        keys = statistics.list_keys(parse_filter({"source": source}))
        if len(keys):
            return replace(why, parts=tuple(scope.session.fetch(keys, texts=False).ids))
    same_suffix = parse_filter({"source": {"$itext": path.suffix}})
    if path.suffix and not len(statistics.list_keys(same_suffix)):
        return replace(why, suffix=path.suffix)
    return why


@dataclass(frozen=True, slots=True)
class Rerun:
    """One query searched again, deeper, to rank the passage ``passage_id``.

    ``answered`` is the first search; ``plan`` is that of the second one, exact and without
    observer. ``lists`` has the best ``searched`` passages of each leg.
    """

    scope: SearchScope
    answered: AnsweredQuery
    plan: SearchPlan
    passage_id: str
    key: int
    searched: int
    lists: LegResults

    @classmethod
    def from_query(cls, scope: SearchScope, answered: AnsweredQuery, passage_id: str) -> "Rerun":
        """Search the legs of a query again, exactly and deeply."""
        options = replace(answered.plan.options, observer=None, abstain=None)
        effort = math.inf if scope.capabilities.exact else answered.plan.effort
        plan = replace(answered.plan, options=options, effort=effort)
        searched = cap_limit(scope, max(_SEARCHED, answered.limit))
        (lists,) = search_legs(scope, plan, [answered.query], searched)
        key = scope.find_keys([passage_id])[passage_id]
        return cls(scope, answered, plan, passage_id, key, searched, lists)

    @property
    def options(self) -> SearchOptions:
        """The options of the query."""
        return self.plan.options

    @property
    def ranks(self) -> dict[Leg, int]:
        """The passage's rank in each leg that lists it."""
        found = {leg: np.flatnonzero(hits.keys == self.key) for leg, hits in self.lists.items()}
        return {leg: int(at[0]) + 1 for leg, at in found.items() if len(at)}

    def score(self, leg: Leg) -> float:
        """Return the passage's raw score in a leg, NaN where it can't be scored."""
        query, key = self.answered.query, np.array([self.key])
        if not self.scope.capabilities.completes:
            rank = self.ranks.get(leg)
            return float(self.lists[leg].scores[rank - 1]) if rank is not None else math.nan
        if leg == "dense" and query.vector is not None:
            return float(self.scope.dense_scores(query.vector, key)[0])
        if leg == "lexical" and query.text is not None:
            return float(self.scope.lexical_scores(query.text, key, self.plan.scorer)[0])
        return math.nan

    def candidates(self, limit: int, fusion: Fusion) -> CandidateSet:
        """Return the candidates of each leg's best ``limit`` passages, with the passage added."""
        lists = {
            leg: LegHits(hits.keys[:limit], hits.scores[:limit]) for leg, hits in self.lists.items()
        }
        plan = replace(self.plan, fusion=fusion)
        (found,) = complete_legs(self.scope, plan, [self.answered.query], [lists])
        if self.key in found.keys:
            return found
        keys = np.append(found.keys, self.key)
        legs = {leg: add_candidate(scores, self.score(leg)) for leg, scores in found.legs.items()}
        if found.fused is None:
            (scores,) = legs.values()
            return CandidateSet(keys, legs, None, scores.completed)
        fused = fusion.fuse(legs["dense"], legs["lexical"])
        return CandidateSet(keys, legs, fused, fused.scores)

    def misses(self, leg: Leg, limit: int) -> bool:
        """Return whether approximate search misses the passage, which ranks within ``limit``."""
        vector, plan = self.answered.query.vector, self.answered.plan
        within = self.ranks.get(leg, self.searched + 1) <= limit
        if leg == "lexical" or plan.options.exact or vector is None or not within:
            return False
        (found,) = self.scope.session.search_dense(vector[None, :], limit, plan.where, plan.effort)
        return self.key not in found.keys

    def find_place(self, candidates: CandidateSet, limit: int, count: int) -> int | None:
        """Return the passage's rank, from 1, among the first ``count`` hits; None if not there."""
        count = count if self.options.compares else len(candidates.keys)
        vector = self.answered.query.vector
        selected, _ = select_candidates(self.options, self.scope, candidates, limit, count, vector)
        found = np.flatnonzero(candidates.keys[selected] == self.key)
        return int(found[0]) + 1 if len(found) else None

    def returns_passage(self, changes: Mapping[str, Any]) -> bool:
        """Return whether the query with the options ``changes`` has the passage among its hits."""
        target, query = self.answered.target(), self.answered.query
        assert target is not None  # held by whoever asks
        texts = [query.text] if query.text is not None else None
        vectors = query.vector[None, :] if query.given and query.vector is not None else None
        options = replace(self.options, **changes)
        (hits,) = run_search(target, options, texts, vectors, explain_absence)
        return self.passage_id in hits.ids


def _find_reasons(rerun: Rerun, hits: Hits, why: WhyNot) -> WhyNot:
    """Return ``why`` with the reasons for a passage that is stored and matches the filter."""
    options, limit, ranks = rerun.options, rerun.answered.limit, rerun.ranks
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
    candidates = rerun.candidates(depth, rerun.plan.fusion)
    position = int(np.flatnonzero(candidates.keys == rerun.key)[0])
    score = float(candidates.scores[position])
    missed = tuple(_missed_thresholds(options, candidates, position))
    why = replace(why, legs=legs, score=_finite(score), missed=missed)
    if options.reranker is not None:
        return _explain_reranking(rerun, candidates, position, options.reranker, hits, why)
    place = rerun.find_place(candidates, depth, 2 * options.k + _MORE_HITS)
    why = _find_rivals(rerun, replace(why, place=place), hits)
    why = _outrank(why, score, candidates, hits)
    if why.candidate and not (why.missed or why.duplicate_of or why.group):
        unlike = options.diversity > 0 and bool((hits.scores < score).any())
        why = replace(why, diverse=unlike and (place is None or place > options.k))
    return why


def _explain_reranking(
    rerun: Rerun,
    candidates: CandidateSet,
    position: int,
    reranker: Reranker,
    hits: Hits,
    why: WhyNot,
) -> WhyNot:
    """Return ``why`` with the reasons if a reranker orders the hits."""
    scope, options = rerun.scope, rerun.options
    passing = passing_positions(options, candidates)
    ranked = candidates.rank(scope, len(candidates.keys), passing)
    places = np.flatnonzero(ranked == position)
    place = int(places[0]) + 1 if len(places) else None
    budget = max(options.k, reranker.candidates)
    (passage,) = scope.session.fetch(np.array([rerun.key])).passages
    (scores,) = reranker.rerank([rerun.answered.query.text or ""], [[passage.content]], None)
    score = float(scores[0])
    beyond = place is not None and place > budget
    why = replace(why, place=place, reranked=score, budget=budget if beyond else None)
    if reranker.threshold is not None and score < reranker.threshold:
        miss = ThresholdMiss("the reranker's threshold", reranker.threshold, score)
        why = replace(why, missed=(*why.missed, miss))
    return _outrank(_find_rivals(rerun, why, hits), score, candidates, hits)


def _missed_thresholds(
    options: SearchOptions, candidates: CandidateSet, position: int
) -> Iterator[ThresholdMiss]:
    """Yield the thresholds that the candidate at ``position`` does not reach."""
    score = float(candidates.scores[position])
    if options.min_score is not None and score < options.min_score:
        yield ThresholdMiss("min_score", options.min_score, _finite(score))
    for leg, scores in candidates.legs.items():
        least = options.min_dense if leg == "dense" else options.min_lexical
        if least is not None and scores.completed[position] < least:
            yield ThresholdMiss(f"min_{leg}", least, _finite(float(scores.scores[position])))


def _outrank(why: WhyNot, score: float, candidates: CandidateSet, hits: Hits) -> WhyNot:
    """Return ``why`` with the hits that outrank the passage by score, precedence or id."""
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


def _find_rivals(rerun: Rerun, why: WhyNot, hits: Hits) -> WhyNot:
    """Return ``why`` with the hit that the passage duplicates, or the hits that fill its group."""
    if not why.candidate or why.missed:
        return why
    for hit in hits:
        if why.passage_id in hit.duplicates:
            return replace(why, duplicate_of=hit.id)
    field = rerun.options.group_by
    if field is None:
        return why
    fetched = rerun.scope.session.fetch(ids=[why.passage_id, *hits.ids])
    values = group_values(fetched.keys, fetched.passages, field)
    same = tuple(
        hit for hit, value in zip(fetched.ids[1:], values[1:], strict=True) if value == values[0]
    )
    return replace(why, group=same) if len(same) >= rerun.options.per_group else why


def _finite(score: float) -> float | None:
    return score if np.isfinite(score) else None


def _find_changes(rerun: Rerun, why: WhyNot) -> tuple[dict[str, Any], ...]:
    """Return options that each make the passage a hit: of selection, depth, weight and k.

    Each is tried by searching with it.
    """
    ways = _relax_selection(why), _search_deeper(rerun), _shift_weight(rerun), _raise_k(rerun, why)
    found = [next(filter(rerun.returns_passage, tries), None) for tries in ways]
    return tuple(changes for changes in found if changes is not None)


def _relax_selection(why: WhyNot) -> Iterator[dict[str, Any]]:
    """Yield options whose thresholds and selection don't drop the passage."""
    switched_off: dict[str, Any] = {}
    if why.duplicate_of is not None:
        switched_off["dedup_threshold"] = None
    if why.diverse:
        switched_off["diversity"] = 0.0
    misses = [miss for miss in why.missed if miss.name.startswith("min_")]
    lowered: dict[str, Any] = {miss.name: miss.score for miss in misses} | switched_off
    dropped: dict[str, Any] = {miss.name: None for miss in misses} | switched_off
    if why.group:
        lowered["per_group"] = len(why.group) + 1
        dropped["group_by"] = None
    if lowered:
        yield lowered
    if dropped and dropped != lowered:
        yield dropped


def _search_deeper(rerun: Rerun) -> Iterator[dict[str, Any]]:
    """Yield exact search if approximate search misses the passage, and depths that reach it."""
    limit, exact = rerun.answered.limit, rerun.options.exact
    if any(rerun.misses(leg, limit) for leg in rerun.lists):
        yield {"exact": True}
    for depth in sorted({rank for rank in rerun.ranks.values() if rank > limit}):
        yield {"depth": depth}
        if not exact:
            yield {"depth": depth, "exact": True}


def _shift_weight(rerun: Rerun) -> Iterator[dict[str, Any]]:
    """Yield dense weights that rank the passage among the best k, the nearest weight first."""
    limit, used_fusion = rerun.answered.limit, rerun.plan.fusion
    if len(rerun.lists) < 2 or not rerun.ranks:
        return
    try:
        fusion = plan_search(rerun.scope, replace(rerun.options, dense_weight=0.5)).fusion
    except InputError:  # a preset, or a fusion without a weight
        return
    assert isinstance(fusion, WeightedFusion)  # since it took the weight
    depth = max(limit, min(rerun.ranks.values()))
    used = _weight_used(rerun.candidates(limit, used_fusion), used_fusion)
    weights = [step / _WEIGHTS for step in range(_WEIGHTS + 1)]
    for weight in sorted(weights, key=lambda weight: (abs(weight - used), weight)):
        candidates = rerun.candidates(depth, fusion.with_dense_weight(weight))
        place = rerun.find_place(candidates, depth, rerun.options.k)
        if place is not None and place <= rerun.options.k:
            changes: dict[str, Any] = {"dense_weight": weight}
            yield changes if depth == limit else changes | {"depth": depth}


def _raise_k(rerun: Rerun, why: WhyNot) -> Iterator[dict[str, Any]]:
    """Yield greater values of k: the passage's ranks, and multiples of k."""
    k = rerun.options.k
    known = {why.place or 0, *rerun.ranks.values()}
    for tried in sorted(known | {min(factor * k, _MAX_K) for factor in _FACTORS}):
        if tried > k:
            yield {"k": tried}
            if any(rerun.misses(leg, tried) for leg in rerun.lists):
                yield {"k": tried, "exact": True}


def _weight_used(candidates: CandidateSet, fusion: Fusion) -> float:
    """Return the dense weight that a fusion used, including a guard's adjustment."""
    if isinstance(fusion, WeightedFusion) and not isinstance(fusion, GuardedFusion):
        return fusion.dense_weight
    assert candidates.fused is not None  # both legs were searched
    dense = np.atleast_1d(candidates.fused.dense_weight)
    total = dense + np.atleast_1d(candidates.fused.lexical_weight)
    at = int(np.argmax(total))
    return float(dense[at] / total[at])
