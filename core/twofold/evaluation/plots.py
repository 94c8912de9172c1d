"""Plots comparisons with Matplotlib, and has the figure functions that all plots share."""

import os
import warnings
from typing import IO, Any

import numpy as np

from twofold.errors import InputError
from twofold.evaluation.comparison import Comparison, Difference
from twofold.evaluation.report import format_interval, format_p_value
from twofold.extras import check_extra
from twofold.validation import as_path

DPI = 150
# Okabe and Ito's blue and vermilion (2008), which color-blind people can tell apart.
WON, LOST, INK, GREY = "#0072B2", "#D55E00", "#1A1A1A", "#777777"
_WIDTH, _ROW_HEIGHT = 10.0, 2.7  # inches
_MAX_NAME = 32  # characters of a system's name


def check_plot_path(path: str | os.PathLike[str]) -> None:
    """Raise InputError unless the path ends in .png, MissingExtraError without Matplotlib."""
    if as_path("path", path).suffix.lower() != ".png":
        raise InputError(f"a plot's path must end in .png, got {str(path)!r}")
    check_extra("plot", "plots", "matplotlib")


def create_figure(width: float, height: float) -> Any:
    """Return an empty Matplotlib figure of this size in inches."""
    from matplotlib.figure import Figure

    # pyplot's figures would share state and look for a display.
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def save_figure(figure: Any, target: str | os.PathLike[str] | IO[bytes]) -> None:
    """Write a figure as PNG, the same bytes each time."""
    with warnings.catch_warnings():
        # Matplotlib draws letters that its font lacks as boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure.savefig(target, format="png", metadata={"Software": None})


def style_axes(axes: Any) -> None:
    """Draw only the left and bottom spines, in grey, with small tick labels."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#AAAAAA")
    axes.tick_params(labelsize=9, color="#AAAAAA", labelbottom=True)


def plot_differences(comparison: Comparison, path: str | os.PathLike[str]) -> None:
    """Write a PNG with a row per other system: differences by query, and the mean difference.

    Raises:
        InputError: The path doesn't end in .png.
        MissingExtraError: Matplotlib isn't installed.
    """
    check_plot_path(path)
    count = len(comparison.differences)
    figure = create_figure(_WIDTH, _ROW_HEIGHT * count + 0.6)
    grid = figure.subplots(
        count, 2, squeeze=False, sharex="col", sharey="col", width_ratios=(3.2, 1)
    )
    for (left, right), difference in zip(grid, comparison.differences, strict=True):
        _draw_queries(left, difference)
        _draw_mean(right, difference)
    grid[-1, 0].set_xlabel(f"{comparison.subject.queries:,} queries, by difference")
    grid[-1, 1].set_xlabel("mean, 95% interval")
    figure.suptitle(
        f"{comparison.measure}: {_shorten(comparison.subject.name)} minus the others",
        x=0.01,
        ha="left",
        weight="bold",
        parse_math=False,
    )
    save_figure(figure, path)


def _draw_queries(axes: Any, difference: Difference) -> None:
    """Draw the differences of all queries in descending order."""
    values = np.sort(difference.values)[::-1]
    edges = np.arange(len(values) + 1)
    axes.stairs(np.maximum(values, 0), edges, fill=True, color=WON)
    axes.stairs(np.minimum(values, 0), edges, fill=True, color=LOST)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_xlim(0, len(values))
    axes.locator_params(axis="x", integer=True)
    axes.margins(y=0.08)
    axes.set_ylabel("difference")
    axes.set_title(
        f"minus {_shorten(difference.other.name)}", loc="left", size=10.5, parse_math=False
    )
    # The counts stand above the axes, where they never cover a bar.
    counts = ("won", difference.won, WON), ("tied", difference.tied, GREY)
    for position, (word, count, color) in enumerate((*counts, ("lost", difference.lost, LOST))):
        axes.annotate(
            f"{word} {count:,}",
            (0.68 + 0.16 * position, 1),
            xytext=(0, 6),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="right",
            size=9.5,
            color=color,
        )
    style_axes(axes)


def _draw_mean(axes: Any, difference: Difference) -> None:
    """Draw the mean difference with its interval and p value."""
    interval = difference.interval
    axes.axvline(0, color=INK, linewidth=0.8)
    if np.isfinite([interval.low, interval.high]).all():
        axes.plot([interval.low, interval.high], [0, 0], color=INK, linewidth=2)
    axes.plot([interval.mean], [0], marker="D", color=INK, markersize=6)
    axes.set_ylim(-1, 1)
    axes.set_yticks([])
    axes.margins(x=0.15)
    axes.locator_params(axis="x", nbins=4)
    axes.set_title(format_interval(interval, signed=True), size=10)
    p = format_p_value(difference.adjusted_p)
    axes.annotate(
        f"p {p}" if p.startswith("<") else f"p = {p}",
        (0.5, 0.1),
        xycoords="axes fraction",
        ha="center",
        size=9.5,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )
    style_axes(axes)


def _shorten(name: str) -> str:
    """Return a name on one line; the middle of a long one is left out."""
    line = " ".join(name.split())
    half = _MAX_NAME // 2
    return line if len(line) <= _MAX_NAME else f"{line[:half]}…{line[-half:]}"
