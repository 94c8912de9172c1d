"""What brings a passage among the hits: another weight, a greater k, or settings relaxed."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from twofold.errors import InputError
from twofold.fusion import Fusion, GuardedFusion, WeightedFusion, is_steady
from twofold.results import Advice, WhyNot
from twofold.retriever.candidates import CandidateSet
from twofold.retriever.pipeline import deepen, may_have_more
from twofold.retriever.selection import CandidateFeatures, ResultSelection
from twofold.retriever.why_not.rerun import Rerun, fused_by
from twofold.types import Mask, Rows, Scores

STEP = 1e-6
"""How far beyond the point where two scores are equal a weight is tried, 0 to 1."""
_MOST, _FEWEST = 256, 16  # weights tried where hits depend on one another
_WORK = 50_000  # candidates looked at for one advice where hits do, some 10 microseconds each
_THRESHOLDS = ("min_score", "min_dense", "min_lexical")
_BEYOND = 100  # hits that are sought beyond those wanted, to know what comes at a greater k
_AHEAD = 4  # times as many candidates as a level has are read with it
_RETRIES = 8  # values that the retriever itself may prove wrong


def remedy(trial: Rerun, shape: ResultSelection, wanted: int) -> Advice | None:
    """Return the smallest change of weight that puts the passage among the first ``wanted``.

    At each depth that makes one more leg list it, in turn. Scores are straight lines over the
    weight, so only the points where the passage's line crosses another one, or a threshold, have to
    be looked at; where hits depend on one another, groups or diversity, the nearest of them are.
    What is returned has been tried with the retriever itself.
    """
    inquiry = trial.inquiry
    rules = inquiry.rules
    fusion = _turnable(
        rules.fusion.fusion if isinstance(rules.fusion, GuardedFusion) else rules.fusion
    )
    # A preset is asked for by name, and with other weights it would be another one.
    if fusion is None or inquiry.retriever.preset is not None or len(trial.lists) < 2:
        return None
    limit = inquiry.limit
    for depth in sorted({max(limit, each) for each in trial.ranks.values()}):
        pool = trial.pool(depth, rules.fusion)
        used = weight_used(pool, rules.fusion)
        looks = shape.looks(trial.view, pool.rows)
        failed = 0
        for weight in _weights(trial, pool, fusion, used, shape, wanted):
            other = fused_by(pool, fusion.reweighted(weight))
            place, _ = trial.place(other, shape, depth, wanted, looks)
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


def _turnable(fusion: Fusion) -> WeightedFusion | None:
    """Return a fusion that has a weight to turn, None for others."""
    if not isinstance(fusion, WeightedFusion):
        return None
    try:
        return fusion.reweighted(fusion.dense_weight)
    except InputError:  # of a kind that has none
        return None


def k_needed(trial: Rerun, shape: ResultSelection) -> tuple[int, bool] | None:
    """Return the least k that brings the passage in with all else as it is, None if none does.

    And whether the dense leg must look at all vectors for it. Tried with the retriever itself.
    Where values or the depth follow from k in other ways than by adding candidates at the end, the
    least is found unless more than ``_WORK`` candidates have to be looked at for it; then it may be
    a greater one, or none is.
    """
    retriever, ranks = trial.inquiry.retriever, trial.ranks
    fusion = retriever.rules(trial.view).fusion
    most = sum(len(each.rows) for each in trial.lists.values())
    deepens = shape.selects and retriever.reranker is None  # before one, nothing is deepened
    # More candidates then never make a place better, so that all k before it can be left out.
    steady = not deepens and (len(trial.lists) < 2 or is_steady(fusion))
    levels = _Levels(trial, shape, fusion)
    k, failed = retriever.k + 1, 0
    while ranks and k <= most and failed < _RETRIES:
        changed = replace(retriever, k=k)
        first = changed.limit(changed.rules(trial.view))
        levels.wanted = k
        level = levels.at(deepen(k, first, levels.tried) if deepens else first)
        if level.place is not None and level.place <= k:
            exact = applied_k(trial, k)
            if exact is not None:
                return k, exact
            failed += 1
        later = [first + 1, level.hits + 1, *([level.place] if level.place is not None else [])]
        if steady or levels.looked > _WORK or levels.exhausted(first):
            if level.place is None and level.limit >= min(ranks.values()):
                return None
            later = [level.place if level.place is not None else min(ranks.values())]
        k = max(k + 1, min(later))
    return None


def applied_k(trial: Rerun, k: int) -> bool | None:
    """Return whether ``k`` hits hold the passage by an exact search alone, None if not even so."""
    retriever = trial.inquiry.retriever
    for exact in sorted({retriever.exact, True}):
        if trial.brings(replace(retriever, k=k, exact=exact)):
            return exact and not retriever.exact
    return None


def relaxed(trial: Rerun, said: WhyNot) -> dict[str, Any]:
    """Return the settings that keep the passage out, as they would let it in; nothing if not so.

    Thresholds at what it has (None where it has no score), a larger group, or near-duplicates and
    diversity left aside; where that is not enough, thresholds and groups left aside, too.
    """
    missed = [each for each in said.missed if each.name in _THRESHOLDS]
    aside: dict[str, Any] = {}
    if said.duplicate_of is not None:
        aside["dedup_threshold"] = None
    if said.diverse:
        aside["diversity"] = 0.0
    eased: dict[str, Any] = {each.name: each.had for each in missed} | aside
    dropped: dict[str, Any] = {each.name: None for each in missed} | aside
    if said.group:
        eased["per_group"] = len(said.group) + 1
        dropped["group_by"] = None
    for changed in (eased, dropped) if eased != dropped else (eased,):
        if changed and trial.brings(replace(trial.inquiry.retriever, **changed)):
            return changed
    return {}


@dataclass(frozen=True, slots=True)
class _Level:
    """What comes of it if each leg is asked for ``limit`` passages.

    How many hits there are if ``sought`` are wanted, the passage's place among them, and whether
    longer lists may hold others.
    """

    limit: int
    sought: int
    hits: int
    place: int | None
    more: bool


class _Levels:
    """Levels by their limits, each found once."""

    def __init__(self, trial: Rerun, shape: ResultSelection, fusion: Fusion) -> None:
        self._trial = trial
        self._shape = shape
        self._fusion = fusion
        self._most = max(len(each.rows) for each in trial.lists.values())
        self._known: dict[int, _Level] = {}
        self._looks: CandidateFeatures | None = None
        self.wanted = 0  # hits
        self.looked = 0  # candidates of all levels
        self._read = 0  # the limit up to which looks have been read

    def exhausted(self, limit: int) -> bool:
        """Whether legs that are asked for ``limit`` list all that they can."""
        return limit > self._most

    def at(self, limit: int) -> _Level:
        """Return one level."""
        limit = min(limit, self._most + 1)  # from there on, nothing is left to be listed
        known = self._known.get(limit)
        if known is None or known.sought < self.wanted:
            trial, shape = self._trial, self._shape
            pool = trial.pool(limit, self._fusion)
            self.looked += len(pool.rows)
            sought = 2 * self.wanted + _BEYOND
            looks = self._looks_of(pool, limit)
            place, hits = trial.place(pool, shape, limit, sought, looks)
            more = may_have_more(pool, trial.first(limit), shape, limit, self._fusion)
            self._known[limit] = _Level(limit, sought, hits, place, more)
        return self._known[limit]

    def _looks_of(self, pool: CandidateSet, limit: int) -> CandidateFeatures | None:
        """Return what a level's candidates are compared by, read for some levels at once."""
        if limit > self._read:
            self._read = _AHEAD * limit
            lists = self._trial.first(self._read).values()
            rows = np.unique(np.concatenate([pool.rows, *(each.rows for each in lists)]))
            self._looks = self._shape.looks(self._trial.view, rows)
        return self._looks

    def tried(self, limit: int) -> tuple[int, bool]:
        """Return how many hits a level has, and whether a deeper one may have others."""
        level = self.at(limit)
        return level.hits, level.more


