"""The data of a corpus map, as the renderers read it."""

from dataclasses import dataclass

from twofold.map.colors import Coloring
from twofold.map.projection import Method, Points
from twofold.types import Passage, Rows, Scores


@dataclass(frozen=True, slots=True)
class Links:
    """The hits of one query in one leg, best first.

    ``positions`` (h,) are in the map's passages, ``ranks`` start at 1, and ``unplaced`` counts the
    hits without a vector, which have no point.
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

    The passages shown lie at ``points`` (n, 2). ``shares`` are the axes' shares of the variance,
    None under UMAP and if all vectors are equal. Of the ``total`` passages in the index,
    ``unplaced`` have no vector.
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
