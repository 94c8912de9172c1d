"""The options that choose how both legs become one answer."""

from typing import Annotated

import typer

from twofold.fusion import FUSIONS, PRESETS, Fusion, fusion_from_name
from twofold.lexical import SCORERS, scorer_from_name
from twofold.protocols import Scorer

_FUSION = f"How both legs become one score: {', '.join(FUSIONS)}."
_PRESET = f"Fuse as another library does: {', '.join(PRESETS)}."
FusionName = Annotated[str | None, typer.Option(help=_FUSION, show_default="guarded")]
Weight = Annotated[
    float | None, typer.Option(help="The dense leg's share, 0 to 1.", show_default="the fusion's")
]
PresetName = Annotated[str | None, typer.Option(help=_PRESET)]
Depth = Annotated[int | None, typer.Option(help="Candidates of each leg.", show_default="100")]
Rerank = Annotated[
    str | None,
    typer.Option(help="A cross-encoder's name or folder; 'NAME?candidates=30' has options."),
]


def fusion_from_options(name: str | None, weight: float | None) -> Fusion | None:
    """Return the fusion of the options, None if none was named."""
    return fusion_from_name(name, weight) if name is not None else None


def dense_weight_from_options(name: str | None, weight: float | None) -> float | None:
    """Return the dense leg's share where no fusion was named, of which it is a part otherwise."""
    return weight if name is None else None


_SCORING = f"The lexical leg's scoring function: {', '.join(SCORERS)}."
Scoring = Annotated[str | None, typer.Option(help=_SCORING, show_default="lucene")]
K1 = Annotated[float | None, typer.Option("--k1", help="BM25's k1: what repeats of a word add.")]
B = Annotated[float | None, typer.Option("--b", help="BM25's b: how length counts, 0 to 1.")]
Delta = Annotated[float | None, typer.Option(help="The delta of bm25l, bm25+ and okapi-l.")]


def scorer_from_options(
    name: str | None, k1: float | None, b: float | None, delta: float | None
) -> Scorer | None:
    """Return the scoring function of the options, None if none was given."""
    if (name, k1, b, delta) == (None, None, None, None):
        return None
    return scorer_from_name(name if name is not None else "lucene", k1=k1, b=b, delta=delta)
