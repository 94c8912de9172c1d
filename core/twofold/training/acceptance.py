"""Rules that accept a trained adapter or model by the gain of held-out queries over the base."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import numpy as np

from twofold.evaluation import Interval, bootstrap_interval, queries_needed
from twofold.evaluation.measures import parse_measure
from twofold.types import Mask, Mode, Scores
from twofold.validation import check_integer, check_number, check_seed

Group = Literal["all", "seen", "unseen"]
QueryMeasures = Mapping[str, Scores]
"""Search mode to per-query measures (n,), default mode first; ``CONTROL`` to control queries'."""
CONTROL = "control"


@dataclass(frozen=True, slots=True)
class Gain:
    """Means of a measure over queries before and after training, in one search mode.

    Held-out queries are ``"unseen"`` if they share no relevant passage with a training query, else
    ``"seen"``. ``queries`` is the number of queries, ``interval`` the mean gain with its bounds.
    """

    mode: Mode
    group: Group
    queries: int
    before: float
    after: float
    interval: Interval

    @property
    def lost(self) -> float:
        """How much lower the mean is after training, or 0.0 if it is not lower."""
        return max(-self.interval.mean, 0.0)

    def __str__(self) -> str:
        return f"{self.mode} {self.before:.4f} to {self.after:.4f}, {_difference(self.interval)}"

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON values; an infinite bound of the interval becomes None."""
        interval = self.interval
        bounds = [bound if np.isfinite(bound) else None for bound in (interval.low, interval.high)]
        found = {"gain": interval.mean, "interval": bounds, "level": interval.level}
        return {**asdict(self), **found}


def _difference(interval: Interval) -> str:
    return f"{interval.mean:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptanceRules:
    """Rules for accepting the result of training; every training plan has them.

    Attributes:
        measure: Measure of search quality, in ir_measures' syntax.
        confidence: Confidence level of the gain's interval, which must lie above zero.
        max_regression: Largest mean loss allowed on unseen queries (see `Gain`) or control queries.
        min_queries: Least number of judged queries; with fewer, nothing is trained.
        seed: Seed of the data splits, sampling and training.
    """

    measure: str = "nDCG@10"
    confidence: float = 0.95
    max_regression: float = 0.01
    min_queries: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        check_integer("min_queries", self.min_queries, 8)
        check_seed(self.seed)
        check_number("confidence", self.confidence, 0, 1, exclusive=True)
        check_number("max_regression", self.max_regression, 0, 1)
        parse_measure(self.measure)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """Result of training an adapter or a model, and whether it is accepted.

    Attributes:
        accepted: Whether it is better than the base, by the plan's ``AcceptanceRules``.
        reason: Why it was accepted or rejected.
        queries: Number of judged queries.
        gains: Gains of held-out queries, one for each search mode and group.
        forgotten: Gain of the control queries; None if there are none.
        needed: Judged queries that would make a gain of this size significant; None without a gain.
        metadata: Data, hyperparameters and gains, as JSON values; None if nothing was trained.
    """

    accepted: bool
    reason: str
    queries: int
    gains: tuple[Gain, ...] = ()
    forgotten: Gain | None = None
    needed: int | None = None
    metadata: Mapping[str, Any] | None = None

    def gain(self, mode: Mode, group: Group = "all") -> Gain | None:
        """Return the gain of a search mode and group, or None if it was not measured."""
        found = (gain for gain in self.gains if (gain.mode, gain.group) == (mode, group))
        return next(found, None)

    def __str__(self) -> str:
        lines = [self.reason]
        for gain in self.gains:
            group = "held-out queries" if gain.group == "all" else f"{gain.group} passages"
            lines.append(f"{gain} on {gain.queries:,} ({group})")
        if self.forgotten is not None:
            lines.append(f"{self.forgotten} on {self.forgotten.queries:,} (control queries)")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {
            "accepted": self.accepted,
            "reason": self.reason,
            "queries": self.queries,
            "gains": [gain.to_dict() for gain in self.gains],
            "forgotten": self.forgotten.to_dict() if self.forgotten is not None else None,
            "queries_needed": self.needed,
            "metadata": dict(self.metadata) if self.metadata is not None else None,
        }


def compute_gain(
    mode: str, before: Scores, after: Scores, confidence: float, group: Group = "all"
) -> Gain:
    """Return the gain between per-query measures (n,); its interval has level ``confidence``."""
    interval = bootstrap_interval(after - before, level=confidence)
    means = float(before.mean()), float(after.mean())
    return Gain(cast("Mode", mode), group, len(before), *means, interval)


def compute_gains(
    before: QueryMeasures,
    after: QueryMeasures,
    unseen: Mask,
    *,
    confidence: float,
    among: Mask | None = None,
) -> tuple[Gain, ...]:
    """Return the gain of each search mode and group: all, seen and unseen queries.

    ``among`` (n,) flags the queries to use, by default all, and ``unseen`` (n,) the unseen ones.
    Groups without queries are left out.
    """
    every = among if among is not None else np.ones_like(unseen)
    masks: dict[Group, Mask] = {"all": every, "seen": every & ~unseen, "unseen": every & unseen}
    return tuple(
        compute_gain(mode, before[mode][mask], after[mode][mask], confidence, group)
        for mode in before
        if mode != CONTROL
        for group, mask in masks.items()
        if mask.any()
    )


def judge(
    before: QueryMeasures,
    after: QueryMeasures,
    unseen: Mask,
    counted: Mask,
    forgotten: Gain | None,
    rules: AcceptanceRules,
    best_epoch: int,
) -> dict[str, Any]:
    """Decide by the rules on acceptance, and return the decision's ``TrainingResult`` fields.

    ``counted`` (n,) flags the held-out queries that decide, ``unseen`` (n,) the unseen ones.
    ``forgotten`` is the control queries' gain. ``best_epoch`` is 0 if no epoch beats the base.
    """
    mode = next(iter(before))
    gains = compute_gains(before, after, unseen, confidence=rules.confidence, among=counted)
    differences = (after[mode] - before[mode])[counted]
    gained = differences.mean() > 0
    accepted, reason = _decide(gains, forgotten, rules)
    if best_epoch == 0:
        accepted, reason = False, "no epoch was better than the base on validation queries"
    return {
        "accepted": accepted,
        "reason": f"{'accepted' if accepted else 'rejected'}: {reason}",
        "gains": gains,
        "forgotten": forgotten,
        "needed": queries_needed(differences, level=rules.confidence) if gained else None,
    }


def _decide(
    gains: Sequence[Gain], forgotten: Gain | None, rules: AcceptanceRules
) -> tuple[bool, str]:
    main = gains[0]
    text = f"{rules.measure} {_difference(main.interval)} on held-out queries"
    limit = f"max_regression is {rules.max_regression:g}"
    if not main.interval.low > 0:
        return False, f"{text} is not a significant gain"
    if not no_regression(gains, rules):
        worst = max((gain for gain in gains if gain.group == "unseen"), key=lambda gain: gain.lost)
        lost = f"{worst.lost:.4f} ({worst.mode})"
        return False, f"queries for unseen passages lose {lost}, and {limit}"
    if forgotten is not None and forgotten.lost > rules.max_regression:
        return False, f"control queries lose {forgotten.lost:.4f}, and {limit}"
    if not any(gain.group == "unseen" for gain in gains):
        text += "; not tested on unseen passages, because no held-out query has any"
    return True, text if forgotten is not None else f"{text}; not tested on control queries"


def too_few_queries(count: int, rules: AcceptanceRules) -> dict[str, Any]:
    """Return the fields of a ``TrainingResult`` rejected for having only ``count`` queries."""
    least = f"at least {rules.min_queries:,} are needed"
    reason = f"rejected: {count:,} queries are too few to tell a gain from chance; {least}"
    return {"accepted": False, "reason": reason, "queries": count, "needed": rules.min_queries}


def no_regression(gains: Sequence[Gain], rules: AcceptanceRules) -> bool:
    """Return whether unseen queries lose at most ``max_regression`` in every search mode."""
    return all(gain.lost <= rules.max_regression for gain in gains if gain.group == "unseen")
