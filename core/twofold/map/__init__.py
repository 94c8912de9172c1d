"""Corpus maps: scatter plots of an index's passages, with queries and lines to their hits."""

from twofold.extras import check_extra
from twofold.map.colors import Categories, Coloring, Scale
from twofold.map.corpus_map import CorpusMap
from twofold.map.model import Links, QueryPlace, format_from_path
from twofold.map.projection import METHODS, Method

# Not imported here: together they take seconds, and a map needs only some of them.
check_extra("map", "twofold.map", "matplotlib", "plotly", "sklearn", "umap")

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
