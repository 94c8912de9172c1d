"""A sweep over temperatures: what each gives held-out queries, as a curve."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from twofold.errors import InputError
from twofold.evaluation.plots import DPI, INK, WON, check_picture
from twofold.index import Index
from twofold.training.acceptance import Gain
from twofold.training.adapter.plan import AdapterPlan
from twofold.training.adapter.result import TrainedAdapter
from twofold.training.adapter.trainer import Report, train_adapter
from twofold.training.data.examples import TrainingSet
from twofold.types import Vectors
from twofold.validation import check_temperature

TEMPERATURES = (0.01, 0.02, 0.05, 0.1, 0.2)


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """What training at one temperature gave."""

    temperature: float
    trained: TrainedAdapter

    @property
    def gain(self) -> Gain:
        """The gain of all held-out queries, in the mode that the index serves."""
        return self.trained.gains[0]

    def __str__(self) -> str:
        return f"temperature {self.temperature:g}: {self.gain}"


def sweep_temperatures(
    index: Index,
    training_set: TrainingSet,
    temperatures: Sequence[float] = TEMPERATURES,
    *,
    plan: AdapterPlan | None = None,
    vectors: Vectors | None = None,
    progress: Report | None = None,
) -> tuple[SweepPoint, ...]:
    """Train an adapter at each temperature, everything else being the plan's; nothing is written.

    The best of several looks better than it is: choose one, and believe a later training's gains.
    Raises what ``train_adapter`` does, and InputError for temperatures or too few queries.
    """
    if not temperatures:
        raise InputError(
            "there are no temperatures to sweep over: give some, such as 0.02 and 0.05"
        )
    for each in temperatures:
        check_temperature(each)
    plan = plan if plan is not None else AdapterPlan()
    swept: list[SweepPoint] = []
    for temperature in temperatures:
        own = replace(plan, temperature=temperature)
        trained = train_adapter(index, training_set, plan=own, vectors=vectors, progress=progress)
        if not trained.gains:
            raise InputError(trained.reason)
        swept.append(SweepPoint(temperature, trained))
    return tuple(swept)


def plot_sweep(swept: Sequence[SweepPoint], path: str | os.PathLike[str]) -> None:
    """Write a PNG: the measure of held-out queries by temperature, with the gain's interval.

    Raises InputError for a path that doesn't end in .png and for nothing to draw,
    MissingExtraError without Matplotlib.
    """
    check_picture(path)
    if not swept:
        raise InputError("there is nothing to draw: give what sweep_temperatures gave")
    from matplotlib.figure import Figure

    # A figure of its own, not pyplot's: no state is shared, and no screen is looked for.
    canvas = Figure(figsize=(5.4, 3.4), dpi=DPI, layout="constrained")
    axes = canvas.subplots()
    ordered = sorted(swept, key=lambda each: each.temperature)
    gains = [each.gain for each in ordered]
    at = [each.temperature for each in ordered]
    low = [each.interval.mean - each.interval.low for each in gains]
    high = [each.interval.high - each.interval.mean for each in gains]
    after = [each.after for each in gains]
    axes.errorbar(at, after, yerr=[low, high], color=WON, marker="D", markersize=4, capsize=3)
    axes.axhline(gains[0].before, color=INK, linewidth=0.8, linestyle="--")
    axes.annotate("as it is", (at[-1], gains[0].before), size=8, ha="right", va="bottom")
    axes.set_xscale("log")
    axes.set_xticks(at, [f"{each:g}" for each in at])
    axes.minorticks_off()
    axes.set_xlabel("temperature")
    measure = ordered[0].trained.plan.measure
    axes.set_title(f"{measure} of held-out queries, {gains[0].mode}", loc="left", size=10)
    axes.spines[["top", "right"]].set_visible(False)
    canvas.savefig(path, format="png", metadata={"Software": None})
