"""The epochs of training as a picture."""

import os

from twofold.errors import InputError
from twofold.evaluation.figure import DPI, INK, LOST, WON, check_picture
from twofold.training.trained import Trained


def plot_curves(trained: Trained, path: str | os.PathLike[str]) -> None:
    """Write a PNG: the loss of each fold by epoch, and nDCG@10 of what it doesn't learn from.

    Raises InputError for a path that doesn't end in .png and where there are no epochs,
    MissingExtraError without Matplotlib.
    """
    check_picture(path)
    if not trained.curves:
        raise InputError(f"there are no epochs to draw: {trained.reason}")
    from matplotlib.figure import Figure

    # A figure of its own, not pyplot's: no state is shared, and no screen is looked for.
    canvas = Figure(figsize=(9.0, 3.4), dpi=DPI, layout="constrained")
    left, right = canvas.subplots(1, 2)
    for number, curve in enumerate(trained.curves, start=1):
        steps = [each for each in curve if each.loss is not None]
        left.plot([e.number for e in steps], [e.loss for e in steps], color=LOST, alpha=0.7)
        known = [each for each in curve if each.ndcg is not None]
        right.plot([e.number for e in known], [e.ndcg for e in known], color=WON, alpha=0.7)
        best = max(known, key=lambda each: each.ndcg or 0.0)
        right.plot([best.number], [best.ndcg], marker="D", color=INK, markersize=4)
        right.annotate(f" {number}", (known[-1].number, known[-1].ndcg), size=8, va="center")
    for axes, name in ((left, "loss"), (right, "nDCG@10 of queries that stop it, by fold")):
        axes.set_title(name, loc="left", size=10)
        axes.set_xlabel("epoch")
        axes.locator_params(axis="x", integer=True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color("#AAAAAA")
        axes.tick_params(labelsize=9, color="#AAAAAA")
    canvas.savefig(path, format="png", metadata={"Software": None})
