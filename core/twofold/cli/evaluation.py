"""The verb ``eval``: how good retrieval is on judged queries, and what is better than what."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from twofold.cli import evaluation_tables as tables
from twofold.cli.console import Folder, Json, ModeName, check_target, err, out, print_json, running
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
from twofold.corpus import read_qrels, read_queries, read_run, write_run
from twofold.errors import InputError
from twofold.evaluation import (
    MEASURES,
    Comparison,
    Evaluation,
    compare,
    evaluate,
    evaluate_run,
    plot_differences,
    report,
)
from twofold.evaluation.plots import check_picture
from twofold.evaluation.report import warnings_of
from twofold.index import Index
from twofold.rerank import reranker_from_name
from twofold.retriever import Retriever
from twofold.types import Mode


def evaluation(
    folder: Folder,
    queries: Annotated[Path, typer.Option(help="queries.jsonl[.gz], or id and text by tab.")],
    qrels: Annotated[Path, typer.Option(help="Judgments, BEIR's or TREC's.")],
    mode: Annotated[
        list[ModeName] | None,
        typer.Option(help="May be repeated; the first is compared with the others. Default: all."),
    ] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(help="In ir_measures' grammar; may be repeated. The first one is compared."),
    ] = None,
    k: Annotated[
        int | None,
        typer.Option(
            "-k",
            help="Hits wanted and measured. Left out, 10 are wanted, and up to 100 measured "
            "as far as that changes nothing else.",
            show_default=False,
        ),
    ] = None,
    fusion: FusionName = None,
    weight: Weight = None,
    preset: PresetName = None,
    depth: Depth = None,
    rerank: Rerank = None,
    scoring: Scoring = None,
    k1: K1 = None,
    b: B = None,
    delta: Delta = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(metavar="RUN", help="A TREC run of another system; may be repeated."),
    ] = None,
    per_query: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write each query's values, tab-separated; - prints."),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write what was found as a TREC run; of several, one file a mode."
        ),
    ] = None,
    report_to: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write a page of Markdown.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw queries won and lost as .png.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure retrieval on judged queries; compare hybrid with each leg, or with other runs."""
    with running(), Index.open(folder, create=False, read_only=True) as source:
        modes = _modes(mode, source)
        others = list(dict.fromkeys(against)) if against is not None else []
        for path in (per_query if str(per_query) != "-" else None, run, report_to, plot):
            check_target(path)
        if plot is not None:
            check_picture(plot)
            if len(modes) + len(others) < 2:
                raise InputError("--plot draws differences: give a second --mode, or --against")
        texts, judgments = read_queries(queries), read_qrels(qrels)
        runs = {_run_name(each, modes): read_run(each) for each in others}
        measures = measure if measure else list(MEASURES)
        scorer = scorer_from_options(scoring, k1, b, delta)
        retriever = Retriever(
            source,
            mode=modes[0],
            k=k if k is not None else 10,
            scorer=scorer,
            fusion=fusion_from_options(fusion, weight),
            dense_weight=dense_weight_from_options(fusion, weight),
            preset=preset,
            depth=depth,
            reranker=reranker_from_name(rerank) if rerank is not None else None,
        )
        own = [
            evaluate(
                replace(retriever, mode=each),
                texts,
                judgments,
                measures,
                k=k if k is not None else 100,
            )
            for each in modes
        ]
        foreign = [
            evaluate_run(each, judgments, measures, name=name, queries=own[0].texts)
            for name, each in runs.items()
        ]
        results = [*own, *foreign]
        comparison = compare(results, measures[0]) if len(results) > 1 else None
        if run is not None:
            for path in _write_runs(run, own):
                err.print(f"written: {path}", markup=False, soft_wrap=True)
        if per_query is not None and str(per_query) != "-":
            per_query.write_text(tables.per_query(results), encoding="utf-8")
        if report_to is not None:
            page = report(
                comparison if comparison is not None else results,
                title=folder.resolve().name,
                date=date.today().isoformat(),
                passages=len(source),
            )
            report_to.write_text(page, encoding="utf-8")
        if plot is not None and comparison is not None:
            plot_differences(comparison, plot)
        _print(own, foreign, comparison, values=str(per_query) == "-", as_json=as_json)


def _modes(given: list[ModeName] | None, source: Index) -> tuple[Mode, ...]:
    """Return the modes of the options, each once; all that the index serves if none is given."""
    return tuple(dict.fromkeys(each.value for each in given)) if given else source.modes


def _run_name(path: Path, modes: Sequence[str]) -> str:
    """Return what tables call a run: its path, apart from the modes that are measured."""
    return f"the run {path}" if str(path) in modes else str(path)


def _write_runs(path: Path, results: Sequence[Evaluation]) -> list[Path]:
    """Write one run to the path, of several each beside it, with its mode in the name."""
    written: list[Path] = []
    for each in results:
        first, dot, rest = path.name.partition(".")
        own = path.with_name(f"{first}-{each.name}{dot}{rest}") if len(results) > 1 else path
        write_run(own, each.run, each.name)
        written.append(own)
    return written


def _print(
    own: Sequence[Evaluation],
    foreign: Sequence[Evaluation],
    comparison: Comparison | None,
    *,
    values: bool,
    as_json: bool,
) -> None:
    if as_json:
        found = {each.name: tables.as_dict(each, values=values) for each in own}
        if foreign:
            found["against"] = {each.name: tables.as_dict(each, values=values) for each in foreign}
        if comparison is not None:
            found["comparison"] = tables.comparison_as_dict(comparison)
        print_json(found)
        return
    if values:
        sys.stdout.write(tables.per_query([*own, *foreign]))
    out.print(tables.evaluations([*own, *foreign]))
    if comparison is not None:
        out.print(tables.differences(comparison))
        out.print(tables.extremes(comparison))
    for line in warnings_of(own):
        err.print(f"warning: {line}", markup=False, soft_wrap=True)
