"""The data of a corpus map, and the colors and labels that both renderers use."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import shorten
from typing import Literal

import numpy as np

from twofold.errors import InputError
from twofold.map.colors import MISSING, OTHER, Coloring
from twofold.map.projection import Method, Points
from twofold.types import Passage, Rows, Scores
from twofold.validation import as_path

FileFormat = Literal["html", "png"]
LinkKind = Literal["both", "dense", "lexical"]

# Paul Tol's "muted" scheme (SRON/EPS/TN/09-002, 2021), distinct under color blindness.
COLORS = (
    *("#332288", "#88CCEE", "#CC6677", "#DDCC77", "#117733"),
    *("#AA4499", "#44AA99", "#882255", "#999933"),
)
GRAYS = {OTHER: "#999999", MISSING: "#D0D0D0"}
SCALE = "cividis"  # the same lightness under color blindness (Nunez et al., 2018)
INK = "#1A1A1A"
STAR = "#E69F00"
FRAME = "#CCCCCC"


@dataclass(frozen=True, slots=True)
class Links:
    """The hits of one query in one leg, best first.

    Attributes:
        positions: Positions (h,) of the hits among the map's passages.
        ranks: Their ranks (h,) in the leg, from 1.
        scores: Their scores (h,).
        unplaced: How many hits have no vector, and so no point.
    """

    positions: Rows
    ranks: Rows
    scores: Scores
    unplaced: int


@dataclass(frozen=True, slots=True)
class QueryPlace:
    """A query drawn at ``point`` (2,), with its dense and lexical hits."""

    text: str
    point: Points
    dense: Links
    lexical: Links


@dataclass(frozen=True, slots=True)
class MapData:
    """Passages and queries in two dimensions.

    Attributes:
        title: The title of the map.
        method: The projection, ``"pca"`` or ``"umap"``.
        shares: The axes' shares of the variance; None under UMAP, and if all vectors are equal.
        total: The number of passages in the index.
        unplaced: The number of passages in the index without a vector.
        passages: The n passages shown.
        points: The points of ``passages`` (n, 2).
        coloring: The colors of ``passages``, and their legend.
        queries: The queries shown.
    """

    title: str
    method: Method
    shares: tuple[float, float] | None
    total: int
    unplaced: int
    passages: tuple[Passage, ...]
    points: Points
    coloring: Coloring
    queries: tuple[QueryPlace, ...]


def format_from_path(path: str | os.PathLike[str]) -> FileFormat:
    """Return the file format of a path's suffix; raise InputError unless it is .html or .png."""
    suffix = as_path("path", path).suffix.lower()
    if suffix in (".html", ".htm"):
        return "html"
    if suffix == ".png":
        return "png"
    raise InputError(f"a map must be written as .html or .png, got {os.fspath(path)!r}")


def category_style(code: int) -> tuple[str, bool]:
    """Return a category's color, and whether its points are squares, as all colors are in use."""
    return (GRAYS[code], False) if code < 0 else (COLORS[code % len(COLORS)], code >= len(COLORS))


def group_links(query: QueryPlace) -> Iterator[tuple[LinkKind, str, Rows]]:
    """Yield a query's hits as groups: found by both legs, by the dense only, by the lexical only.

    A group is its kind, its label in the legend, and positions (h,) in the map's passages.
    """
    dense, lexical = query.dense.positions, query.lexical.positions
    shared = np.isin(dense, lexical)
    groups: tuple[tuple[LinkKind, str, Rows], ...] = (
        ("both", "found by both", dense[shared]),
        ("dense", "dense only", dense[~shared]),
        ("lexical", "lexical only", lexical[~np.isin(lexical, dense)]),
    )
    for kind, name, positions in groups:
        if len(positions):
            yield kind, f"{name} ({len(positions)})", positions


def numbered_queries(data: MapData) -> Iterator[tuple[str, str, QueryPlace]]:
    """Yield number, label and place of each query; the number is "" if there is one query."""
    several = len(data.queries) > 1
    for number, query in enumerate(data.queries, 1):
        number_text, prefix = (str(number), f"{number} · ") if several else ("", "")
        yield number_text, prefix + query.text, query


def map_title(data: MapData, width: int) -> str:
    """Return a map's title in one line of at most ``width`` characters."""
    return shorten_line(f"The passages of {data.title} in two dimensions", width)


def map_subtitle(data: MapData) -> str:
    """Return a line with the passages shown, the projection, and the number without a vector."""
    shown, total = len(data.passages), data.total
    count = "passage" if total == 1 else "passages"
    parts = [f"{shown:,} of {total:,} {count} shown" if shown < total else f"all {total:,} {count}"]
    if data.method == "umap":
        parts.append("UMAP: neighbours stay near, other distances mean little")
    elif data.shares is None:
        parts.append("PCA: their vectors are all equal")
    else:
        parts.append(f"PCA: two axes with {sum(data.shares):.1%} of the variance")
    if data.unplaced:
        parts.append(f"{data.unplaced:,} without a vector")
    unplaced = sum(query.dense.unplaced + query.lexical.unplaced for query in data.queries)
    if unplaced:
        parts.append(f"{unplaced:,} hits have none")
    return " · ".join(parts)


def axis_titles(data: MapData) -> tuple[str, str]:
    """Return the titles of the two axes, "" if the axes have no meaning."""
    if data.method == "umap" or data.shares is None:
        return "", ""
    first, second = data.shares
    return f"first principal component ({first:.1%})", f"second principal component ({second:.1%})"


def shorten_line(text: str, width: int) -> str:
    """Return a text on one line of at most ``width`` characters."""
    line = " ".join(text.split())
    # textwrap.shorten drops a first word that is too long.
    return shorten(line, width, placeholder=" …") if " " in line[:width] else line[:width]
