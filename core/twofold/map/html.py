"""A map as a page: one HTML file with everything in it, drawn by Plotly."""

from collections.abc import Iterator
from html import escape
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from twofold.map.colors import MISSING, Categories
from twofold.map.style import (
    GREYS,
    INK,
    SCALE,
    Bundle,
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

SHOWN = 300  # characters of a passage in its hover box
SVG_MOST = 20_000  # points that a browser redraws in time as shapes; more are left to WebGL
_LINE = 64
_LABEL = 34
_LINES: dict[LinkKind, dict[str, Any]] = {
    "both": {"width": 3, "color": INK},
    "dense": {"width": 1.3, "color": INK},
    "lexical": {"width": 1.3, "color": INK, "dash": "dash"},
}
_RINGS: dict[LinkKind, str] = {
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
    # Plotly's own button for sharing would upload the passages.
    "showSendToCloud": False,
}
# The policy keeps the page from asking any machine for anything, whatever a passage says.
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


def page(drawn: "CorpusMap") -> str:
    """Return a map as an HTML page."""
    import plotly.graph_objects as go

    texts = _hover_texts(drawn)
    figure = go.Figure([*_points(drawn, texts), *_queries(drawn, texts)], _layout(drawn))
    body = figure.to_html(
        full_html=False,
        include_plotlyjs=True,
        include_mathjax=False,
        div_id="map",
        default_height="100%",
        config=_CONFIG,
    )
    # Plotly compiles what it hands to WebGL.
    compiled = " 'unsafe-eval'" if len(drawn.passages) > SVG_MOST else ""
    return _PAGE.format(title=escape(heading(drawn, 120)), figure=body, compiled=compiled)


def _points(drawn: "CorpusMap", texts: list[str]) -> Iterator[Any]:
    """Yield the passages, one trace a category, or one with a colour bar."""
    coloring = drawn.coloring
    if isinstance(coloring, Categories):
        for code, name, places in coloring.groups():
            marker = {"color": color_of(code), "symbol": "square" if is_square(code) else "circle"}
            yield _scatter(drawn, texts, places, shortened(name, _LABEL), coloring.title, marker)
        return
    known = ~np.isnan(coloring.values)
    if not known.all():
        grey = {"color": GREYS[MISSING]}
        yield _scatter(drawn, texts, np.flatnonzero(~known), "missing", coloring.title, grey)
    bar = {
        "title": {"text": escape(shortened(coloring.title, _LABEL))},
        "x": 1.02,
        "xanchor": "left",
        "y": 0,
        "yanchor": "bottom",
        "len": 0.4,
        "thickness": 14,
        "outlinewidth": 0,
    }
    scale = {"color": coloring.values[known], "colorscale": SCALE, "colorbar": bar}
    yield _scatter(drawn, texts, np.flatnonzero(known), "passages", coloring.title, scale)


def _scatter(
    drawn: "CorpusMap",
    texts: list[str],
    places: Any,
    name: str,
    group: str,
    marker: dict[str, Any],
) -> Any:
    """Return one trace of passages."""
    import plotly.graph_objects as go

    kind = go.Scatter if len(drawn.passages) <= SVG_MOST else go.Scattergl
    return kind(
        x=drawn.points[places, 0],
        y=drawn.points[places, 1],
        mode="markers",
        marker={"size": 7, "opacity": 0.65, "line": {"width": 0}, **marker},
        name=escape(name),
        legendgroup="passages",
        legendgrouptitle={"text": _bold(_lines(group, _LABEL, _LABEL))},
        hovertext=[texts[place] for place in places.tolist()],
        hoverinfo="text",
    )


def _queries(drawn: "CorpusMap", texts: list[str]) -> Iterator[Any]:
    """Yield each query's lines to its hits, and last the stars, so that nothing covers them."""
    stars: list[Any] = []
    for number, query in enumerate(drawn.queries, 1):
        label = f"{number} · {query.text}" if len(drawn.queries) > 1 else query.text
        group = {
            "legendgroup": f"query {number}",
            "legendgrouptitle": {"text": _bold(_lines(label, _LABEL, 3 * _LABEL))},
        }
        for bundle in bundles(query):
            yield _lines_to_hits(drawn, query, bundle, texts, group)
        stars.append(_star(query, str(number) if len(drawn.queries) > 1 else "", group))
    yield from stars


def _lines_to_hits(
    drawn: "CorpusMap",
    query: "QueryPlace",
    bundle: Bundle,
    texts: list[str],
    group: dict[str, Any],
) -> Any:
    """Return the lines to some hits of one query: hit, query and a gap for each."""
    import plotly.graph_objects as go

    ends = drawn.points[bundle.places]
    gaps = np.full(len(ends), np.nan)
    starts = np.broadcast_to(query.point, ends.shape)
    x, y = (np.column_stack([ends[:, at], starts[:, at], gaps]).ravel() for at in (0, 1))
    return go.Scatter(
        x=x,
        y=y,
        mode="lines+markers",
        line=_LINES[bundle.kind],
        marker={
            "symbol": _RINGS[bundle.kind],
            "size": [12, 0, 0] * len(ends),
            "color": INK,
            "line": {"width": 1.6, "color": INK},
            "opacity": 1,
        },
        name=link_label(bundle),
        # The lines' ends lie on the star, and a browser's mouse finds either.
        hovertext=[
            text
            for place in bundle.places.tolist()
            for text in (texts[place], _query_text(query), "")
        ],
        hoverinfo="text",
        **group,
    )


def _star(query: "QueryPlace", number: str, group: dict[str, Any]) -> Any:
    """Return a query's star; its number is in it where there are several."""
    import plotly.graph_objects as go

    return go.Scatter(
        x=query.point[:1],
        y=query.point[1:],
        mode="markers+text",
        marker={
            "symbol": "star",
            "size": 28,
            "color": "#E69F00",
            "line": {"width": 1.5, "color": INK},
            "opacity": 1,
        },
        text=[f"<b>{number}</b>"],
        textposition="middle center",
        textfont={"size": 12, "color": INK},
        cliponaxis=False,
        name="the query",
        hovertext=[_query_text(query)],
        hoverinfo="text",
        **group,
    )


def _layout(drawn: "CorpusMap") -> dict[str, Any]:
    """Return what surrounds the points; an inch is as far across as it is up."""
    across, up = axis_titles(drawn)
    plain = {
        "showticklabels": False,
        "zeroline": False,
        "showgrid": False,
        "showline": True,
        "mirror": True,
        "linecolor": "#CCCCCC",
    }
    return {
        "template": "plotly_white",
        "title": {
            "text": f"<b>{escape(heading(drawn, 90))}</b>",
            "subtitle": {"text": escape(subtitle(drawn))},
            "x": 0.02,
            "xanchor": "left",
            "font": {"size": 19, "color": INK},
        },
        "font": {"family": "Helvetica, Arial, sans-serif", "color": INK, "size": 13},
        "xaxis": {"title": {"text": across}, **plain},
        "yaxis": {"title": {"text": up}, "scaleanchor": "x", "scaleratio": 1, **plain},
        "hovermode": "closest",
        "hoverlabel": {"align": "left", "bgcolor": "white", "font": {"size": 13, "color": INK}},
        "dragmode": "pan",
        "showlegend": True,  # of a single category too
        "legend": {
            "groupclick": "toggleitem",
            "itemsizing": "trace",
            "tracegroupgap": 14,
            # It scrolls where it is longer; below it is the colour bar's place.
            "maxheight": 1 if isinstance(drawn.coloring, Categories) else 0.55,
        },
        "margin": {"l": 50, "r": 20, "t": 90, "b": 50},
    }


def _hover_texts(drawn: "CorpusMap") -> list[str]:
    """Return each passage's hover box: id, title, text, and its scores if it is a hit."""
    texts: list[str] = []
    for passage in drawn.passages:
        head = [f"<b>{line}</b>" for line in _lines(passage.title, _LINE, SHOWN)]
        texts.append(
            "<br>".join(
                [
                    f"<i>{escape(shortened(passage.id, _LINE))}</i>",
                    *head,
                    *_lines(passage.text, _LINE, SHOWN),
                ]
            )
        )
    for number, query in enumerate(drawn.queries, 1):
        name = f"query {number}: " if len(drawn.queries) > 1 else ""
        for leg, links in (("dense", query.dense), ("lexical", query.lexical)):
            found = zip(links.places, links.ranks.tolist(), links.scores.tolist(), strict=True)
            for place, rank, score in found:
                texts[place] += f"<br>{name}<b>{leg} rank {rank}, score {score:.3f}</b>"
    return texts


def _query_text(query: "QueryPlace") -> str:
    """Return a query's hover box."""
    return "<br>".join(["<b>query</b>", *_lines(query.text, _LINE, SHOWN)])


def _lines(text: str, width: int, most: int) -> list[str]:
    """Return a text as escaped lines, cut where it is longer than ``most`` characters."""
    return [escape(line) for line in wrap(shortened(text, most), width)]


def _bold(lines: list[str]) -> str:
    """Return escaped lines as one bold label; Plotly ends a tag where a line does."""
    return "<br>".join(f"<b>{line}</b>" for line in lines)
