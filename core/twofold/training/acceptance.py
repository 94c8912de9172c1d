"""What held-out queries gain, over all of them and by whether their answers were learned from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from twofold.evaluation import Interval, bootstrap_interval
from twofold.types import Mask, Mode, Scores

Group = Literal["all", "seen", "unseen"]
GROUPS: tuple[Group, ...] = ("all", "seen", "unseen")


@dataclass(frozen=True, slots=True)
class Gain:
    """Means of a measure over some queries before and after, and the difference's interval.

    ``"unseen"`` queries are those of which no relevant passage answers any query that was learned
    from, ``"seen"`` the others.
    """

    mode: Mode
    group: Group
    queries: int
    before: float
    after: float
    interval: Interval

    @property
    def lost(self) -> float:
        """How much lower the mean is afterwards, 0.0 if it isn't."""
        return max(-self.interval.mean, 0.0)

    def __str__(self) -> str:
        each = self.interval
        return (
            f"{self.mode} {self.before:.4f} to {self.after:.4f}, {each.mean:+.4f} "
            f"[{each.low:+.4f}, {each.high:+.4f}]"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values; bounds that one query leaves open are None."""
        bounds = [each if np.isfinite(each) else None for each in _bounds(self.interval)]
        return {
            "mode": self.mode,
            "group": self.group,
            "queries": self.queries,
            "before": self.before,
            "after": self.after,
            "gain": self.interval.mean,
            "interval": bounds,
            "level": self.interval.level,
        }


Values = Mapping[Mode, Scores]
"""A measure of each query (n,), by the mode of retrieval."""


def compute_gains(before: Values, after: Values, unseen: Mask, *, level: float) -> tuple[Gain, ...]:
    """Return the gains of each mode and group that has queries; ``unseen`` flags queries (n,)."""
    masks = {"all": np.ones(len(unseen), np.bool_), "seen": ~unseen, "unseen": unseen}
    return tuple(
        Gain(
            mode,
            group,
            int(masks[group].sum()),
            float(before[mode][masks[group]].mean()),
            float(after[mode][masks[group]].mean()),
            bootstrap_interval((after[mode] - before[mode])[masks[group]], level=level),
        )
        for mode in before
        for group in GROUPS
        if masks[group].any()
    )


def select_queries(values: Values, mask: Mask) -> Values:
    """Return the measures of the queries that a mask (n,) flags."""
    return {mode: each[mask] for mode, each in values.items()}


def find_gain(gains: Sequence[Gain], mode: Mode, group: Group) -> Gain | None:
    """Return the gain of a mode and a group, None if there is none such."""
    return next((each for each in gains if (each.mode, each.group) == (mode, group)), None)


def in_words(reason: str, gains: Sequence[Gain], forgotten: Gain | None) -> list[str]:
    """Return a verdict and what it rests on, a line each."""
    lines = [reason]
    for each in gains:
        what = "held-out queries" if each.group == "all" else f"{each.group} passages"
        lines.append(f"{each} on {each.queries:,} ({what})")
    if forgotten is not None:
        lines.append(f"{forgotten} on {forgotten.queries:,} (queries of another kind)")
    return lines


def _bounds(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high


class Gate(Protocol):
    """What a plan says of keeping: the measure, and the most that others may lose."""

    @property
    def measure(self) -> str:
        """In ir_measures' grammar."""
        ...

    @property
    def most_lost(self) -> float:
        """The greatest loss of the measure, on unseen passages or of other queries."""
        ...


def verdict(
    gains: Sequence[Gain], forgotten: Gain | None, mode: str, plan: Gate
) -> tuple[bool, str]:
    """Return whether what was learned is worth keeping, and why or why not."""
    main = next(each for each in gains if each.mode == mode and each.group == "all")
    gain = main.interval
    said = f"{gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
    if not gain.low > 0:
        return False, f"the base stays: {plan.measure} {said} on held-out queries is no sure gain"
    for each in gains:
        if each.group == "unseen" and each.lost > plan.most_lost:
            return False, (
                f"the base stays: queries whose passages were never learned from lose "
                f"{each.lost:.4f} ({each.mode}), and {plan.most_lost:g} is the most allowed"
            )
    if forgotten is not None and forgotten.lost > plan.most_lost:
        return False, (
            f"the base stays: queries of another kind lose {forgotten.lost:.4f}, and "
            f"{plan.most_lost:g} is the most allowed"
        )
    more = ""
    if not any(each.group == "unseen" for each in gains):
        more += "; no query asks for a passage never learned from, so that was not tested"
    if forgotten is None:
        more += "; what becomes of queries of another kind was not tested"
    return True, f"worth keeping: {plan.measure} {said} on held-out queries{more}"


def too_few(count: int, fewest: int) -> str:
    """Return why nothing is learned from so few queries."""
    return (
        f"nothing changes: {count:,} queries are too few to tell a gain from luck, {fewest:,} are "
        "the least"
    )


def no_regression(gains: Sequence[Gain], plan: Gate) -> bool:
    """Whether queries whose passages were never learned from lose no more than allowed."""
    return all(each.lost <= plan.most_lost for each in gains if each.group == "unseen")


def no_forgetting(forgotten: Gain | None, plan: Gate) -> bool:
    """Whether queries of another kind lose no more than allowed."""
    return forgotten is None or forgotten.lost <= plan.most_lost
