"""What brings a passage among the hits: another weight, a greater k, or settings relaxed."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from twofold.explain import Remedy, WhyNot
from twofold.fusion import Fusion, Guarded, WeightedFusion
from twofold.retriever.pool import Pool
from twofold.retriever.shape import Shape
from twofold.retriever.trial import Trial, fused_by
from twofold.types import Mask, Rows, Scores

STEP = 1e-6
"""How far beyond the point where two scores are equal a weight is tried, 0 to 1."""
_MOST = 256  # weights tried where hits depend on one another, each of which costs milliseconds
_THRESHOLDS = ("min_score", "min_dense", "min_lexical")
_RETRIES = 8  # values that the retriever itself may prove wrong


def remedy(trial: Trial, shape: Shape, wanted: int) -> Remedy | None:
    """Return the smallest change of weight that puts the passage among the first ``wanted``.

    At each depth that makes one more leg list it, in turn. Scores are straight lines over the
    weight, so only the points where the passage's line crosses another one, or a threshold, have to
    be looked at; where hits depend on one another, groups or diversity, the nearest of them are.
    What is returned has been tried with the retriever itself.
    """
    inquiry = trial.inquiry
    rules = inquiry.rules
    fusion = rules.fusion.fusion if isinstance(rules.fusion, Guarded) else rules.fusion
    if not isinstance(fusion, WeightedFusion) or len(trial.lists) < 2:
        return None
    limit = inquiry.retriever.limit(rules)
    for depth in sorted({max(limit, each) for each in trial.ranks.values()}):
        pool = trial.pool(depth, rules.fusion)
        used = weight_used(pool, rules.fusion)
        failed = 0
        for weight in _weights(trial, pool, fusion, used, shape, wanted):
            place = trial.place(fused_by(pool, fusion.reweighted(weight)), shape)
            if place is None or place > wanted:
                continue
            deeper = depth if depth > limit else None
            found = _applied(trial, fusion.reweighted(weight), used, deeper)
            if found is not None:
                return found
            failed += 1
            if failed == _RETRIES:
                break
    return None


def k_needed(trial: Trial, shape: Shape) -> tuple[int, bool] | None:
    """Return the k that brings the passage in with all else as it is, None if none does.

    And whether the dense leg must look at all vectors for it. The smallest k for every fusion whose
    values don't depend on the depth; tried with the retriever itself.
    """
    retriever, ranks = trial.inquiry.retriever, trial.ranks
    most = sum(len(each.rows) for each in trial.lists.values())
    k, failed = retriever.k + 1, 0
    while ranks and k <= most and failed < _RETRIES:
        changed = replace(retriever, k=k)
        rules = changed.rules(trial.view)
        limit = changed.limit(rules)
        if limit < min(ranks.values()):
            k = max(k + 1, min(ranks.values()))
            continue
        place = trial.place(trial.pool(limit, rules.fusion), shape)
        if place is None:
            return None
        if place <= k:
            exact = applied_k(trial, k)
            if exact is not None:
                return k, exact
            failed += 1
        k = max(k + 1, place)
    return None


def applied_k(trial: Trial, k: int) -> bool | None:
    """Return whether ``k`` hits hold the passage by an exact search alone, None if not even so."""
    retriever = trial.inquiry.retriever
    for exact in sorted({retriever.exact, True}):
        if trial.brings(replace(retriever, k=k, exact=exact)):
            return exact and not retriever.exact
    return None


def relaxed(trial: Trial, said: WhyNot) -> dict[str, Any]:
    """Return the settings that keep the passage out, as they would let it in; nothing if not so.

    Thresholds at what it has (None where it has no score), a larger group, or near-duplicates and
    diversity left aside.
    """
    changed: dict[str, Any] = {
        each.name: each.had for each in said.missed if each.name in _THRESHOLDS
    }
    if said.group:
        changed["per_group"] = len(said.group) + 1
    if said.duplicate_of is not None:
        changed["collapse"] = None
    if said.diverse:
        changed["diversity"] = 0.0
    if not changed:
        return {}
    return changed if trial.brings(replace(trial.inquiry.retriever, **changed)) else {}


def _applied(
    trial: Trial, fusion: WeightedFusion, used: float, deeper: int | None
) -> Remedy | None:
    """Return the remedy with a retriever that does find the passage, None if it does not."""
    retriever = trial.inquiry.retriever
    depth = deeper if deeper is not None else trial.inquiry.rules.depth
    for exact in sorted({retriever.exact, True}):  # where an approximate dense leg would miss it
        changed = replace(
            retriever, fusion=fusion, depth=depth, exact=exact, like=None, dense_weight=None
        )
        if trial.brings(changed):
            added = exact and not retriever.exact
            return Remedy(fusion.dense_weight, used, deeper, added, changed)
    return None


def weight_used(pool: Pool, fusion: Fusion) -> float:
    """Return the share of the dense leg that a fusion, a guard too, has given it."""
    if isinstance(fusion, WeightedFusion) and not isinstance(fusion, Guarded):
        return fusion.dense_weight
    assert pool.fused is not None  # both legs were asked
    dense = np.atleast_1d(pool.fused.dense_weight)
    total = dense + np.atleast_1d(pool.fused.lexical_weight)
    at = int(np.argmax(total))
    return float(dense[at] / total[at])


def _weights(
    trial: Trial, pool: Pool, fusion: WeightedFusion, used: float, shape: Shape, wanted: int
) -> Iterator[float]:
    """Yield weights at which the passage may be among the first ``wanted``, nearest first."""
    at_one, at_zero = (fused_by(pool, fusion.reweighted(each)).scores for each in (1.0, 0.0))
    own = int(np.flatnonzero(pool.rows == trial.row)[0])
    legs_only = Shape(min_dense=shape.min_dense, min_lexical=shape.min_lexical)
    passing = legs_only.passing(pool)
    rivals = passing if passing is not None else np.arange(len(pool.rows))
    if own not in rivals:
        return
    rivals = rivals[rivals != own]
    a, b = at_one[rivals] - at_one[own], at_zero[rivals] - at_zero[own]
    points = _crossings(a, b)
    if shape.min_score is not None:
        least = shape.min_score
        points = np.append(
            points, _crossings(np.array([least - at_one[own]]), np.array([least - at_zero[own]]))
        )
    ends = np.unique(np.concatenate([[0.0, 1.0], points]))
    inside = np.minimum(STEP, np.diff(ends) / 2)
    tries = np.unique(np.concatenate([[used], ends, ends[:-1] + inside, ends[1:] - inside]))
    tries = tries[np.lexsort((tries, np.abs(tries - used)))]
    if shape.compares:
        yield from tries[:_MOST].tolist()
        return
    above = _above(a, b, tries) + _before(trial, pool.rows[rivals[(a == 0) & (b == 0)]])
    yield from tries[above < wanted].tolist()


def _crossings(a: Scores, b: Scores) -> Scores:
    """Return the weights in [0, 1] at which w * a + (1 - w) * b is 0 and changes its sign."""
    crosses = (a > 0) != (b > 0)
    return np.asarray(b[crosses] / (b[crosses] - a[crosses]))


def _above(a: Scores, b: Scores, weights: Scores) -> Scores:
    """Return how many of the lines w * a + (1 - w) * b are above 0 at each weight."""
    always = np.count_nonzero((a > 0) & (b > 0))
    early = np.sort(_crossings(*_only(a, b, (b > 0) & (a <= 0))))  # above before they cross
    late = np.sort(_crossings(*_only(a, b, (a > 0) & (b <= 0))))
    before = len(early) - np.searchsorted(early, weights, side="right")
    return np.asarray(always + before + np.searchsorted(late, weights, side="left"))


def _before(trial: Trial, tied: Rows) -> int:
    """Return how many of the rows that tie at every weight come first by id."""
    (own,) = trial.view.ids(np.array([trial.row]))
    return sum(each < own for each in trial.view.ids(tied))


def _only(a: Scores, b: Scores, these: Mask) -> tuple[Scores, Scores]:
    return a[these], b[these]
