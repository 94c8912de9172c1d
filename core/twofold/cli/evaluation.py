"""The command ``eval``."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Annotated

from typer import Option

from twofold import evaluation as ev
from twofold.cli import console
from twofold.cli import measure_tables as tables
from twofold.corpus import read_qrels, read_queries, read_run, write_run
from twofold.errors import InputError
from twofold.evaluation.plots import check_plot_path
from twofold.evaluation.report import describe_warnings
from twofold.retriever import Retriever
from twofold.types import Mode

_MODE = "Search mode; repeatable. The first is compared with the others. Default: all."
_MEASURE = "Measure, in the syntax of ir_measures; repeatable. The first is compared."
_K = "Hits to retrieve and measure. Default: 10, and up to 100 for measures that need more."
_BY = "Metadata field that the judgments name in place of passages, such as source for files."
_AGAINST = "TREC run of another system; repeatable."
_PER_QUERY = "Write each query's measures as TSV; - prints them."
_RUN = "Write the hits as TREC runs, a file per mode."
_REPORT = "Write a Markdown report."
_PLOT = "Plot the difference by query as .png."


def evaluation(
    target: console.Target,
    queries: console.Queries,
    qrels: console.Qrels,
    mode: Annotated[list[console.ModeName] | None, Option(help=_MODE)] = None,
    measure: Annotated[list[str] | None, Option(help=_MEASURE)] = None,
    k: Annotated[int | None, Option("-k", help=_K, show_default=False)] = None,
    fusion: console.FusionName = None,
    weight: console.Weight = None,
    preset: console.PresetName = None,
    depth: console.Depth = None,
    rerank: console.Rerank = None,
    scoring: console.Scoring = None,
    k1: console.K1 = None,
    b: console.B = None,
    delta: console.Delta = None,
    by: Annotated[str | None, Option(metavar="FIELD", help=_BY)] = None,
    against: Annotated[list[Path] | None, Option(metavar="RUN", help=_AGAINST)] = None,
    per_query: Annotated[Path | None, Option(metavar="FILE", help=_PER_QUERY)] = None,
    run: Annotated[Path | None, Option(metavar="FILE", help=_RUN)] = None,
    report_to: Annotated[Path | None, Option("--report", metavar="FILE", help=_REPORT)] = None,
    plot: Annotated[Path | None, Option(metavar="FILE", help=_PLOT)] = None,
    as_json: console.Json = False,
) -> None:
    """Measure search quality on judged queries, and compare modes or other systems."""
    with console.open_target(target, read_only=True) as index:
        modes: tuple[Mode, ...] = index.modes
        if mode:
            modes = tuple(dict.fromkeys(name.value for name in mode))
        others = list(dict.fromkeys(against or ()))
        print_values = str(per_query) == "-"
        for path in (None if print_values else per_query, run, report_to, plot):
            console.check_target(path)
        if plot is not None:
            check_plot_path(plot)
            if len(modes) + len(others) < 2:
                raise InputError("--plot compares two runs: give a second --mode, or --against")
        texts, judgments = read_queries(queries), read_qrels(qrels)
        # A path that is also a mode's name gets another name.
        runs = {f"the run {p}" if str(p) in modes else str(p): read_run(p) for p in others}
        measures = measure if measure else list(ev.MEASURES)
        options = console.retriever_options(fusion, weight, scoring, k1, b, delta, rerank)
        hits, limit = (10, 100) if k is None else (k, k)
        retriever = Retriever(index, mode=modes[0], k=hits, preset=preset, depth=depth, **options)
        with console.spinner("loading the model and searching", quiet=as_json):
            by_mode = [
                ev.evaluate(
                    replace(retriever, mode=name), texts, judgments, measures, k=limit, by=by
                )
                for name in modes
            ]
        by_run = [
            ev.evaluate_run(found, judgments, measures, name=name, queries=by_mode[0].texts)
            for name, found in runs.items()
        ]
        results = [*by_mode, *by_run]
        comparison = ev.compare(results, measures[0]) if len(results) > 1 else None
        if run is not None:
            _write_runs(run, by_mode)
        if per_query is not None and not print_values:
            per_query.write_text(tables.per_query_values(results), encoding="utf-8")
        if report_to is not None:
            compared = comparison if comparison is not None else results
            title, today = console.title_of(target), date.today().isoformat()
            page = ev.report(compared, title=title, date=today, passages=len(index))
            report_to.write_text(page, encoding="utf-8")
        if plot is not None and comparison is not None:
            ev.plot_differences(comparison, plot)
        _print_results(by_mode, by_run, comparison, values=print_values, as_json=as_json)


def _write_runs(path: Path, results: Sequence[ev.Evaluation]) -> None:
    """Write one run to ``path``, or several to files with the mode added to the name."""
    first, dot, rest = path.name.partition(".")
    for result in results:
        target = path
        if len(results) > 1:
            target = path.with_name(f"{first}-{result.name}{dot}{rest}")
        write_run(target, result.run, result.name)
        console.print_error("written", target)


def _print_results(
    by_mode: Sequence[ev.Evaluation],
    by_run: Sequence[ev.Evaluation],
    comparison: ev.Comparison | None,
    *,
    values: bool,
    as_json: bool,
) -> None:
    if as_json:
        value = {e.name: tables.evaluation_as_dict(e, values=values) for e in by_mode}
        if by_run:
            value["against"] = {e.name: tables.evaluation_as_dict(e, values=values) for e in by_run}
        if comparison is not None:
            value["comparison"] = tables.comparison_as_dict(comparison)
        console.print_result(True, value)
        return
    if values:
        console.print_raw(tables.per_query_values([*by_mode, *by_run]))
    console.print_result(False, None, tables.measures_table([*by_mode, *by_run]))
    if comparison is not None:
        differences = tables.differences_table(comparison), tables.extremes_table(comparison)
        console.print_result(False, None, *differences)
    for line in describe_warnings(by_mode):
        console.print_error("warning", line)
