"""A map as a picture: PNG, drawn by Matplotlib."""

import io
import warnings
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from twofold.map.colors import MISSING, Categories
from twofold.map.style import (
    GREYS,
    INK,
    SCALE,
    LinkKind,
    axis_titles,
    bundles,
    color_of,
    heading,
    is_square,
    link_label,
    shortened,
    subtitle,
)

if TYPE_CHECKING:
    from twofold.map.corpus_map import CorpusMap
    from twofold.map.model import QueryPlace

SIZE = (12.0, 7.2)  # inches
DPI = 150
MOST = 3
"""Queries whose hits are counted in the legend; more have one line each."""
LISTED = 9
"""Queries that are in the legend, above the place of a colour bar."""
_LABEL = 30
_POINT = 20  # square points, as Matplotlib counts areas
_LINES: dict[LinkKind, dict[str, Any]] = {
    "both": {"linewidth": 2.0, "linestyle": "-"},
    "dense": {"linewidth": 0.9, "linestyle": "-"},
    "lexical": {"linewidth": 0.9, "linestyle": (0, (5, 3))},
}
_RINGS: dict[LinkKind, str] = {"both": "D", "dense": "o", "lexical": "s"}


def figure(drawn: "CorpusMap") -> bytes:
    """Return a map as PNG."""
    from matplotlib.figure import Figure

    # A figure of its own, not pyplot's: no state is shared, and no screen is looked for.
    canvas = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
    grid = canvas.add_gridspec(1, 2, width_ratios=(4, 1))
    axes, side = canvas.add_subplot(grid[0, 0]), canvas.add_subplot(grid[0, 1])
    side.set_axis_off()
    handles = _points(drawn, axes, side)
    several = len(drawn.queries) > 1
    parts = [
        _query(drawn, axes, query, str(number) if several else "")
        for number, query in enumerate(drawn.queries, 1)
    ]
    handles += (
        _brief(drawn, parts) if len(parts) > MOST else [each for part in parts for each in part]
    )
    _frame(drawn, axes)
    if handles:
        _legend(side, handles)
    out = io.BytesIO()
    with warnings.catch_warnings():
        # Letters that no font here has are drawn as boxes; the page has the reader's own fonts.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        canvas.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def _points(drawn: "CorpusMap", axes: Any, side: Any) -> list[tuple[Any, str]]:
    """Draw the passages; return what the legend says of them."""
    coloring = drawn.coloring
    style = {"s": _POINT, "alpha": 0.65, "linewidths": 0}
    if isinstance(coloring, Categories):
        handles = [_title(coloring.title)]
        for code, name, places in coloring.groups():
            dots = axes.scatter(
                *drawn.points[places].T,
                color=color_of(code),
                marker="s" if is_square(code) else "o",
                **style,
            )
            handles.append((dots, fill(shortened(name, 2 * _LABEL), _LABEL)))
        return handles
    known = ~np.isnan(coloring.values)
    handles = []
    if not known.all():
        grey = axes.scatter(*drawn.points[~known].T, color=GREYS[MISSING], **style)
        handles = [_title(coloring.title), (grey, "missing")]
    dots = axes.scatter(*drawn.points[known].T, c=coloring.values[known], cmap=SCALE, **style)
    bar = axes.figure.colorbar(dots, cax=side.inset_axes((0.05, 0.0, 0.08, 0.38)))
    bar.outline.set_visible(False)
    bar.set_label(shortened(coloring.title, _LABEL), parse_math=False)
    return handles


def _query(
    drawn: "CorpusMap", axes: Any, query: "QueryPlace", number: str
) -> list[tuple[Any, str]]:
    """Draw a query, its hits and the lines to them; return what the legend says of them."""
    from matplotlib.lines import Line2D

    text = f"{number} · {query.text}" if number else query.text
    # The blank line sets the query apart from what stands above it.
    handles = [_title("\n" + fill(shortened(text, 3 * _LABEL), _LABEL))]
    for bundle in bundles(query):
        ring: dict[str, Any] = {
            "marker": _RINGS[bundle.kind],
            "markerfacecolor": "none",
            "markersize": 7,
            "markeredgewidth": 1.1,
        }
        for end in drawn.points[bundle.places]:
            axes.plot(*np.stack([query.point, end]).T, color=INK, zorder=3, **_LINES[bundle.kind])
        axes.plot(*drawn.points[bundle.places].T, ls="", color=INK, zorder=4, **ring)
        line = Line2D([], [], color=INK, **_LINES[bundle.kind], **ring)
        handles.append((line, link_label(bundle)))
    star = {"marker": "*", "color": "#E69F00", "markeredgecolor": INK, "markersize": 21, "ls": ""}
    handles.append((axes.plot(*query.point[:, None], zorder=5, **star)[0], "the query"))
    if number:
        axes.annotate(
            number,
            query.point,
            ha="center",
            va="center_baseline",
            weight="bold",
            size=8,
            zorder=6,
        )
    return handles


def _brief(drawn: "CorpusMap", parts: list[list[tuple[Any, str]]]) -> list[tuple[Any, str]]:
    """Return a legend with one line for each of the first queries, and each kind of line once."""
    stars = [
        (part[-1][0], shortened(f"{number} · {query.text}", _LABEL))
        for number, (query, part) in enumerate(zip(drawn.queries, parts, strict=True), 1)
    ]
    if len(stars) > LISTED:
        stars[LISTED:] = [_title(f"and {len(stars) - LISTED:,} more")]
    lines = {label.partition(" (")[0]: handle for part in parts for handle, label in part[1:-1]}
    return [_title("\nqueries"), *stars, *((handle, label) for label, handle in lines.items())]


def _frame(drawn: "CorpusMap", axes: Any) -> None:
    """Say what is seen; an inch is as far across as it is up."""
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color("#CCCCCC")
    across, up = axis_titles(drawn)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    # Titles come from names of folders: dollar signs in them are no formulas.
    axes.set_title(f"{subtitle(drawn)}\n", loc="left", size=10, color="#555555", y=1, pad=-2)
    axes.annotate(
        heading(drawn, 70),
        (0, 1),
        xytext=(0, 24),
        xycoords="axes fraction",
        textcoords="offset points",
        size=15,
        weight="bold",
        parse_math=False,
    )


def _legend(side: Any, handles: list[tuple[Any, str]]) -> None:
    """Draw the legend beside the points, headings in bold."""
    # Matplotlib leaves out labels that begin with an underscore, so none is given to it.
    drawn = side.legend(
        [handle for handle, _ in handles],
        [str(place) for place in range(len(handles))],
        loc="upper left",
        borderaxespad=0,
        frameon=False,
        fontsize=9.5,
    )
    for text, (handle, label) in zip(drawn.get_texts(), handles, strict=True):
        text.set_parse_math(False)
        text.set_text(label)
        if handle.get_visible() is False:
            text.set_weight("bold")


def _title(text: str) -> tuple[Any, str]:
    """Return a heading of a part of the legend: a handle that isn't seen."""
    from matplotlib.lines import Line2D

    return Line2D([], [], ls="", visible=False), text
