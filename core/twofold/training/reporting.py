"""Markdown reports and plots of training results."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

from twofold.errors import InputError
from twofold.evaluation.plots import (
    INK,
    LOST,
    WON,
    check_plot_path,
    create_figure,
    save_figure,
    style_axes,
)
from twofold.training.adapter.fit import Epoch
from twofold.training.adapter.result import TrainedAdapter
from twofold.training.adapter.trainer import SweepPoint
from twofold.training.finetuning.loop import FineTunedModel
from twofold.tuning import describe_profile

_GROUPS = {
    "all": "in all",
    "seen": "that share a relevant passage with training queries",
    "unseen": "that share none with training queries",
}


def training_report(trained: TrainedAdapter | FineTunedModel, *, title: str, date: str) -> str:
    """Return a Markdown report: the decision, gains by group, epochs and metadata.

    Args:
        trained: Result of a training.
        title: Name of the data, for the heading.
        date: Date of the report, printed as it is.
    """
    adapter = isinstance(trained, TrainedAdapter)
    lines = [f"# {'Query adapter' if adapter else 'Fine-tuned model'} for {title}", ""]
    lines += [f"{date}; {trained.queries:,} queries.", "", f"**{trained.reason}.**", ""]
    if trained.gains:
        lines += _gains(trained, "cross-validated" if adapter else "of a held-out share")
    if isinstance(trained, TrainedAdapter) and trained.profile is not None:
        lines += ["", "## Search profile", "", describe_profile(trained.profile)]
        if trained.tuned is not None:
            lines += ["", f"Tuning of the fusion: {trained.tuned}."]
    if not trained.accepted and trained.gains and trained.needed is not None:
        more = trained.needed - trained.queries
        count = f"About {more:,}" if more > 0 else "A few"
        lines += ["", f"{count} more judged queries would make a gain of this size significant."]
    lines += _folds(trained) if isinstance(trained, TrainedAdapter) else _epochs(trained)
    if trained.metadata is not None:
        items = trained.metadata.items()
        lines += ["", "## Metadata", "", *(f"- {k}: {v}" for k, v in items if k != "gains")]
    return "\n".join(lines) + "\n"


def _gains(trained: TrainedAdapter | FineTunedModel, origin: str) -> Iterator[str]:
    level = trained.gains[0].interval.level
    yield f"{trained.measure} of queries {origin}:"
    yield ""
    yield f"| mode | queries | before | after | gain ({level:.0%} interval) |"
    yield "| --- | --- | --- | --- | --- |"
    rows = [(gain, _GROUPS[gain.group]) for gain in trained.gains]
    rows += [(trained.forgotten, "control queries")] if trained.forgotten is not None else []
    for gain, group in rows:
        interval = gain.interval
        yield (
            f"| {gain.mode} | {gain.queries:,} {group} | {gain.before:.4f} | {gain.after:.4f} | "
            f"{interval.mean:+.4f} ({interval.low:+.4f} to {interval.high:+.4f}) |"
        )


def _folds(trained: TrainedAdapter) -> Iterator[str]:
    if not trained.curves:
        return
    yield from ("", "## Epochs", "")
    yield "| fold | epochs | best | nDCG@10 before | nDCG@10 at best |"
    yield "| --- | --- | --- | --- | --- |"
    for number, curve in enumerate(trained.curves, start=1):
        known = [epoch for epoch in curve if epoch.ndcg is not None]
        best = max(known, key=lambda epoch: (epoch.ndcg or 0.0, -epoch.number))
        first, top = known[0].ndcg, best.ndcg
        yield f"| {number} | {curve[-1].number} | {best.number} | {first:.4f} | {top:.4f} |"


def _epochs(model: FineTunedModel) -> Iterator[str]:
    if not model.curve:
        return
    yield from ("", "## Epochs", "")
    yield f"| epoch | loss | {model.measure} of validation queries | negatives replaced |"
    yield "| --- | --- | --- | --- |"
    for epoch in model.curve:
        name = str(epoch.number) if epoch.number else "base"
        name = f"**{name}**" if epoch.number == model.epoch else name
        loss = f"{epoch.loss:.3f}" if epoch.loss is not None else ""
        position = epoch.number - 2  # the first epoch has no negatives to replace
        known = 0 <= position < len(model.turnover)
        share = f"{model.turnover[position]:.0%}" if known else ""
        yield f"| {name} | {loss} | {epoch.ndcg:.4f} | {share} |"


def plot_curves(trained: TrainedAdapter | FineTunedModel, path: str | os.PathLike[str]) -> None:
    """Write a PNG of the loss and the validation queries' measure by epoch.

    An adapter has a line for each fold. The best epochs are marked.

    Raises:
        InputError: The path doesn't end in .png, or there are no epochs.
        MissingExtraError: Matplotlib isn't installed.
    """
    curves: Sequence[Sequence[Epoch]]
    if isinstance(trained, TrainedAdapter):
        curves, title = trained.curves, "nDCG@10 of validation queries, by fold"
    else:
        curves = [trained.curve] if trained.curve else []
        title = f"{trained.measure} of validation queries"
    check_plot_path(path)
    if not curves:
        raise InputError(f"there are no epochs to draw: {trained.reason}")
    figure = create_figure(9.0, 3.4)
    left, right = figure.subplots(1, 2)
    for number, curve in enumerate(curves, start=1):
        steps = [epoch for epoch in curve if epoch.loss is not None]
        left.plot([e.number for e in steps], [e.loss for e in steps], color=LOST, alpha=0.7)
        known = [epoch for epoch in curve if epoch.ndcg is not None]
        right.plot([e.number for e in known], [e.ndcg for e in known], color=WON, alpha=0.7)
        best = max(known, key=lambda epoch: epoch.ndcg or 0.0)
        right.plot([best.number], [best.ndcg], marker="D", color=INK, markersize=4)
        if len(curves) > 1:
            right.annotate(f" {number}", (known[-1].number, known[-1].ndcg), size=8, va="center")
    for axes, name in ((left, "loss"), (right, title)):
        _label(axes, name, "epoch")
        axes.locator_params(axis="x", integer=True)
    save_figure(figure, path)


def plot_sweep(points: Sequence[SweepPoint], path: str | os.PathLike[str]) -> None:
    """Write a PNG of the held-out queries' measure by temperature, with the gain's interval.

    Raises:
        InputError: The path doesn't end in .png, or there are no points.
        MissingExtraError: Matplotlib isn't installed.
    """
    check_plot_path(path)
    if not points:
        raise InputError("there is nothing to draw: pass the result of sweep_temperatures")
    figure = create_figure(5.4, 3.4)
    axes = figure.subplots()
    ordered = sorted(points, key=lambda point: point.temperature)
    gains = [point.gain for point in ordered]
    at, after = [point.temperature for point in ordered], [gain.after for gain in gains]
    low = [gain.interval.mean - gain.interval.low for gain in gains]
    high = [gain.interval.high - gain.interval.mean for gain in gains]
    axes.errorbar(at, after, yerr=[low, high], color=WON, marker="D", markersize=4, capsize=3)
    axes.axhline(gains[0].before, color=INK, linewidth=0.8, linestyle="--")
    axes.annotate("base", (at[-1], gains[0].before), size=8, ha="right", va="bottom")
    axes.set_xscale("log")
    axes.set_xticks(at, [f"{temperature:g}" for temperature in at])
    axes.minorticks_off()
    title = f"{ordered[0].trained.measure} of held-out queries, {gains[0].mode}"
    _label(axes, title, "temperature")
    save_figure(figure, path)


def _label(axes: Any, title: str, x_label: str) -> None:
    axes.set_title(title, loc="left", size=10)
    axes.set_xlabel(x_label)
    style_axes(axes)
