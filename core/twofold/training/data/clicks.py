"""Click logs: what was shown, what was clicked, and what that says once position is allowed for."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from twofold.corpus.reading import FilePath, json_lines
from twofold.errors import CorpusError, InputError
from twofold.training.data.examples import Example, TrainingSet
from twofold.training.data.splitting import folded_query

_ROUNDS, _STILL = 5000, 1e-7  # of EM, at most, and the change at which it ends


@dataclass(frozen=True, slots=True)
class Session:
    """One answer to a query: ids ``shown`` from position 1 on, and those of them ``clicked``.

    ``dwell`` has the seconds spent on clicked passages, as far as they are known.
    """

    query: str
    shown: tuple[str, ...]
    clicked: tuple[str, ...] = ()
    dwell: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.query, str) or not self.query.strip():
            raise InputError(f"the query is {self.query!r:.80}: words are wanted")
        for name in ("shown", "clicked"):
            ids = getattr(self, name)
            if not isinstance(ids, tuple) or not all(isinstance(own, str) for own in ids):
                raise InputError(f"{name} is {ids!r:.80}: a list of ids is wanted")
        if len(set(self.shown)) < len(self.shown):
            twice = Counter(self.shown).most_common(1)[0][0]
            raise InputError(f"passage {twice!r} is shown twice: one position each is wanted")
        if not isinstance(self.dwell, Mapping):
            raise InputError(f"dwell is {self.dwell!r:.80}: ids with their seconds are wanted")
        unknown = (set(self.clicked) | set(self.dwell)) - set(self.shown)
        if unknown:
            raise InputError(
                f"passage {min(map(str, unknown))!r} has a click or a dwell, but wasn't shown"
            )
        for own, time in self.dwell.items():
            if not _is_number(time) or time < 0:
                raise InputError(f"the dwell on {own!r} is {time!r:.40}: seconds from 0 are wanted")


@dataclass(frozen=True, slots=True)
class ClickPlan:
    """What clicks are taken to say.

    ``propensity`` is how likely a position is looked at, beside position 1: a power eta (position p
    has p ** -eta), a function of the position, or ``"estimated"`` from the sessions. Pairs of query
    and passage with fewer than ``impressions`` say nothing. A click with a dwell known to be below
    ``dwell`` seconds doesn't count. A passage is a positive from a relevance estimate of ``least``
    on. ``largest`` is the most that one click weighs in an example's weight. ``skip_above`` takes
    negatives from what was passed over; ``fold`` makes one query of those that differ in case and
    blanks only.
    """

    propensity: float | Callable[[int], float] | Literal["estimated"] = 1.0
    impressions: int = 10
    dwell: float = 0.0
    least: float = 0.1
    largest: float = 10.0
    skip_above: bool = True
    fold: bool = True

    def __post_init__(self) -> None:
        power = self.propensity
        if not callable(power) and power != "estimated" and not (_is_number(power) and power >= 0):
            raise InputError(
                f"propensity is {power!r:.60}: a power of 0 or more, a function of the position, "
                "or 'estimated' is wanted"
            )
        count: object = self.impressions
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
            raise InputError(f"impressions is {count!r}: a whole number of at least 1 is wanted")
        for name in ("dwell", "least", "largest"):
            value = getattr(self, name)
            if not _is_number(value) or value < 0 or (value == 0 and name != "dwell"):
                bound = "of 0 or more" if name == "dwell" else "above 0"
                raise InputError(f"{name} is {value!r:.60}: a number {bound} is wanted")


@dataclass(slots=True)
class _Tally:
    """What the sessions of one query say."""

    texts: Counter[str] = field(default_factory=Counter)
    impressions: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    touched: set[str] = field(default_factory=set)
    inverse: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def count(self, session: Session, plan: ClickPlan, inverse: Callable[[int], float]) -> None:
        clicked = set(session.clicked)
        counted = {own for own in clicked if session.dwell.get(own, plan.dwell) >= plan.dwell}
        self.texts[session.query.strip()] += 1
        self.touched |= clicked
        passed: list[str] = []
        for position, own in enumerate(session.shown, start=1):
            self.impressions[own] += 1
            if own in counted:
                self.inverse[own].append(inverse(position))
                self.skipped.update(passed)
                passed = []
            elif own not in clicked and plan.skip_above:
                passed.append(own)


def read_clicks(path: FilePath) -> tuple[Session, ...]:
    """Read sessions from JSON lines: ``query``, ``shown``, ``clicked`` and, if known, ``dwell``.

    ``shown`` and ``clicked`` are lists of ids, ``dwell`` an object of id to seconds. Raises
    CorpusError naming the line.
    """
    path = Path(path)
    sessions = tuple(_session(path, *numbered) for numbered in json_lines(path))
    if not sessions:
        raise CorpusError(f"{path} holds no sessions")
    return sessions


def from_clicks(sessions: Iterable[Session], plan: ClickPlan | None = None) -> TrainingSet:
    """Return an example for each query with a passage that clicks say is relevant.

    The relevance estimate of a query and a passage is the sum of 1 / propensity over the positions
    of its clicks, divided by its impressions: Joachims, Swaminathan and Schnabel, Unbiased
    Learning-to-Rank with Biased Feedback (WSDM 2017). ``positives`` come best estimate first. The
    ``weight`` is the mean of 1 / propensity over the clicks on positives, each at most
    ``plan.largest``, and 1 in the mean over examples. Negatives were passed over on the way to a
    click below, most often first, and never clicked for this query: skip above, in Joachims et al.,
    Accurately Interpreting Clickthrough Data as Implicit Feedback (SIGIR 2005).

    Raises InputError for a propensity that isn't above 0, if propensities can't be estimated, and
    if no passage is a positive.
    """
    plan = plan if plan is not None else ClickPlan()
    key = folded_query if plan.fold else str.strip
    keyed = [(key(each.query), each) for each in sessions]
    inverse = _inverse(keyed, plan)
    tallies: defaultdict[str, _Tally] = defaultdict(_Tally)
    for own_key, session in keyed:
        tallies[own_key].count(session, plan, inverse)
    examples: list[Example] = []
    for own_key, tally in tallies.items():
        enough = {own for own, count in tally.impressions.items() if count >= plan.impressions}
        clicked = {own: clicks for own, clicks in tally.inverse.items() if own in enough}
        estimates = {own: math.fsum(c) / tally.impressions[own] for own, c in clicked.items()}
        good = [own for own, value in estimates.items() if value >= plan.least]
        if good:
            good.sort(key=lambda own: (-estimates[own], own))
            bad = [own for own in tally.skipped if own in enough - tally.touched]
            bad.sort(key=lambda own: (-tally.skipped[own], own))
            text = min(tally.texts, key=lambda each: (-tally.texts[each], each))
            clicks = [min(each, plan.largest) for own in good for each in tally.inverse[own]]
            mean = math.fsum(clicks) / len(clicks)
            examples.append(Example(text, tuple(good), tuple(bad), mean, "clicks", own_key))
    if not examples:
        raise InputError(
            f"no passage of {len(keyed):,} sessions was shown {plan.impressions} times for a query "
            f"and has an estimate of {plan.least}: give more sessions, or lower both in ClickPlan"
        )
    mean = math.fsum(each.weight for each in examples) / len(examples)
    return TrainingSet(tuple(replace(each, weight=each.weight / mean) for each in examples))


def estimated_propensities(sessions: Iterable[Session], depth: int) -> tuple[float, ...]:
    """Return how likely positions 1 to ``depth`` are looked at, beside position 1, which is 1.

    Expectation-maximisation of the position-based model, in which a click takes a position that is
    looked at and a passage that attracts: Chuklin, Markov and de Rijke, Click Models for Web Search
    (2015); Wang et al., Position Bias Estimation for Unbiased Learning to Rank in Personal Search
    (WSDM 2018). It learns from passages that were shown for one query at different positions. Many
    pairs with a few impressions each make it less exact.

    Raises InputError where such passages don't link a position to the first, and without clicks.
    """
    if isinstance(depth, bool) or not isinstance(depth, int | np.integer) or depth < 1:
        raise InputError(f"depth is {depth!r}: a whole number of at least 1 is wanted")
    seen = _Positions((each.query, each) for each in sessions)
    if seen.depth < depth:
        raise InputError(
            f"position {seen.depth + 1} can't be compared: it has no clicks on passages that the "
            "same query has shown at other positions, up to the first; show them in more than one "
            "order, ask for less depth, or give ClickPlan.propensity a power"
        )
    return seen.propensities()[:depth]


class _Positions:
    """Impressions and clicks of each query and passage by position, from 0 here."""

    def __init__(self, keyed: Iterable[tuple[str, Session]]) -> None:
        cells: defaultdict[tuple[str, str], dict[int, list[int]]] = defaultdict(dict)
        for key, session in keyed:
            clicked = set(session.clicked)
            for place, own in enumerate(session.shown):
                cell = cells[key, own].setdefault(place, [0, 0])
                cell[0] += 1
                cell[1] += own in clicked
        # What only one position has shown, or nobody clicked, fits any propensity: it says nothing.
        several = (places for places in cells.values() if len(places) > 1)
        self._pairs = [each for each in several if any(clicks for _, clicks in each.values())]

    @property
    def depth(self) -> int:
        """How many positions from the first on can be compared with it."""
        groups = {frozenset(places) for places in self._pairs}
        clicked = {place for each in self._pairs for place, (_, clicks) in each.items() if clicks}
        reached, grown = set[int](), {0}
        while grown != reached:
            reached = grown
            grown = reached.union(*(each for each in groups if not reached.isdisjoint(each)))
        told = reached & clicked
        return next(place for place in range(len(told) + 1) if place not in told)

    def propensities(self) -> tuple[float, ...]:
        """Run EM on all positions, and return those that can be compared."""
        cells = ((pair, each.items()) for pair, each in enumerate(self._pairs))
        rows = [(pair, place, *counts) for pair, places in cells for place, counts in places]
        pair, place, shown, clicks = np.array(rows, np.int64).T
        missed = shown - clicks
        of_place, of_pair = np.bincount(place, shown), np.bincount(pair, shown)
        looked, draws = np.full(len(of_place), 0.5), np.full(len(of_pair), 0.5)
        depth = self.depth
        for _ in range(_ROUNDS):
            at, by = looked[place], draws[pair]
            neither = np.maximum(1 - at * by, 1e-12)
            seen = np.bincount(place, clicks + missed * at * (1 - by) / neither)
            good = np.bincount(pair, clicks + missed * by * (1 - at) / neither)
            new, draws = seen / np.maximum(of_place, 1), good / of_pair
            change = np.abs(new[:depth] / new[0] - looked[:depth] / looked[0]).max()
            looked = new
            if change < _STILL:
                break
        return tuple(float(each) for each in looked[:depth] / looked[0])


def _inverse(keyed: Sequence[tuple[str, Session]], plan: ClickPlan) -> Callable[[int], float]:
    """Return 1 / propensity of a position from 1; it is asked only where there is a click."""
    given = plan.propensity
    known: tuple[float, ...] = ()
    if given == "estimated":
        seen = _Positions(keyed)
        if seen.depth < 2:
            raise InputError(
                "propensities can't be estimated: no passage with clicks was shown for one query "
                "both first and elsewhere; give ClickPlan.propensity a power"
            )
        known = seen.propensities()

    @cache
    def inverse(position: int) -> float:
        if known:
            return 1 / known[min(position, len(known)) - 1]  # deeper ones count as the deepest
        value = given(position) if callable(given) else position ** -float(given)
        if not _is_number(value) or value <= 0:
            raise InputError(
                f"position {position} has clicks, and the propensity {value!r:.40}: a number above "
                "0 is wanted"
            )
        return 1 / float(value)

    return inverse


def _session(path: Path, number: int, record: dict[str, Any]) -> Session:
    dwell = record.get("dwell")
    try:
        return Session(
            record.get("query", ""),
            _ids(record.get("shown")),
            _ids(record.get("clicked")),
            dwell if dwell is not None else {},
        )
    except InputError as error:
        raise CorpusError(f"{path}, line {number}: {error}") from None


def _ids(given: Any) -> Any:
    """Return a list's ids, numbers as their digits; a session refuses what isn't a list."""
    whole = isinstance(given, list)
    return tuple(str(own) if type(own) is int else own for own in given) if whole else given


def _is_number(value: object) -> bool:
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return number and math.isfinite(value)  # type: ignore[arg-type]
