"""The picture: a corpus in two dimensions, and queries among their hits."""

from importlib.util import find_spec

from twofold.errors import MissingExtraError
from twofold.map.colors import Categories, Coloring, Scale
from twofold.map.corpus_map import CorpusMap
from twofold.map.model import Links, QueryPlace
from twofold.map.projection import METHODS, Method
from twofold.map.style import picture_kind

# Found, not imported: together they take seconds, and a map is drawn by one of them.
if any(find_spec(name) is None for name in ("matplotlib", "plotly", "sklearn", "umap")):
    raise MissingExtraError(
        "twofold.map needs matplotlib, plotly, scikit-learn and umap-learn. Install them with: "
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
    "picture_kind",
]
