"""Turns click logs into training examples, corrected for position bias."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal

import numpy as np

from twofold.corpus.reading import FilePath, read_json_lines
from twofold.errors import CorpusError, InputError
from twofold.training.data.examples import Example, TrainingSet
from twofold.training.data.splitting import normalize_query
from twofold.validation import as_path, check_integer, check_number, is_number

_MAX_ITERATIONS, _TOLERANCE = 5000, 1e-7  # of EM


@dataclass(frozen=True, slots=True)
class Session:
    """One result list: ids of the passages ``shown`` for a query, and of those ``clicked``.

    ``dwell`` has the seconds spent on passages, by id, as far as they are known. Raises InputError
    for an invalid value, and for a clicked passage that wasn't shown.
    """

    query: str
    shown: tuple[str, ...]
    clicked: tuple[str, ...] = ()
    dwell: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.query, str) or not self.query.strip():
            raise InputError(f"query must be text that isn't blank, got {self.query!r:.80}")
        for name, ids in (("shown", self.shown), ("clicked", self.clicked)):
            if not isinstance(ids, tuple) or not all(isinstance(id_, str) for id_ in ids):
                raise InputError(f"{name} must be a tuple of ids (a JSON list), got {ids!r:.80}")
        if len(set(self.shown)) < len(self.shown):
            repeated = Counter(self.shown).most_common(1)[0][0]
            raise InputError(f"passage {repeated!r} is shown twice: give each a single position")
        if not isinstance(self.dwell, Mapping):
            raise InputError(f"dwell must map ids to seconds, got {self.dwell!r:.80}")
        unknown = (set(self.clicked) | set(self.dwell)) - set(self.shown)
        if unknown:
            raise InputError(
                f"passage {min(map(str, unknown))!r} has a click or a dwell time, but wasn't shown"
            )
        for id_, seconds in self.dwell.items():
            check_number(f"dwell of {id_!r}", seconds, 0)


@dataclass(frozen=True, slots=True)
class ClickPlan:
    """How clicks are interpreted.

    Args:
        propensity: Probability that a position is examined, relative to position 1. A number is an
            exponent eta (propensity = position ** -eta), a function gives the propensity of a
            position, and ``"estimated"`` estimates it from the sessions.
        min_impressions: Query-passage pairs shown less often are ignored.
        min_dwell: Clicks with a shorter dwell time, in seconds, are ignored.
        min_relevance: Least relevance estimate of a positive, see ``examples_from_clicks``.
        max_weight: Largest weight (1 / propensity) of one click in the weight of an example.
        skip_above: Whether passages without a click that are shown above a click become negatives.
        normalize: Whether queries that differ only in case and blanks are one query.
    """

    propensity: float | Callable[[int], float] | Literal["estimated"] = 1.0
    min_impressions: int = 10
    min_dwell: float = 0.0
    min_relevance: float = 0.1
    max_weight: float = 10.0
    skip_above: bool = True
    normalize: bool = True

    def __post_init__(self) -> None:
        power = self.propensity
        if not callable(power) and power != "estimated" and not (is_number(power) and power >= 0):
            raise InputError(
                "propensity must be a number >= 0, a function of the position, or 'estimated', "
                f"got {power!r:.60}"
            )
        check_integer("min_impressions", self.min_impressions)
        check_number("min_dwell", self.min_dwell, 0)
        check_number("min_relevance", self.min_relevance, 0, exclusive=True)
        check_number("max_weight", self.max_weight, 0, exclusive=True)


@dataclass(slots=True)
class _QueryClicks:
    """Counts of one query's sessions: of its texts, and by passage id."""

    texts: Counter[str] = field(default_factory=Counter)
    impressions: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    clicked: set[str] = field(default_factory=set)
    weights: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, session: Session, plan: ClickPlan, weight: Callable[[int], float]) -> None:
        """Add a session; ``weight`` maps a position, from 1, to the weight of a click there."""
        clicked = set(session.clicked)
        counted = {
            id_ for id_ in clicked if session.dwell.get(id_, plan.min_dwell) >= plan.min_dwell
        }
        self.texts[session.query.strip()] += 1
        self.clicked |= clicked
        skipped: list[str] = []
        for position, id_ in enumerate(session.shown, start=1):
            self.impressions[id_] += 1
            if id_ in counted:
                self.weights[id_].append(weight(position))
                self.skipped.update(skipped)
                skipped = []
            elif id_ not in clicked and plan.skip_above:
                skipped.append(id_)

    def build_example(self, query_id: str, plan: ClickPlan) -> Example | None:
        """Return the query's example, or None if no passage is relevant enough."""
        frequent = {id_ for id_, n in self.impressions.items() if n >= plan.min_impressions}
        relevance = {
            id_: math.fsum(weights) / self.impressions[id_]
            for id_, weights in self.weights.items()
            if id_ in frequent
        }
        positives = [id_ for id_, value in relevance.items() if value >= plan.min_relevance]
        if not positives:
            return None
        positives.sort(key=lambda id_: (-relevance[id_], id_))
        negatives = [id_ for id_ in self.skipped if id_ in frequent - self.clicked]
        negatives.sort(key=lambda id_: (-self.skipped[id_], id_))
        text = min(self.texts, key=lambda text: (-self.texts[text], text))
        weights = [min(w, plan.max_weight) for id_ in positives for w in self.weights[id_]]
        weight = math.fsum(weights) / len(weights)
        return Example(text, tuple(positives), tuple(negatives), weight, "clicks", query_id)


