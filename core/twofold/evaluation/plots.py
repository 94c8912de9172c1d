"""A comparison as a picture: each query's difference, and the mean with its interval."""

import os
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from twofold.errors import InputError, MissingExtraError
from twofold.evaluation.comparison import Comparison, Difference
from twofold.evaluation.report import p_value, ranged

WIDTH, HEIGHT = 10.0, 2.7  # inches, the height for each comparison
DPI = 150
# Okabe and Ito's blue and vermilion (2008): apart for every kind of colour vision.
WON, LOST, INK, GREY = "#0072B2", "#D55E00", "#1A1A1A", "#777777"
_NAME = 32  # characters of a setting's name


def plot_differences(comparison: Comparison, path: str | os.PathLike[str]) -> None:
    """Write a PNG with a row for each other setting: differences by size, and their mean.

    Raises InputError for a path that doesn't end in .png, MissingExtraError without Matplotlib.
    """
    check_picture(path)
    from matplotlib.figure import Figure

    count = len(comparison.differences)
    # A figure of its own, not pyplot's: no state is shared, and no screen is looked for.
    canvas = Figure(figsize=(WIDTH, HEIGHT * count + 0.6), dpi=DPI, layout="constrained")
    grid = canvas.subplots(
        count, 2, squeeze=False, sharex="col", sharey="col", width_ratios=(3.2, 1)
    )
    for (left, right), difference in zip(grid, comparison.differences, strict=True):
        _queries(left, difference)
        _mean(right, difference)
    grid[-1, 0].set_xlabel(f"{comparison.subject.queries:,} queries, by difference")
    grid[-1, 1].set_xlabel("mean, 95% interval")
    canvas.suptitle(
        f"{comparison.measure}: {_short(comparison.subject.name)} minus the others",
        x=0.01,
        ha="left",
        weight="bold",
        parse_math=False,
    )
    with warnings.catch_warnings():
        # Letters that no font here has are drawn as boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        canvas.savefig(path, format="png", metadata={"Software": None})


def check_picture(path: str | os.PathLike[str]) -> None:
    """Raise InputError or MissingExtraError where no picture can be drawn to a path."""
    if Path(path).suffix.lower() != ".png":
        raise InputError(f"the plot is written as .png, and {str(path)!r} is none: change the name")
    if find_spec("matplotlib") is None:
        raise MissingExtraError("the plot needs matplotlib: pip install 'twofold[plot]'")


def _queries(axes: Any, difference: Difference) -> None:
    """Draw the differences of all queries, the best for the subject first."""
    values = np.sort(difference.values)[::-1]
    edges = np.arange(len(values) + 1)
    won, lost = np.maximum(values, 0), np.minimum(values, 0)
    axes.stairs(won, edges, fill=True, color=WON)
    axes.stairs(lost, edges, fill=True, color=LOST)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_xlim(0, len(values))
    axes.locator_params(axis="x", integer=True)
    axes.margins(y=0.08)
    axes.set_ylabel("difference")
    axes.set_title(
        f"minus {_short(difference.other.name)}", loc="left", size=10.5, parse_math=False
    )
    # Above the axes, where no bar is ever in the way.
    counts = ("won", difference.won, WON), ("tied", difference.tied, GREY)
    for place, (word, count, color) in enumerate((*counts, ("lost", difference.lost, LOST))):
        axes.annotate(
            f"{word} {count:,}",
            (0.68 + 0.16 * place, 1),
            xytext=(0, 6),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="right",
            size=9.5,
            color=color,
        )
    _bare(axes)


def _mean(axes: Any, difference: Difference) -> None:
    """Draw the mean difference and its interval beside zero."""
    interval = difference.interval
    axes.axvline(0, color=INK, linewidth=0.8)
    if np.isfinite([interval.low, interval.high]).all():
        axes.plot([interval.low, interval.high], [0, 0], color=INK, linewidth=2)
    axes.plot([interval.mean], [0], marker="D", color=INK, markersize=6)
    axes.set_ylim(-1, 1)
    axes.set_yticks([])
    axes.margins(x=0.15)
    axes.locator_params(axis="x", nbins=4)
    axes.set_title(ranged(interval, signed=True), size=10)
    axes.annotate(
        f"p {p_value(difference.adjusted_p)}".replace("p 0", "p = 0").replace("p 1", "p = 1"),
        (0.5, 0.1),
        xycoords="axes fraction",
        ha="center",
        size=9.5,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )
    _bare(axes)


def _bare(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#AAAAAA")
    axes.tick_params(labelsize=9, color="#AAAAAA", labelbottom=True)


def _short(name: str) -> str:
    """Return a name on one line; of a long one its beginning and its end."""
    line = " ".join(name.split())
    return line if len(line) <= _NAME else f"{line[: _NAME // 2]}…{line[-_NAME // 2 :]}"
