"""Whether what was learned is worth keeping."""

from collections.abc import Sequence

from twofold.training.adapter_plan import AdapterPlan
from twofold.training.gain import Gain


def verdict(
    gains: Sequence[Gain], forgotten: Gain | None, mode: str, plan: AdapterPlan
) -> tuple[bool, str]:
    """Return whether an adapter is worth keeping, and why or why not."""
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
    return True, f"worth keeping: {plan.measure} {said} on held-out queries"


def harmless(gains: Sequence[Gain], plan: AdapterPlan) -> bool:
    """Whether queries whose passages were never learned from lose no more than allowed."""
    return all(each.lost <= plan.most_lost for each in gains if each.group == "unseen")


def remembers(forgotten: Gain | None, plan: AdapterPlan) -> bool:
    """Whether queries of another kind lose no more than allowed."""
    return forgotten is None or forgotten.lost <= plan.most_lost
