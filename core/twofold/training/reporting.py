"""What training did, as a page of Markdown."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from twofold.errors import InputError
from twofold.evaluation.plots import DPI, INK, LOST, WON, check_picture
from twofold.training.acceptance import Gain
from twofold.training.adapter.fit import Epoch
from twofold.training.adapter.result import TrainedAdapter
from twofold.training.finetuning.result import FineTunedModel
from twofold.tuning import setting_in_words

_GROUPS = {
    "all": "in all",
    "seen": "with a relevant passage that others were learned from",
    "unseen": "whose relevant passages were never learned from",
}


def training_report(trained: TrainedAdapter | FineTunedModel, *, title: str, date: str) -> str:
    """Return the verdict, held-out gains by group, the epochs and the data as Markdown.

    ``title`` names what was trained for, and ``date`` is printed as it is.
    """
    adapter = isinstance(trained, TrainedAdapter)
    lines = [f"# {'Query adapter' if adapter else 'Fine-tuned model'} for {title}", ""]
    lines += [f"{date}; {trained.queries:,} queries.", "", f"**{trained.reason}.**", ""]
    if trained.gains:
        held = "by cross-validation" if adapter else "nor chose the epoch"
        lines += _gains(trained.measure, held, trained.gains, trained.forgotten)
    if isinstance(trained, TrainedAdapter) and trained.profile is not None:
        lines += ["", "## Setting", "", setting_in_words(trained.profile)]
        if trained.tuned is not None:
            lines += ["", f"Tuning of the fusion: {trained.tuned}."]
    if not trained.kept and trained.gains and trained.needed is not None:
        lines += ["", _hope(trained.needed - trained.queries)]
    lines += _folds(trained) if isinstance(trained, TrainedAdapter) else _epochs(trained)
    if trained.card is not None:
        lines += ["", "## Card", "", *_card(trained.card)]
    return "\n".join(lines) + "\n"


def _gains(measure: str, held: str, gains: Sequence[Gain], forgotten: Gain | None) -> Iterator[str]:
    level = gains[0].interval.level
    yield f"{measure} of queries that nothing was learned from, {held}:"
    yield ""
    yield f"| mode | queries | before | after | gain ({level:.0%} interval) |"
    yield "| --- | --- | --- | --- | --- |"
    for each in gains:
        yield _row(each, f"{each.queries:,} {_GROUPS[each.group]}")
    if forgotten is not None:
        yield _row(forgotten, f"{forgotten.queries:,} of another kind")


def _row(gain: Gain, queries: str) -> str:
    each = gain.interval
    return (
        f"| {gain.mode} | {queries} | {gain.before:.4f} | {gain.after:.4f} | "
        f"{each.mean:+.4f} ({each.low:+.4f} to {each.high:+.4f}) |"
    )


def _hope(more: int) -> str:
    if more <= 0:
        return "A gain of this size would be settled by a few more judged queries."
    return f"About {more:,} more judged queries would settle a gain of this size."


def _folds(trained: TrainedAdapter) -> Iterator[str]:
    if not trained.curves:
        return
    yield from ("", "## Epochs", "")
    yield "| fold | epochs | best | nDCG@10 before | nDCG@10 at best |"
    yield "| --- | --- | --- | --- | --- |"
    for number, curve in enumerate(trained.curves, start=1):
        known = [each for each in curve if each.ndcg is not None]
        best = max(known, key=lambda each: (each.ndcg or 0.0, -each.number))
        first, top = known[0].ndcg, best.ndcg
        yield f"| {number} | {curve[-1].number} | {best.number} | {first:.4f} | {top:.4f} |"


def _epochs(tuned: FineTunedModel) -> Iterator[str]:
    if not tuned.curve:
        return
    yield from ("", "## Epochs", "")
    yield f"| epoch | loss | {tuned.measure} of queries that choose it | negatives replaced |"
    yield "| --- | --- | --- | --- |"
    for each in tuned.curve:
        # The first epoch has nothing to replace.
        place = each.number - 2
        share = f"{tuned.turnover[place]:.0%}" if 0 <= place < len(tuned.turnover) else ""
        yield f"| {_named(each, tuned.epoch)} | {_loss(each)} | {each.ndcg:.4f} | {share} |"


def _named(epoch: Epoch, best: int) -> str:
    name = str(epoch.number) if epoch.number else "as it was"
    return f"**{name}**" if epoch.number == best else name


def _loss(epoch: Epoch) -> str:
    return f"{epoch.loss:.3f}" if epoch.loss is not None else ""


def _card(card: Mapping[str, Any]) -> Iterator[str]:
    return (f"- {name}: {value}" for name, value in card.items() if name != "gains")


def plot_curves(trained: TrainedAdapter | FineTunedModel, path: str | os.PathLike[str]) -> None:
    """Write a PNG: the loss by epoch, and the measure of queries that nothing is learned from.

    Of an adapter each fold is a line. The best epochs are marked. Raises InputError for a path that
    doesn't end in .png and where there are no epochs, MissingExtraError without Matplotlib.
    """
    check_picture(path)
    curves, title = _curves(trained)
    if not curves:
        raise InputError(f"there are no epochs to draw: {trained.reason}")
    from matplotlib.figure import Figure

    # A figure of its own, not pyplot's: no state is shared, and no screen is looked for.
    canvas = Figure(figsize=(9.0, 3.4), dpi=DPI, layout="constrained")
    left, right = canvas.subplots(1, 2)
    for number, curve in enumerate(curves, start=1):
        steps = [each for each in curve if each.loss is not None]
        left.plot([e.number for e in steps], [e.loss for e in steps], color=LOST, alpha=0.7)
        known = [each for each in curve if each.ndcg is not None]
        right.plot([e.number for e in known], [e.ndcg for e in known], color=WON, alpha=0.7)
        best = max(known, key=lambda each: each.ndcg or 0.0)
        right.plot([best.number], [best.ndcg], marker="D", color=INK, markersize=4)
        if len(curves) > 1:
            right.annotate(f" {number}", (known[-1].number, known[-1].ndcg), size=8, va="center")
    for axes, name in ((left, "loss"), (right, title)):
        axes.set_title(name, loc="left", size=10)
        axes.set_xlabel("epoch")
        axes.locator_params(axis="x", integer=True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color("#AAAAAA")
        axes.tick_params(labelsize=9, color="#AAAAAA")
    canvas.savefig(path, format="png", metadata={"Software": None})


def _curves(trained: TrainedAdapter | FineTunedModel) -> tuple[Sequence[Sequence[Epoch]], str]:
    """Return lines of epochs, and what their heights are."""
    if isinstance(trained, TrainedAdapter):
        return trained.curves, "nDCG@10 of queries that stop it, by fold"
    curves = [trained.curve] if trained.curve else []
    return curves, f"{trained.measure} of queries that choose the epoch"
