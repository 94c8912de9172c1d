"""Renders a map as a PNG picture with Matplotlib."""

import io
from textwrap import fill
from typing import Any

import numpy as np

from twofold.evaluation.plots import create_figure, save_figure
from twofold.map import model
from twofold.map.colors import MISSING, Categories
from twofold.map.model import INK, MapData, QueryPlace, shorten_line

_SIZE = (12.0, 7.2)  # inches
_MAX_DETAILED = 3  # queries with their hits in the legend; with more, queries have one line each
_MAX_LISTED = 9  # queries in the legend, above the color bar
_LABEL_WIDTH = 30
_POINT_AREA = 20  # square points
_LINES: dict[model.LinkKind, dict[str, Any]] = {
    "both": {"linewidth": 2.0, "linestyle": "-"},
    "dense": {"linewidth": 0.9, "linestyle": "-"},
    "lexical": {"linewidth": 0.9, "linestyle": (0, (5, 3))},
}
_MARKERS: dict[model.LinkKind, str] = {"both": "D", "dense": "o", "lexical": "s"}
_Handle = tuple[Any, str]
"""A legend entry: what is drawn, and its label."""


def render_png(data: MapData) -> bytes:
    """Return a map as a PNG of 1,800 by 1,080 pixels."""
    figure = create_figure(*_SIZE)
    grid = figure.add_gridspec(1, 2, width_ratios=(4, 1))
    axes, side = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
    side.set_axis_off()
    handles = _draw_passages(data, axes, side)
    queries = [_draw_query(data, axes, *query) for query in model.numbered_queries(data)]
    if len(queries) > _MAX_DETAILED:
        handles += _summarize_queries(data, queries)
    else:
        handles += [handle for query in queries for handle in query]
    _draw_frame(data, axes)
    if handles:
        _draw_legend(side, handles)
    out = io.BytesIO()
    save_figure(figure, out)
    return out.getvalue()


def _draw_passages(data: MapData, axes: Any, side: Any) -> list[_Handle]:
    """Draw passages on ``axes``, and a color bar on ``side``; return their legend entries."""
    coloring = data.coloring
    dots = {"s": _POINT_AREA, "alpha": 0.65, "linewidths": 0}
    handles = [_legend_heading(coloring.title)]
    if isinstance(coloring, Categories):
        for code, name, positions in coloring.groups():
            color, square = model.category_style(code)
            marker = {"color": color, "marker": "s" if square else "o"}
            drawn = axes.scatter(*data.points[positions].T, **marker, **dots)
            handles.append((drawn, fill(shorten_line(name, 2 * _LABEL_WIDTH), _LABEL_WIDTH)))
        return handles
    known = ~np.isnan(coloring.values)
    if known.all():
        handles = []
    else:
        gray = axes.scatter(*data.points[~known].T, color=model.GRAYS[MISSING], **dots)
        handles.append((gray, "missing"))
    drawn = axes.scatter(*data.points[known].T, c=coloring.values[known], cmap=model.SCALE, **dots)
    bar = axes.figure.colorbar(drawn, cax=side.inset_axes((0.05, 0.0, 0.08, 0.38)))
    bar.outline.set_visible(False)
    bar.set_label(shorten_line(coloring.title, _LABEL_WIDTH), parse_math=False)
    return handles


def _draw_query(
    data: MapData, axes: Any, number: str, label: str, query: QueryPlace
) -> list[_Handle]:
    """Draw a query and the lines to its hits; return their legend entries."""
    from matplotlib.lines import Line2D

    # The blank line separates the query from the entries above.
    heading = "\n" + fill(shorten_line(label, 3 * _LABEL_WIDTH), _LABEL_WIDTH)
    handles = [_legend_heading(heading)]
    for kind, name, positions in model.group_links(query):
        line = {"color": INK, **_LINES[kind]}
        ring: dict[str, Any] = {"marker": _MARKERS[kind], "markerfacecolor": "none"}
        ring |= {"markersize": 7, "markeredgewidth": 1.1}
        hits = data.points[positions]
        for hit in hits:
            axes.plot(*np.stack([query.point, hit]).T, zorder=3, **line)
        axes.plot(*hits.T, ls="", color=INK, zorder=4, **ring)
        handles.append((Line2D([], [], **line, **ring), name))
    star = {"marker": "*", "color": model.STAR, "markeredgecolor": INK, "markersize": 21, "ls": ""}
    handles.append((axes.plot(*query.point[:, None], zorder=5, **star)[0], "the query"))
    if number:
        centered = {"ha": "center", "va": "center_baseline"}
        axes.annotate(number, query.point, weight="bold", size=8, zorder=6, **centered)
    return handles


def _summarize_queries(data: MapData, queries: list[list[_Handle]]) -> list[_Handle]:
    """Return a legend with a line for each of the first queries, and one for each kind of hit."""
    stars = [
        (handles[-1][0], shorten_line(label, _LABEL_WIDTH))
        for handles, (_, label, _) in zip(queries, model.numbered_queries(data), strict=True)
    ]
    if len(stars) > _MAX_LISTED:
        stars[_MAX_LISTED:] = [_legend_heading(f"and {len(stars) - _MAX_LISTED:,} more")]
    links = {
        label.partition(" (")[0]: handle for handles in queries for handle, label in handles[1:-1]
    }
    entries = [(handle, label) for label, handle in links.items()]
    return [_legend_heading("\nqueries"), *stars, *entries]


def _draw_frame(data: MapData, axes: Any) -> None:
    """Draw the titles and the frame. Both axes have the same scale."""
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(model.FRAME)
    x_title, y_title = model.axis_titles(data)
    axes.set_xlabel(x_title)
    axes.set_ylabel(y_title)
    subtitle = f"{model.map_subtitle(data)}\n"
    axes.set_title(subtitle, loc="left", size=10, color="#555555", y=1, pad=-2)
    place = {"xytext": (0, 24), "xycoords": "axes fraction", "textcoords": "offset points"}
    # A folder's name may have dollar signs, which aren't formulas.
    text = {"size": 15, "weight": "bold", "parse_math": False}
    axes.annotate(model.map_title(data, 70), (0, 1), **place, **text)


def _draw_legend(side: Any, handles: list[_Handle]) -> None:
    """Draw the legend beside the points, headings in bold."""
    # Matplotlib drops labels that start with an underscore, so they are set afterwards.
    placeholders = [str(position) for position in range(len(handles))]
    where = {"loc": "upper left", "borderaxespad": 0, "frameon": False, "fontsize": 9.5}
    legend = side.legend([handle for handle, _ in handles], placeholders, **where)
    for text, (handle, label) in zip(legend.get_texts(), handles, strict=True):
        text.set_parse_math(False)
        text.set_text(label)
        if handle.get_visible() is False:
            text.set_weight("bold")


def _legend_heading(text: str) -> _Handle:
    """Return a legend entry of a text alone, with an invisible handle."""
    from matplotlib.lines import Line2D

    return Line2D([], [], ls="", visible=False), text
