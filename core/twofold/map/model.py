"""The data of a corpus map."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twofold.map.projection import Points
from twofold.types import Scores


@dataclass(frozen=True, slots=True)
class Links:
    """One leg's hits, best first: ``places`` (h,) in the map's passages, ranks from 1, scores.

    ``unplaced`` hits have no vector, and so no place on the map.
    """

    places: NDArray[np.int64]
    ranks: NDArray[np.int64]
    scores: Scores
    unplaced: int


@dataclass(frozen=True, slots=True)
class QueryPlace:
    """A query on the map (2,), with its dense and its lexical hits."""

    text: str
    point: Points
    dense: Links
    lexical: Links
