"""The options of ``search`` and ``eval`` that choose fusion and scoring."""

from typing import Annotated, Any

from typer import Option

from twofold.fusion import FUSIONS, PRESETS, fusion_from_name
from twofold.lexical import SCORERS, scorer_from_name
from twofold.rerank import reranker_from_name

_FUSION = f"Fusion of both legs: {', '.join(FUSIONS)}."
_PRESET = f"Fuse as another library does: {', '.join(PRESETS)}."
_SCORING = f"Scoring function of the lexical leg: {', '.join(SCORERS)}."
_RERANK = "Name or folder of a cross-encoder; 'NAME?candidates=30' sets options."
FusionName = Annotated[str | None, Option(help=_FUSION, show_default="guarded")]
Weight = Annotated[
    float | None, Option(help="Weight of the dense leg, 0 to 1.", show_default="the fusion's")
]
PresetName = Annotated[str | None, Option(help=_PRESET)]
Depth = Annotated[int | None, Option(help="Candidates per leg.", show_default="100")]
Rerank = Annotated[str | None, Option(help=_RERANK)]
Scoring = Annotated[str | None, Option(help=_SCORING, show_default="lucene")]
K1 = Annotated[float | None, Option("--k1", help="BM25's k1, the saturation of term frequency.")]
B = Annotated[float | None, Option("--b", help="BM25's b, the length normalization, 0 to 1.")]
Delta = Annotated[float | None, Option(help="The delta of bm25l, bm25+ and okapi-l.")]


def build_options(
    fusion: str | None,
    weight: float | None,
    scoring: str | None,
    k1: float | None,
    b: float | None,
    delta: float | None,
    rerank: str | None,
) -> dict[str, Any]:
    """Return the arguments of a ``Retriever`` for these command-line options.

    Args:
        fusion: Name of a fusion rule, None for the active profile's.
        weight: Share of the dense leg, None for the fusion's own.
        scoring: Name of a scoring function, None for the active profile's.
        k1: BM25's k1, None for the scoring function's own.
        b: BM25's b, None for the scoring function's own.
        delta: Delta of the scoring functions that have one.
        rerank: Name or folder of a cross-encoder.

    Raises:
        InputError: A name is unknown, or a value is out of range.
    """
    scorer = None
    if (scoring, k1, b, delta) != (None, None, None, None):
        name = scoring if scoring is not None else "lucene"
        scorer = scorer_from_name(name, k1=k1, b=b, delta=delta)
    return {
        "fusion": fusion_from_name(fusion, weight) if fusion is not None else None,
        "dense_weight": weight if fusion is None else None,
        "scorer": scorer,
        "reranker": reranker_from_name(rerank) if rerank is not None else None,
    }
