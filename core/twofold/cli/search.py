"""``twofold search``: passages for a query, and why they came back."""

import json
from typing import Annotated, Any

import typer

from twofold.cli import tables
from twofold.cli.console import Folder, Json, ModeName, err, out, print_json, running
from twofold.cli.search_options import (
    K1,
    B,
    Delta,
    Depth,
    FusionName,
    PresetName,
    Rerank,
    Scoring,
    Weight,
    dense_weight_from_options,
    fusion_from_options,
    scorer_from_options,
)
from twofold.errors import QueryError
from twofold.index import Index
from twofold.rerank import reranker_from_name
from twofold.retriever import Retriever


def search(
    folder: Folder,
    query: Annotated[str, typer.Argument(metavar="QUERY")],
    k: Annotated[int, typer.Option("-k", help="Hits wanted.")] = 10,
    mode: Annotated[ModeName | None, typer.Option(help="Default: hybrid if possible.")] = None,
    where: Annotated[str | None, typer.Option(metavar="JSON", help="A filter.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say why each came back.")] = False,
    why_not: Annotated[
        str | None, typer.Option("--why-not", metavar="ID", help="Say why this passage did not.")
    ] = None,
    fusion: FusionName = None,
    weight: Weight = None,
    preset: PresetName = None,
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
    dedup_threshold: Annotated[
        float | None, typer.Option(help="The cosine from which passages count as one.")
    ] = None,
    group_by: Annotated[
        str | None, typer.Option(help="A metadata field that few hits may share.")
    ] = None,
    per_group: Annotated[int, typer.Option(help="How many may share it.")] = 1,
    rerank: Rerank = None,
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
            fusion=fusion_from_options(fusion, weight),
            dense_weight=dense_weight_from_options(fusion, weight),
            depth=depth,
            scorer=scorer_from_options(scoring, k1, b, delta),
            exact=exact,
            effort=effort,
            preset=preset,
            min_score=min_score,
            min_dense=min_dense,
            min_lexical=min_lexical,
            diversity=diversity,
            dedup_threshold=dedup_threshold,
            group_by=group_by,
            per_group=per_group,
            reranker=reranker_from_name(rerank) if rerank is not None else None,
        )
        hits = retriever.retrieve(query, where=_filter(where))
        why = hits.why_not(why_not) if why_not is not None else None
        if why is not None and not explain:
            if as_json:
                print_json(why.to_dict())
            else:
                out.print(tables.why_not(why))
            return
        if as_json:
            found = tables.hits_as_dict(hits, explained=explain)
            print_json({**found, "why_not": why.to_dict()} if why is not None else found)
            return
        out.print(tables.hits_table(hits, explained=explain))
        if why is not None:
            out.print(tables.why_not(why))
        for warning in hits.warnings:
            err.print(f"warning: {warning}", markup=False)


def _filter(text: str | None) -> dict[str, Any] | None:
    """Return the filter in a JSON text; raise QueryError if it isn't JSON."""
    if text is None:
        return None
    try:
        value: dict[str, Any] = json.loads(text)
    except json.JSONDecodeError as error:
        raise QueryError(f"--where is JSON such as '{{\"year\": 2021}}': {error}") from None
    return value
