"""Corpus maps: scatter plots of an index's passages, with queries and lines to their hits."""

from importlib.util import find_spec

from twofold.errors import MissingExtraError
from twofold.map.colors import Categories, Coloring, Scale
from twofold.map.corpus_map import CorpusMap
from twofold.map.model import Links, QueryPlace, format_from_path
from twofold.map.projection import METHODS, Method

# Not imported here: together they take seconds, and a map needs only some of them.
if any(find_spec(name) is None for name in ("matplotlib", "plotly", "sklearn", "umap")):
    raise MissingExtraError(
        "twofold.map needs matplotlib, plotly, scikit-learn and umap-learn: "
        "pip install 'twofold[map]'",
    )

__all__ = [
    "METHODS",
    "Categories",
    "Coloring",
    "CorpusMap",
    "Links",
    "Method",
    "QueryPlace",
    "Scale",
    "format_from_path",
]