def read_clicks(path: FilePath) -> tuple[Session, ...]:
    """Read sessions from JSON lines with ``query``, ``shown``, ``clicked`` and ``dwell``.

    ``shown`` and ``clicked`` are lists of ids. The optional ``dwell`` maps ids to seconds. Raises
    CorpusError for a file that can't be read or has no sessions, and for a malformed line.
    """
    path = as_path("path", path)
    sessions: list[Session] = []
    for number, record in read_json_lines(path):
        shown, clicked = (_as_ids(record.get(name)) for name in ("shown", "clicked"))
        dwell = record.get("dwell")
        dwell = dwell if dwell is not None else {}
        try:
            sessions.append(Session(record.get("query", ""), shown, clicked, dwell))
        except InputError as error:
            raise CorpusError(f"{path}, line {number}: {error}") from None
    if not sessions:
        raise CorpusError(f"{path} has no sessions")
    return tuple(sessions)


def examples_from_clicks(sessions: Iterable[Session], plan: ClickPlan | None = None) -> TrainingSet:
    """Return an example for each query with a passage that is relevant according to its clicks.

    The relevance estimate of a query and a passage is the sum of 1 / propensity over the positions
    of the clicks, divided by the impressions: Joachims, Swaminathan and Schnabel, Unbiased
    Learning-to-Rank with Biased Feedback (WSDM 2017). It orders the positives. An example's
    weight is the mean of 1 / propensity over the clicks on its positives, scaled so that the mean
    over all examples is 1. Negatives were skipped above a click and never clicked for this query,
    most often skipped first: Joachims et al., Accurately Interpreting Clickthrough Data as Implicit
    Feedback (SIGIR 2005).

    Raises InputError if a propensity isn't above 0 or can't be estimated, or if no passage is a
    positive.
    """
    plan = plan if plan is not None else ClickPlan()
    key = normalize_query if plan.normalize else str.strip
    keyed = [(key(session.query), session) for session in sessions]
    weight = _click_weights(keyed, plan)
    clicks: defaultdict[str, _QueryClicks] = defaultdict(_QueryClicks)
    for query_id, session in keyed:
        clicks[query_id].add(session, plan, weight)
    built = (counts.build_example(query_id, plan) for query_id, counts in clicks.items())
    examples = [example for example in built if example is not None]
    if not examples:
        raise InputError(
            f"no passage in {len(keyed):,} sessions has {plan.min_impressions} impressions for a "
            f"query and a relevance estimate of {plan.min_relevance} or more: pass more sessions, "
            "or lower min_impressions and min_relevance in ClickPlan"
        )
    mean = math.fsum(example.weight for example in examples) / len(examples)
    return TrainingSet(tuple(replace(each, weight=each.weight / mean) for each in examples))


