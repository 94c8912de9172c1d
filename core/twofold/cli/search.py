"""``twofold search``: passages for a query, and why they came back."""

import json
from typing import Annotated, Any

import typer

from twofold.cli import tables
from twofold.cli.console import Folder, Json, ModeName, err, out, print_json, running
from twofold.cli.scoring import K1, B, Delta, Scoring, scorer_of
from twofold.errors import QueryError
from twofold.fusion import FUSIONS, PRESETS, Fusion, fusion_named
from twofold.index import Index
from twofold.rerank import reranker_named
from twofold.retriever import Retriever

_FUSION = f"How both legs become one score: {', '.join(FUSIONS)}."
_LIKE = f"Fuse as another library does: {', '.join(PRESETS)}."
FusionName = Annotated[str | None, typer.Option(help=_FUSION, show_default="guarded")]
Weight = Annotated[
    float | None, typer.Option(help="The dense leg's share, 0 to 1.", show_default="the fusion's")
]
Like = Annotated[str | None, typer.Option(help=_LIKE)]
Depth = Annotated[int | None, typer.Option(help="Candidates of each leg.", show_default="100")]


def search(
    folder: Folder,
    query: Annotated[str, typer.Argument(metavar="QUERY")],
    k: Annotated[int, typer.Option("-k", help="Hits wanted.")] = 10,
    mode: Annotated[ModeName | None, typer.Option(help="Default: hybrid if possible.")] = None,
    where: Annotated[str | None, typer.Option(metavar="JSON", help="A filter.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say why each came back.")] = False,
    fusion: FusionName = None,
    weight: Weight = None,
    like: Like = None,
    depth: Depth = None,
    scoring: Scoring = None,
    k1: K1 = None,
    b: B = None,
    delta: Delta = None,
    min_score: Annotated[float | None, typer.Option(help="Least score of the fusion.")] = None,
    min_dense: Annotated[float | None, typer.Option(help="Least score of the dense leg.")] = None,
    min_lexical: Annotated[
        float | None, typer.Option(help="Least score of the lexical leg.")
    ] = None,
    diversity: Annotated[
        float, typer.Option(help="From 0, relevance alone, to 1, novelty alone.")
    ] = 0.0,
    collapse: Annotated[
        float | None, typer.Option(help="The cosine from which passages count as one.")
    ] = None,
    group_by: Annotated[
        str | None, typer.Option(help="A metadata field that few hits may share.")
    ] = None,
    per_group: Annotated[int, typer.Option(help="How many may share it.")] = 1,
    rerank: Annotated[
        str | None,
        typer.Option(help="A cross-encoder's name or folder; 'NAME?candidates=30' has options."),
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Look at all vectors.")] = False,
    effort: Annotated[
        float, typer.Option(help="What an approximate dense leg spends, times this.")
    ] = 1.0,
    as_json: Json = False,
) -> None:
    """Retrieve passages for a query."""
    with running(), Index.open(folder, create=False, read_only=True) as source:
        retriever = Retriever(
            source,
            mode=mode.value if mode is not None else source.modes[0],
            k=k,
            fusion=fusion_of(fusion, weight),
            depth=depth,
            scorer=scorer_of(scoring, k1, b, delta),
            exact=exact,
            effort=effort,
            like=like,
            min_score=min_score,
            min_dense=min_dense,
            min_lexical=min_lexical,
            diversity=diversity,
            collapse=collapse,
            group_by=group_by,
            per_group=per_group,
            reranker=reranker_named(rerank) if rerank is not None else None,
        )
        hits = retriever.retrieve(query, where=_filter(where))
        if as_json:
            print_json(tables.hits_as_dict(hits, explained=explain))
            return
        out.print(tables.hits_table(hits, explained=explain))
        for warning in hits.warnings:
            err.print(f"warning: {warning}", markup=False)


def fusion_of(name: str | None, weight: float | None) -> Fusion | None:
    """Return the fusion of the options, None if none was given."""
    if name is None and weight is None:
        return None
    return fusion_named(name if name is not None else "guarded", weight)


def _filter(text: str | None) -> dict[str, Any] | None:
    """Return the filter in a JSON text; raise QueryError if it isn't JSON."""
    if text is None:
        return None
    try:
        value: dict[str, Any] = json.loads(text)
    except json.JSONDecodeError as error:
        raise QueryError(f"--where is JSON such as '{{\"year\": 2021}}': {error}") from None
    return value
