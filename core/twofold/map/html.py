"""Renders a map as a self-contained HTML page with Plotly."""

from collections.abc import Iterator
from html import escape
from textwrap import wrap
from typing import Any

import numpy as np

from twofold.map import model
from twofold.map.colors import MISSING, Categories
from twofold.map.model import INK, MapData, shorten_line

_MAX_TEXT = 300  # characters of a passage in its hover box
_MAX_SVG_POINTS = 20_000  # browsers are too slow for more; WebGL draws them
_LINE_WIDTH = 64
_LABEL_WIDTH = 34
_LINES: dict[model.LinkKind, dict[str, Any]] = {
    "both": {"width": 3, "color": INK},
    "dense": {"width": 1.3, "color": INK},
    "lexical": {"width": 1.3, "color": INK, "dash": "dash"},
}
_SYMBOLS: dict[model.LinkKind, str] = {
    "both": "diamond-open",
    "dense": "circle-open",
    "lexical": "square-open",
}
_CONFIG: dict[str, Any] = {
    "displaylogo": False,
    "modeBarButtonsToRemove": ["select2d", "lasso2d"],
    "plotlyServerURL": "",
    "responsive": True,
    "scrollZoom": True,
    "showSendToCloud": False,  # Plotly's share button would upload the passages
}
# The policy keeps the page off the network, whatever the passages contain.
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
script-src 'unsafe-inline'{compiled}; style-src 'unsafe-inline'; img-src data: blob:; \
form-action 'none'; base-uri 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>html, body {{ margin: 0; height: 100%; }} body > div {{ height: 100%; }}</style>
</head>
<body>
{figure}
</body>
</html>
"""


def render_html(data: MapData) -> str:
    """Return a map as an HTML page that needs no other file and no network."""
    import plotly.graph_objects as go

    texts = _hover_texts(data)
    figure = go.Figure([*_passage_traces(data, texts), *_query_traces(data, texts)], _layout(data))
    body = figure.to_html(
        full_html=False,
        include_plotlyjs=True,
        include_mathjax=False,
        div_id="map",
        default_height="100%",
        config=_CONFIG,
    )
    # Plotly compiles its WebGL code at run time.
    compiled = " 'unsafe-eval'" if len(data.passages) > _MAX_SVG_POINTS else ""
    return _PAGE.format(title=escape(model.map_title(data, 120)), figure=body, compiled=compiled)


def _passage_traces(data: MapData, texts: list[str]) -> Iterator[Any]:
    """Yield Plotly traces of the passages: one per category, or one with a color bar."""
    import plotly.graph_objects as go

    scatter = go.Scatter if len(data.passages) <= _MAX_SVG_POINTS else go.Scattergl
    coloring = data.coloring

    def trace(positions: Any, name: str, marker: dict[str, Any]) -> Any:
        title = _bold(_wrap(coloring.title, _LABEL_WIDTH, _LABEL_WIDTH))
        return scatter(
            x=data.points[positions, 0],
            y=data.points[positions, 1],
            mode="markers",
            marker={"size": 7, "opacity": 0.65, "line": {"width": 0}, **marker},
            name=escape(name),
            legendgroup="passages",
            legendgrouptitle={"text": title},
            hovertext=[texts[position] for position in positions.tolist()],
            hoverinfo="text",
        )

    if isinstance(coloring, Categories):
        for code, name, positions in coloring.groups():
            color, square = model.category_style(code)
            marker = {"color": color, "symbol": "square" if square else "circle"}
            yield trace(positions, shorten_line(name, _LABEL_WIDTH), marker)
        return
    known = ~np.isnan(coloring.values)
    if not known.all():
        yield trace(np.flatnonzero(~known), "missing", {"color": model.GRAYS[MISSING]})
    bar = {"x": 1.02, "xanchor": "left", "y": 0, "yanchor": "bottom"}
    bar |= {"title": {"text": escape(shorten_line(coloring.title, _LABEL_WIDTH))}}
    bar |= {"len": 0.4, "thickness": 14, "outlinewidth": 0}
    scale = {"color": coloring.values[known], "colorscale": model.SCALE, "colorbar": bar}
    yield trace(np.flatnonzero(known), "passages", scale)


def _query_traces(data: MapData, texts: list[str]) -> Iterator[Any]:
    """Yield traces of the lines from queries to hits; last the queries' stars, to be on top."""
    import plotly.graph_objects as go

    stars: list[Any] = []
    for number, label, query in model.numbered_queries(data):
        hover = "<br>".join(["<b>query</b>", *_wrap(query.text, _LINE_WIDTH, _MAX_TEXT)])
        title = _bold(_wrap(label, _LABEL_WIDTH, 3 * _LABEL_WIDTH))
        legend = {"legendgroup": f"query {number or 1}", "legendgrouptitle": {"text": title}}
        for kind, name, positions in model.group_links(query):
            hits = data.points[positions]
            # A line is a hit, the query and a gap.
            line = np.stack([hits, np.tile(query.point, (len(hits), 1)), hits * np.nan], axis=1)
            ring: dict[str, Any] = {"symbol": _SYMBOLS[kind], "size": [12, 0, 0] * len(hits)}
            ring |= {"color": INK, "line": {"width": 1.6, "color": INK}, "opacity": 1}
            yield go.Scatter(
                x=line[:, :, 0].ravel(),
                y=line[:, :, 1].ravel(),
                mode="lines+markers",
                line=_LINES[kind],
                marker=ring,
                name=name,
                # The lines end under the star, so their ends need the query's text.
                hovertext=[text for at in positions.tolist() for text in (texts[at], hover, "")],
                hoverinfo="text",
                **legend,
            )
        shape = {"symbol": "star", "size": 28, "color": model.STAR, "opacity": 1}
        star = go.Scatter(
            x=query.point[:1],
            y=query.point[1:],
            mode="markers+text",
            marker={**shape, "line": {"width": 1.5, "color": INK}},
            text=[f"<b>{number}</b>"],
            textposition="middle center",
            textfont={"size": 12, "color": INK},
            cliponaxis=False,
            name="the query",
            hovertext=[hover],
            hoverinfo="text",
            **legend,
        )
        stars.append(star)
    yield from stars


