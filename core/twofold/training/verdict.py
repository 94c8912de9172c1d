"""Whether what was learned is worth keeping."""

from collections.abc import Sequence
from typing import Protocol

from twofold.training.gain import Gain


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


def harmless(gains: Sequence[Gain], plan: Gate) -> bool:
    """Whether queries whose passages were never learned from lose no more than allowed."""
    return all(each.lost <= plan.most_lost for each in gains if each.group == "unseen")


def remembers(forgotten: Gain | None, plan: Gate) -> bool:
    """Whether queries of another kind lose no more than allowed."""
    return forgotten is None or forgotten.lost <= plan.most_lost
