"""Options that bring a passage among the hits, found by trying them."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from twofold.errors import InputError
from twofold.fusion import Fusion, GuardedFusion, WeightedFusion
from twofold.results import WhyNot
from twofold.retriever.candidates import CandidateSet
from twofold.retriever.why_not.rerun import Rerun

_WEIGHTS = 20
"""Steps in which the dense leg's share is tried, from 0 to 1."""
_FACTORS = (2, 5, 10, 20, 50, 100)
"""How many times as many hits are tried where the passage's place is unknown."""
_MAX_K = 1_000


def find_changes(rerun: Rerun, reasons: WhyNot) -> tuple[dict[str, Any], ...]:
    """Return the options that each bring the passage in: selection, depth, weight, k.

    Every change was tried by the same search with that option.
    """
    found: list[dict[str, Any]] = []
    for tries in (
        _relax_selection(reasons),
        _search_deeper(rerun),
        _shift_weight(rerun),
        _raise_k(rerun, reasons),
    ):
        for changes in tries:
            if rerun.returns_passage(changes):
                found.append(changes)
                break
    return tuple(found)


def _relax_selection(reasons: WhyNot) -> Iterator[dict[str, Any]]:
    """Yield thresholds that the passage reaches, and a selection that doesn't drop it."""
    aside: dict[str, Any] = {}
    if reasons.duplicate_of is not None:
        aside["dedup_threshold"] = None
    if reasons.diverse:
        aside["diversity"] = 0.0
    misses = [miss for miss in reasons.missed if miss.name.startswith("min_")]
    lowered: dict[str, Any] = {miss.name: miss.score for miss in misses} | aside
    dropped: dict[str, Any] = {miss.name: None for miss in misses} | aside
    if reasons.group:
        lowered["per_group"] = len(reasons.group) + 1
        dropped["group_by"] = None
    if lowered:
        yield lowered
    if dropped and dropped != lowered:
        yield dropped


def _search_deeper(rerun: Rerun) -> Iterator[dict[str, Any]]:
    """Yield a depth at which a leg lists the passage, and an exact search where it was missed."""
    limit, exact = rerun.answered.limit, rerun.options.exact
    if not exact and any(rerun.misses(leg, limit) for leg in rerun.lists):
        yield {"exact": True}
    for depth in sorted({rank for rank in rerun.ranks.values() if rank > limit}):
        yield {"depth": depth}
        if not exact:
            yield {"depth": depth, "exact": True}


def _shift_weight(rerun: Rerun) -> Iterator[dict[str, Any]]:
    """Yield shares of the dense leg at which the passage is among the first k, nearest first."""
    options, plan, limit = rerun.options, rerun.answered.plan, rerun.answered.limit
    # A preset is asked for by name: with another weight it would be another fusion.
    fusion = None if options.preset is not None else _weighted(plan.fusion)
    if fusion is None or len(rerun.lists) < 2 or not rerun.ranks:
        return
    depth = max(limit, min(rerun.ranks.values()))
    used = weight_used(rerun.candidates(limit, plan.fusion), plan.fusion)
    weights = [step / _WEIGHTS for step in range(_WEIGHTS + 1)]
    for weight in sorted(weights, key=lambda weight: (abs(weight - used), weight)):
        candidates = rerun.candidates(depth, fusion.with_dense_weight(weight))
        if (place := rerun.find_place(candidates, depth, options.k)) and place <= options.k:
            changes: dict[str, Any] = {"dense_weight": weight}
            yield changes if depth == limit else changes | {"depth": depth}


def _raise_k(rerun: Rerun, reasons: WhyNot) -> Iterator[dict[str, Any]]:
    """Yield a greater k: the passage's place, its rank in a leg, or some multiples of k."""
    k = rerun.options.k
    known = {reasons.place or 0, *rerun.ranks.values()}
    for tried in sorted(known | {min(factor * k, _MAX_K) for factor in _FACTORS}):
        if tried <= k:
            continue
        yield {"k": tried}
        if any(rerun.misses(leg, tried) for leg in rerun.lists):
            yield {"k": tried, "exact": True}


def _weighted(fusion: Fusion) -> WeightedFusion | None:
    """Return the fusion without its guard if it has a weight, None for others."""
    if isinstance(fusion, GuardedFusion):
        fusion = fusion.fusion
    if not isinstance(fusion, WeightedFusion):
        return None
    try:
        return fusion.with_dense_weight(fusion.dense_weight)
    except InputError:  # a rule without a weight
        return None


def weight_used(candidates: CandidateSet, fusion: Fusion) -> float:
    """Return the dense leg's share in a fusion, after a guard has changed it."""
    if isinstance(fusion, WeightedFusion) and not isinstance(fusion, GuardedFusion):
        return fusion.dense_weight
    assert candidates.fused is not None  # both legs were searched
    dense = np.atleast_1d(candidates.fused.dense_weight)
    total = dense + np.atleast_1d(candidates.fused.lexical_weight)
    at = int(np.argmax(total))
    return float(dense[at] / total[at])
