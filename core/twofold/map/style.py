"""What pages and pictures have in common: kinds, colours, and the words around the points."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Literal

import numpy as np

from twofold.errors import InputError
from twofold.map.colors import MISSING, OTHER
from twofold.types import Rows

if TYPE_CHECKING:
    from twofold.map.corpus_map import CorpusMap
    from twofold.map.model import QueryPlace

Kind = Literal["html", "png"]
LinkKind = Literal["both", "dense", "lexical"]

# Paul Tol's "muted" scheme (SRON/EPS/TN/09-002, 2021): apart for every kind of colour vision.
COLORS = (
    "#332288",
    "#88CCEE",
    "#CC6677",
    "#DDCC77",
    "#117733",
    "#AA4499",
    "#44AA99",
    "#882255",
    "#999933",
)
GREYS = {OTHER: "#999999", MISSING: "#D0D0D0"}
SCALE = "cividis"  # one lightness ramp for every kind of colour vision (Nunez et al., 2018)
INK = "#1A1A1A"


def picture_kind(path: str | os.PathLike[str]) -> Kind:
    """Return what a path's suffix asks for; raise InputError for anything but .html and .png."""
    suffix = Path(path).suffix.lower()
    if suffix in (".html", ".htm"):
        return "html"
    if suffix == ".png":
        return "png"
    raise InputError(
        f"a map is written as .html or .png, and {os.fspath(path)!r} is neither: change the suffix"
    )


def color_of(code: int) -> str:
    """Return a category's colour."""
    return GREYS[code] if code < 0 else COLORS[code % len(COLORS)]


def is_square(code: int) -> bool:
    """Return whether a category is drawn in squares: those for which no colour is left."""
    return code >= len(COLORS)


@dataclass(frozen=True, slots=True)
class Bundle:
    """The hits of one query that the same legs found: ``places`` (h,) in the map's passages."""

    kind: LinkKind
    places: Rows


def bundles(query: "QueryPlace") -> Iterator[Bundle]:
    """Yield a query's hits by the legs that found them; those of both first."""
    dense, lexical = query.dense.places, query.lexical.places
    shared = np.isin(dense, lexical)
    parts: tuple[tuple[LinkKind, Rows], ...] = (
        ("both", dense[shared]),
        ("dense", dense[~shared]),
        ("lexical", lexical[~np.isin(lexical, dense)]),
    )
    for kind, places in parts:
        if len(places):
            yield Bundle(kind, places)


def link_label(bundle: Bundle) -> str:
    """Return what a legend calls a bundle."""
    name = "found by both" if bundle.kind == "both" else f"{bundle.kind} only"
    return f"{name} ({len(bundle.places)})"


def heading(drawn: "CorpusMap", width: int) -> str:
    """Return a map's title, on one line."""
    return shortened(f"The passages of {drawn.title} in two dimensions", width)


def subtitle(drawn: "CorpusMap") -> str:
    """Return what a reader has to know: how it was made, of how much, and what was lost."""
    shown, total = len(drawn.passages), drawn.total
    count = "passage" if total == 1 else "passages"
    parts = [f"{shown:,} of {total:,} {count} shown" if shown < total else f"all {total:,} {count}"]
    if drawn.method == "umap":
        parts.append("UMAP: neighbours stay near, other distances mean little")
    elif drawn.shares is None:
        parts.append("PCA: their vectors are all equal")
    else:
        parts.append(f"PCA: two axes with {sum(drawn.shares):.1%} of the variance")
    if drawn.unplaced:
        parts.append(f"{drawn.unplaced:,} without a vector")
    unplaced = sum(query.dense.unplaced + query.lexical.unplaced for query in drawn.queries)
    if unplaced:
        parts.append(f"{unplaced:,} hits have none")
    return " · ".join(parts)


def axis_titles(drawn: "CorpusMap") -> tuple[str, str]:
    """Return what the axes are, as far as they are anything."""
    if drawn.method == "umap" or drawn.shares is None:
        return "", ""
    first, second = drawn.shares
    return (
        f"first principal component ({first:.1%})",
        f"second principal component ({second:.1%})",
    )


def shortened(text: str, width: int) -> str:
    """Return a text on one line of at most ``width`` characters."""
    line = " ".join(text.split())
    # A text without blanks has nowhere to be cut but inside.
    return shorten(line, width, placeholder=" …") if " " in line[:width] else line[:width]