def estimate_propensities(sessions: Iterable[Session], depth: int) -> tuple[float, ...]:
    """Return the propensities of positions 1 to ``depth``, relative to position 1.

    Uses expectation maximization of the position-based model, in which a click needs an examined
    position and an attractive passage: Chuklin, Markov and de Rijke, Click Models for Web Search
    (2015); Wang et al., Position Bias Estimation for Unbiased Learning to Rank in Personal Search
    (WSDM 2018). Only passages count that one query has shown at several positions. Many
    query-passage pairs with few impressions make the estimate less accurate. Raises InputError if a
    position has no clicks, or such passages don't link it to position 1.
    """
    check_integer("depth", depth)
    model = _PositionModel((session.query, session) for session in sessions)
    if model.depth < depth:
        raise InputError(
            f"the propensity of position {model.depth + 1} can't be estimated, because no clicked "
            "passage that one query has shown at several positions links it to position 1: pass a "
            "lower depth or more sessions, or set ClickPlan.propensity to a number"
        )
    return model.estimate_propensities()[:depth]


class _PositionModel:
    """Impressions and clicks of query-passage pairs by position, counted from 0."""

    def __init__(self, keyed: Iterable[tuple[str, Session]]) -> None:
        cells: defaultdict[tuple[str, str], dict[int, list[int]]] = defaultdict(dict)
        for key, session in keyed:
            clicked = set(session.clicked)
            for position, id_ in enumerate(session.shown):
                cell = cells[key, id_].setdefault(position, [0, 0])
                cell[0] += 1
                cell[1] += id_ in clicked
        # Pairs with a single position or without clicks fit any propensity.
        several = (pair for pair in cells.values() if len(pair) > 1)
        self._pairs = [pair for pair in several if any(clicks for _, clicks in pair.values())]

    @property
    def depth(self) -> int:
        """Number of leading positions whose propensity relative to position 1 can be estimated."""
        groups = {frozenset(pair) for pair in self._pairs}
        clicked = {pos for pair in self._pairs for pos, (_, clicks) in pair.items() if clicks}
        reached, grown = set[int](), {0}
        while grown != reached:
            reached = grown
            linked = (group for group in groups if not reached.isdisjoint(group))
            grown = reached.union(*linked)
        known = reached & clicked
        return next(position for position in range(len(known) + 1) if position not in known)

    def estimate_propensities(self) -> tuple[float, ...]:
        """Run EM on all positions and return the propensities of the first ``depth`` positions."""
        cells = ((number, pair.items()) for number, pair in enumerate(self._pairs))
        rows = [(number, pos, *counts) for number, pair in cells for pos, counts in pair]
        pair, position, shown, clicks = np.array(rows, np.int64).T
        missed = shown - clicks
        shown_at, shown_of = np.bincount(position, shown), np.bincount(pair, shown)
        examined, attractive = np.full(len(shown_at), 0.5), np.full(len(shown_of), 0.5)
        depth = self.depth
        for _ in range(_MAX_ITERATIONS):
            at, by = examined[position], attractive[pair]
            neither = np.maximum(1 - at * by, 1e-12)
            seen = np.bincount(position, clicks + missed * at * (1 - by) / neither)
            good = np.bincount(pair, clicks + missed * by * (1 - at) / neither)
            new, attractive = seen / np.maximum(shown_at, 1), good / shown_of
            change = np.abs(new[:depth] / new[0] - examined[:depth] / examined[0]).max()
            examined = new
            if change < _TOLERANCE:
                break
        return tuple(float(value) for value in examined[:depth] / examined[0])


def _click_weights(keyed: Sequence[tuple[str, Session]], plan: ClickPlan) -> Callable[[int], float]:
    """Return a function that maps a position, from 1, to 1 / propensity."""
    propensity = plan.propensity
    estimated: tuple[float, ...] = ()
    if propensity == "estimated":
        model = _PositionModel(keyed)
        if model.depth < 2:
            raise InputError(
                "propensities can't be estimated: no passage with clicks was shown for one query "
                "both at position 1 and at another: set ClickPlan.propensity to a number"
            )
        estimated = model.estimate_propensities()

    @cache
    def weigh(position: int) -> float:
        if estimated:
            return 1 / estimated[min(position, len(estimated)) - 1]
        value = propensity(position) if callable(propensity) else position ** -float(propensity)
        if not is_number(value) or value <= 0:
            raise InputError(
                f"the propensity of position {position} must be a number > 0, got {value!r:.40}"
            )
        return 1 / float(value)

    return weigh


def _as_ids(value: Any) -> Any:
    """Return a list as a tuple of ids, integers as strings; Session refuses other types."""
    if not isinstance(value, list):
        return value
    return tuple(str(id_) if type(id_) is int else id_ for id_ in value)
