"""The data of a corpus map, as the renderers read it."""

from dataclasses import dataclass

from twofold.map.colors import Coloring
from twofold.map.projection import Method, Points
from twofold.types import Passage, Rows, Scores


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
    """A query at ``point`` (2,), with its dense and lexical hits."""

    text: str
    point: Points
    dense: Links
    lexical: Links


@dataclass(frozen=True, slots=True)
class MapData:
    """Passages and queries in two dimensions.

    Attributes:
        title: The title of the map.
        method: The projection.
        shares: The axes' shares of the variance; None under UMAP, and if all vectors are equal.
        total: The number of passages in the index.
        unplaced: How many of them have no vector.
        passages: The passages shown.
        points: Their points (n, 2).
        coloring: Their colors, and the legend.
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
