"""The options that choose how both legs become one answer."""

from typing import Annotated

import typer

from twofold.fusion import FUSIONS, PRESETS, Fusion, fusion_named

_FUSION = f"How both legs become one score: {', '.join(FUSIONS)}."
_LIKE = f"Fuse as another library does: {', '.join(PRESETS)}."
FusionName = Annotated[str | None, typer.Option(help=_FUSION, show_default="guarded")]
Weight = Annotated[
    float | None, typer.Option(help="The dense leg's share, 0 to 1.", show_default="the fusion's")
]
Like = Annotated[str | None, typer.Option(help=_LIKE)]
Depth = Annotated[int | None, typer.Option(help="Candidates of each leg.", show_default="100")]
Rerank = Annotated[
    str | None,
    typer.Option(help="A cross-encoder's name or folder; 'NAME?candidates=30' has options."),
]


def fusion_of(name: str | None, weight: float | None) -> Fusion | None:
    """Return the fusion of the options, None if none was named."""
    return fusion_named(name, weight) if name is not None else None


def share_of(name: str | None, weight: float | None) -> float | None:
    """Return the dense leg's share where no fusion was named, of which it is a part otherwise."""
    return weight if name is None else None
