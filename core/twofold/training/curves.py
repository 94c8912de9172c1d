"""The epochs of training as a picture."""

import os
from collections.abc import Sequence

from twofold.errors import InputError
from twofold.evaluation.figure import DPI, INK, LOST, WON, check_picture
from twofold.training.fine_tuned import FineTuned
from twofold.training.fitting import Epoch
from twofold.training.trained import Trained


def plot_curves(trained: Trained | FineTuned, path: str | os.PathLike[str]) -> None:
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


def _curves(trained: Trained | FineTuned) -> tuple[Sequence[Sequence[Epoch]], str]:
    """Return lines of epochs, and what their heights are."""
    if isinstance(trained, Trained):
        return trained.curves, "nDCG@10 of queries that stop it, by fold"
    curves = [trained.curve] if trained.curve else []
    return curves, f"{trained.measure} of queries that choose the epoch"
