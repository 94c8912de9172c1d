"""The command ``search``."""

from typing import Annotated

from typer import Argument, Option

from twofold.cli import console, tables
from twofold.index import Index
from twofold.retriever import Retriever

_ABSTAIN = "Answer only where at most this share of queries is answered wrongly."


def search(
    target: console.Target,
    query: Annotated[str, Argument(metavar="QUERY", help="The question, as text.")],
    k: Annotated[int, Option("-k", help="Number of hits.")] = 10,
    mode: Annotated[
        console.ModeName | None, Option(help="Legs to search.", show_default="hybrid if possible")
    ] = None,
    where: console.Where = None,
    explain: Annotated[bool, Option("--explain", help="Explain each hit.")] = False,
    why_not: Annotated[
        str | None, Option(metavar="ID|PATH", help="Why a passage is no hit.")
    ] = None,
    fusion: console.FusionName = None,
    weight: console.Weight = None,
    preset: console.PresetName = None,
    depth: console.Depth = None,
    scoring: console.Scoring = None,
    k1: console.K1 = None,
    b: console.B = None,
    delta: console.Delta = None,
    min_score: Annotated[
        float | None, Option(help="Minimum fused score.", show_default="none")
    ] = None,
    min_dense: Annotated[
        float | None, Option(help="Minimum dense score.", show_default="none")
    ] = None,
    min_lexical: Annotated[
        float | None, Option(help="Minimum lexical score.", show_default="none")
    ] = None,
    abstain: Annotated[
        float | None, Option(metavar="SHARE", help=_ABSTAIN, show_default="off")
    ] = None,
    diversity: Annotated[float, Option(help="0 is relevance alone, 1 novelty alone.")] = 0.0,
    dedup_threshold: Annotated[
        float | None, Option(help="Cosine of duplicates.", show_default="off")
    ] = None,
    group_by: Annotated[
        str | None, Option(help="Metadata field to group hits by.", show_default="off")
    ] = None,
    per_group: Annotated[int, Option(help="Maximum hits per group.")] = 1,
    rerank: console.Rerank = None,
    exact: Annotated[bool, Option("--exact", help="Search all vectors.")] = False,
    effort: Annotated[float, Option(help="Factor of an approximate index's search effort.")] = 1.0,
    as_json: console.Json = False,
) -> None:
    """Retrieve passages for a query."""
    from twofold._compilation import skip_blas

    skip_blas()
    with console.open_target(target, read_only=True) as index:
        options = console.retriever_options(fusion, weight, scoring, k1, b, delta, rerank)
        retriever = Retriever(
            index,
            **options,
            mode=mode.value if mode is not None else index.modes[0],
            k=k,
            depth=depth,
            exact=exact,
            effort=effort,
            preset=preset,
            min_score=min_score,
            min_dense=min_dense,
            min_lexical=min_lexical,
            abstain=abstain,
            diversity=diversity,
            dedup_threshold=dedup_threshold,
            group_by=group_by,
            per_group=per_group,
        )
        condition = console.parse_filter(where)
        with console.spinner("loading the model and searching", quiet=as_json):
            if retriever.mode == "hybrid" and isinstance(index, Index):
                index.warm()
            hits = retriever.retrieve(query, where=condition)
        absence = hits.why_not(why_not) if why_not is not None else None
        if absence is not None and not explain:
            console.print_result(as_json, absence.to_dict(), tables.why_not_table(absence))
            return
        if as_json:
            value = tables.hits_as_dict(hits, explained=explain)
            if absence is not None:
                value["why_not"] = absence.to_dict()
            console.print_result(as_json, value)
            return
        console.print_result(as_json, None, tables.hits_table(hits, explained=explain))
        if absence is not None:
            console.print_result(as_json, None, tables.why_not_table(absence))
        if hits.confidence is not None:
            console.print_result(False, None, f"confidence {hits.confidence:.2f}")
        for warning in hits.warnings:
            console.print_error("warning", warning)