def _layout(data: MapData) -> dict[str, Any]:
    """Return Plotly's layout. Both axes have the same scale."""
    x_title, y_title = model.axis_titles(data)
    axis: dict[str, Any] = {"showticklabels": False, "zeroline": False, "showgrid": False}
    axis |= {"showline": True, "mirror": True, "linecolor": model.FRAME}
    title = {"text": f"<b>{escape(model.map_title(data, 90))}</b>"}
    subtitle = {"text": escape(model.map_subtitle(data))}
    font = {"size": 19, "color": INK}
    legend = {"groupclick": "toggleitem", "itemsizing": "trace", "tracegroupgap": 14}
    # A longer legend scrolls, so that it doesn't cover the color bar below.
    height = 1 if isinstance(data.coloring, Categories) else 0.55
    return {
        "template": "plotly_white",
        "title": {**title, "subtitle": subtitle, "x": 0.02, "xanchor": "left", "font": font},
        "font": {"family": "Helvetica, Arial, sans-serif", "color": INK, "size": 13},
        "xaxis": {"title": {"text": x_title}, **axis},
        "yaxis": {"title": {"text": y_title}, "scaleanchor": "x", "scaleratio": 1, **axis},
        "hovermode": "closest",
        "hoverlabel": {"align": "left", "bgcolor": "white", "font": {"size": 13, "color": INK}},
        "dragmode": "pan",
        "showlegend": True,  # also for a single category
        "legend": {**legend, "maxheight": height},
        "margin": {"l": 50, "r": 20, "t": 90, "b": 50},
    }


def _hover_texts(data: MapData) -> list[str]:
    """Return each passage's hover text as HTML: id, title, text, ranks and scores as a hit."""
    texts: list[str] = []
    for passage in data.passages:
        lines = [f"<i>{escape(shorten_line(passage.id, _LINE_WIDTH))}</i>"]
        lines += [f"<b>{line}</b>" for line in _wrap(passage.title, _LINE_WIDTH, _MAX_TEXT)]
        lines += _wrap(passage.text, _LINE_WIDTH, _MAX_TEXT)
        texts.append("<br>".join(lines))
    for number, _, query in model.numbered_queries(data):
        name = f"query {number}: " if number else ""
        for leg, links in (("dense", query.dense), ("lexical", query.lexical)):
            hits = zip(links.positions, links.ranks.tolist(), links.scores.tolist(), strict=True)
            for position, rank, score in hits:
                texts[position] += f"<br>{name}<b>{leg} rank {rank}, score {score:.3f}</b>"
    return texts


def _wrap(text: str, width: int, limit: int) -> list[str]:
    """Return HTML-escaped lines of a text that is shortened to ``limit`` characters."""
    return [escape(line) for line in wrap(shorten_line(text, limit), width)]


def _bold(lines: list[str]) -> str:
    """Return escaped lines as a bold label. In Plotly, a tag ends with its line."""
    return "<br>".join(f"<b>{line}</b>" for line in lines)