def _applied(
    trial: Rerun, fusion: WeightedFusion, used: float, deeper: int | None
) -> Advice | None:
    """Return the remedy with a retriever that does find the passage, None if it does not."""
    retriever = trial.inquiry.retriever
    depth = deeper if deeper is not None else trial.inquiry.rules.depth
    for exact in sorted({retriever.exact, True}):  # where an approximate dense leg would miss it
        changed = replace(
            retriever, fusion=fusion, depth=depth, exact=exact, preset=None, dense_weight=None
        )
        if trial.brings(changed):
            added = exact and not retriever.exact
            return Advice(fusion.dense_weight, used, deeper, added, changed)
    return None


def weight_used(pool: CandidateSet, fusion: Fusion) -> float:
    """Return the share of the dense leg that a fusion, a guard too, has given it."""
    if isinstance(fusion, WeightedFusion) and not isinstance(fusion, GuardedFusion):
        return fusion.dense_weight
    assert pool.fused is not None  # both legs were asked
    dense = np.atleast_1d(pool.fused.dense_weight)
    total = dense + np.atleast_1d(pool.fused.lexical_weight)
    at = int(np.argmax(total))
    return float(dense[at] / total[at])


def _weights(
    trial: Rerun,
    pool: CandidateSet,
    fusion: WeightedFusion,
    used: float,
    shape: ResultSelection,
    wanted: int,
) -> Iterator[float]:
    """Yield weights at which the passage may be among the first ``wanted``, nearest first."""
    at_one, at_zero = (fused_by(pool, fusion.reweighted(each)).scores for each in (1.0, 0.0))
    own = int(np.flatnonzero(pool.rows == trial.row)[0])
    legs_only = ResultSelection(min_dense=shape.min_dense, min_lexical=shape.min_lexical)
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
        yield from tries[: min(_MOST, max(_FEWEST, _WORK // len(pool.rows)))].tolist()
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


def _before(trial: Rerun, tied: Rows) -> int:
    """Return how many of the rows that tie at every weight come first by id."""
    (own,) = trial.view.ids(np.array([trial.row]))
    return sum(each < own for each in trial.view.ids(tied))


def _only(a: Scores, b: Scores, these: Mask) -> tuple[Scores, Scores]:
    return a[these], b[these]
