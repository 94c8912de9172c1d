"""Measures and comparisons as tables for people, and as plain values for machines."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from twofold.evaluation import Comparison, Evaluation, Interval, QueryDifference
from twofold.evaluation.report import p_value

_SHOWN, _LISTED = 3, 10  # queries most won and most lost: for people, for machines
_TEXT = 100


def evaluations(results: Sequence[Evaluation]) -> Table:
    """Return measures by setting, each above its interval."""
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, caption="below each mean its 95% bootstrap interval"
    )
    table.add_column(f"{results[0].queries:,} queries", overflow="fold")
    for name in results[0].measures:
        table.add_column(name, justify="right", no_wrap=True)
    for each in results:
        cells: list[Text] = []
        for name, value in each.measures.items():
            cell = Text(f"{value:.4f}")
            cell.append(f"\n{_range(each.interval(name), '.3f')}", style="dim")
            cells.append(cell)
        table.add_row(Text(each.name), *cells)
    return table


def differences(comparison: Comparison) -> Table:
    """Return the subject's mean differences from the others, with intervals and p values."""
    several = len(comparison.differences) > 1
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(
        Text(f"{comparison.measure}, {comparison.subject.name} minus"), overflow="fold"
    )
    for name in ("difference", "95% interval", "p (Holm)" if several else "p"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("won", "lost", "tied", "queries to settle it"):
        table.add_column(name, justify="right")
    for each in comparison.differences:
        table.add_row(
            Text(each.other.name),
            f"{each.interval.mean:+.4f}",
            _range(each.interval, "+.3f"),
            p_value(each.adjusted_p),
            f"{each.won:,}",
            f"{each.lost:,}",
            f"{each.tied:,}",
            f"{each.needed:,}" if each.needed is not None else "-",
        )
    return table


def extremes(comparison: Comparison) -> Group:
    """Return the queries most won and most lost, a few of each other setting."""
    tables: list[Table] = []
    for each in comparison.differences:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column(Text(f"{comparison.subject.name} against {each.other.name}"))
        table.add_column("query", overflow="fold")
        table.add_column("text")
        for word, queries in (
            ("won", each.most_won(_SHOWN)),
            ("lost", each.most_lost(_SHOWN)),
        ):
            for query in queries:
                values = f"{word} {query.subject:.3f} : {query.other:.3f}"
                table.add_row(values, Text(_line(query.query_id)), Text(_short(query.text)))
        if table.rows:
            tables.append(table)
    return Group(*tables)


def per_query(results: Sequence[Evaluation]) -> str:
    """Return every query's values in every setting, tab-separated under a head."""
    names = list(results[0].measures)
    lines = ["\t".join(["query", "setting", *names, "text"])]
    for query_id in results[0].per_query:
        for each in results:
            values = (repr(each.per_query[query_id][name]) for name in names)
            text = _line(each.texts.get(query_id, ""))
            lines.append("\t".join([_line(query_id), _line(each.name), *values, text]))
    return "\n".join(lines) + "\n"


def as_dict(each: Evaluation, *, values: bool) -> dict[str, Any]:
    """Return an evaluation as plain values; with those of each query where wanted."""
    intervals: Mapping[str, Interval] = {name: each.interval(name) for name in each.measures}
    found: dict[str, Any] = {
        "queries": each.queries,
        "measures": dict(each.measures),
        "intervals": {name: _bounds(interval) for name, interval in intervals.items()},
        "settings": each.settings,
        "warnings": dict(each.warnings),
        "unknown": each.unknown,
    }
    if values:
        found["per_query"] = {name: dict(of_one) for name, of_one in each.per_query.items()}
    return found


def comparison_as_dict(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as plain values."""
    rows = [
        {
            "other": each.other.name,
            "mean": each.interval.mean,
            "interval": _bounds(each.interval),
            "p": each.p,
            "adjusted_p": each.adjusted_p,
            "won": each.won,
            "lost": each.lost,
            "tied": each.tied,
            "queries_needed": each.needed,
            "most_won": [_query(one) for one in each.most_won(_LISTED)],
            "most_lost": [_query(one) for one in each.most_lost(_LISTED)],
        }
        for each in comparison.differences
    ]
    return {
        "measure": comparison.measure,
        "subject": comparison.subject.name,
        "differences": rows,
    }


def _query(one: QueryDifference) -> dict[str, Any]:
    return {
        "query": one.query_id,
        "text": one.text,
        "subject": one.subject,
        "other": one.other,
        "difference": one.difference,
    }


def _bounds(interval: Interval) -> list[float | None]:
    """Return an interval's bounds; None where it has none, for which JSON knows no number."""
    return [each if math.isfinite(each) else None for each in (interval.low, interval.high)]


def _range(interval: Interval, form: str) -> str:
    """Return an interval's bounds in words; a dash where it has none."""
    if not math.isfinite(interval.low):
        return "-"
    return f"{interval.low:{form}} to {interval.high:{form}}"


def _short(text: str) -> str:
    line = _line(text)
    return line if len(line) <= _TEXT else f"{line[:_TEXT]} …"


def _line(text: str) -> str:
    """Return text on one line, without what a terminal or a table would take for its own."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
