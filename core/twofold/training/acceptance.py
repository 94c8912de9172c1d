"""Rules that decide whether a trained adapter or model is better than the base."""

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
"""Measures of queries (n,) by search mode, the index's own first, and of ``CONTROL`` queries."""
CONTROL = "control"


@dataclass(frozen=True, slots=True)
class Gain:
    """Mean of a measure before and after training, over some held-out queries.

    A query is ``"unseen"`` if no training query shares a relevant passage with it, else ``"seen"``.
    """

    mode: Mode
    group: Group
    queries: int
    before: float
    after: float
    interval: Interval

    @property
    def lost(self) -> float:
        """How far the mean fell, 0.0 if it did not."""
        return max(-self.interval.mean, 0.0)

    def __str__(self) -> str:
        return f"{self.mode} {self.before:.4f} to {self.after:.4f}, {_difference(self.interval)}"

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON values; a bound that is infinite is None."""
        interval = self.interval
        bounds = [bound if np.isfinite(bound) else None for bound in (interval.low, interval.high)]
        found = {"gain": interval.mean, "interval": bounds, "level": interval.level}
        return {**asdict(self), **found}


def _difference(interval: Interval) -> str:
    return f"{interval.mean:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptanceRules:
    """When the result of a training is accepted; part of every training plan.

    Attributes:
        measure: Measure of search quality, in ir_measures' syntax.
        confidence: Confidence level of the gain's interval, which must lie above zero.
        max_regression: Largest mean loss allowed on unseen queries and on control queries.
        min_queries: Fewest judged queries; with fewer, nothing is trained.
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
    """Outcome of a training.

    Attributes:
        accepted: Whether the result is better than the base.
        reason: Why it was accepted or rejected.
        queries: Number of judged queries.
        gains: Gains of held-out queries, by search mode and group.
        forgotten: Gain of the control queries.
        needed: Estimated number of judged queries at which a gain of this size is significant.
        metadata: How the result was trained, as JSON values.
    """

    accepted: bool
    reason: str
    queries: int
    gains: tuple[Gain, ...] = ()
    forgotten: Gain | None = None
    needed: int | None = None
    metadata: Mapping[str, Any] | None = None

    def gain(self, mode: Mode, group: Group = "all") -> Gain | None:
        """Return the gain of one mode and group, or None."""
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
    """Return the gain from two arrays of per-query measures (n,)."""
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
    """Return the gain of each mode and group of the queries that ``among`` (n,) flags, or of all.

    ``unseen`` (n,) flags the unseen queries. Empty groups are left out.
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
    """Return the fields of a ``TrainingResult`` that the measures of the counted queries give."""
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
        text += "; not tested on unseen passages, which no held-out query has"
    return True, text if forgotten is not None else f"{text}; not tested on control queries"


def too_few_queries(count: int, rules: AcceptanceRules) -> dict[str, Any]:
    """Return the fields of a ``TrainingResult`` for fewer than ``min_queries`` queries."""
    least = f"at least {rules.min_queries:,} are needed"
    reason = f"rejected: {count:,} queries are too few to tell a gain from chance; {least}"
    return {"accepted": False, "reason": reason, "queries": count, "needed": rules.min_queries}


def no_regression(gains: Sequence[Gain], rules: AcceptanceRules) -> bool:
    """Return whether unseen queries lose no more than ``max_regression``."""
    return all(gain.lost <= rules.max_regression for gain in gains if gain.group == "unseen")
