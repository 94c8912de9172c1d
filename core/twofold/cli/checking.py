"""The command ``check``."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from typer import Exit, Option

from twofold import evaluation as ev
from twofold.cli import console
from twofold.cli.measure_tables import format_gain, interval_bounds
from twofold.corpus import read_qrels, read_queries
from twofold.evaluation.report import format_p_value
from twofold.retriever import Retriever

FALLEN = 1  # exit code
_BASELINE = "The baseline, a JSON file."
_SAVE = "Write the baseline, in place of one that is there, and compare nothing."
_MEASURE = "Measure, in the syntax of ir_measures; repeatable."
_K = "Hits to retrieve and measure."


def check(
    target: console.Target,
    queries: console.Queries,
    qrels: console.Qrels,
    baseline: Annotated[Path, Option(metavar="FILE", help=_BASELINE)],
    save: Annotated[bool, Option("--save", help=_SAVE)] = False,
    mode: Annotated[
        console.ModeName | None, Option(help="Search mode.", show_default="the first of the index")
    ] = None,
    measure: Annotated[list[str] | None, Option(help=_MEASURE, show_default="nDCG@10")] = None,
    k: Annotated[int, Option("-k", help=_K)] = 100,
    as_json: console.Json = False,
) -> None:
    """Compare the search quality with a baseline, such as in CI.

    The exit code is 1 if a measure has fallen by more than chance explains.
    """
    console.check_target(baseline)
    before = None if save else ev.Baseline.read(baseline)
    texts, judgments = read_queries(queries), read_qrels(qrels)
    measures = measure if measure else list(before.values) if before is not None else ["nDCG@10"]
    with console.open_target(target, read_only=True) as index:
        chosen = mode.value if mode is not None else index.modes[0]
        retriever = Retriever(index, mode=chosen)
        with console.spinner("loading the model and searching", quiet=as_json):
            now = ev.evaluate(retriever, texts, judgments, measures, k=k)
    if before is None:
        ev.Baseline.from_evaluation(now).write(baseline)
        means = ", ".join(f"{name} {value:.4f}" for name, value in now.measures.items())
        value = {"baseline": str(baseline), "measures": dict(now.measures), "queries": now.queries}
        console.print_result(as_json, value, f"{baseline}: {now.queries:,} queries, {means}")
        return
    changes = ev.compare_with_baseline(now, before)
    console.print_result(as_json, [_as_dict(one) for one in changes], *_describe(changes))
    if before.settings != now.settings:
        console.print_error("warning", f"other settings than in the baseline: {before.settings}")
    if any(change.has_fallen for change in changes):
        raise Exit(FALLEN)


def _describe(changes: Sequence[ev.BaselineChange]) -> list[str]:
    """Return a line for each measure, and more for one that has fallen."""
    lines: list[str] = []
    for change in changes:
        state = "has fallen" if change.has_fallen else "has not fallen beyond chance"
        lines.append(
            f"{change.measure} {change.now:.4f}, in the baseline {change.before:.4f}: "
            f"{format_gain(change.change)}, p {format_p_value(change.p)}: {state}"
        )
        if math.isfinite(change.detectable):
            size = f"{change.detectable:.4f}"
            lines.append(f"  {change.queries:,} queries show a change of {size} or more")
        else:
            lines.append(f"  {change.queries:,} queries are too few or too equal to show a change")
        if change.unmatched:
            lines.append(f"  {change.unmatched:,} queries are in only one of them, and don't count")
        if change.has_fallen:
            lines.append(f"  queries that lost most: {', '.join(change.worst)}")
    return lines


def _as_dict(change: ev.BaselineChange) -> dict[str, Any]:
    return {
        "measure": change.measure,
        "before": change.before,
        "now": change.now,
        "change": change.change.mean,
        "interval": interval_bounds(change.change),
        "p": change.p,
        "detectable": change.detectable if math.isfinite(change.detectable) else None,
        "queries": change.queries,
        "unmatched": change.unmatched,
        "has_fallen": change.has_fallen,
        "worst": list(change.worst),
    }
