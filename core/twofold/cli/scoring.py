"""The options that choose the lexical leg's scoring function."""

from typing import Annotated

import typer

from twofold.lexical import SCORERS, scorer_named
from twofold.protocols import Scorer

_SCORING = f"The lexical leg's scoring function: {', '.join(SCORERS)}."
Scoring = Annotated[str | None, typer.Option(help=_SCORING, show_default="lucene")]
K1 = Annotated[float | None, typer.Option("--k1", help="BM25's k1: what repeats of a word add.")]
B = Annotated[float | None, typer.Option("--b", help="BM25's b: how length counts, 0 to 1.")]
Delta = Annotated[float | None, typer.Option(help="The delta of bm25l, bm25+ and okapi-l.")]


def scorer_of(
    name: str | None, k1: float | None, b: float | None, delta: float | None
) -> Scorer | None:
    """Return the scoring function of the options, None if none was given."""
    if (name, k1, b, delta) == (None, None, None, None):
        return None
    return scorer_named(name if name is not None else "lucene", k1=k1, b=b, delta=delta)
