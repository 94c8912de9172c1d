"""Formats measures as tables for people and as JSON values."""

import math
from collections.abc import Sequence
from typing import Any

from rich.console import Group
from rich.table import Column, Table
from rich.text import Text

from twofold.cli.escaping import escape_controls
from twofold.cli.tables import make_table, number_columns, one_line
from twofold.evaluation import Comparison, Evaluation, Interval, QueryDifference
from twofold.evaluation.report import format_p_value
from twofold.training import Gain

_QUERY_TEXT = 100  # characters shown
_SHOWN, _LISTED = 3, 10  # queries won and lost that are shown in tables, and listed in JSON


def format_gain(gain: Interval) -> str:
    """Return a mean difference with its interval, such as ``+0.0123 (+0.001 to +0.023)``."""
    return f"{gain.mean:+.4f} ({gain.low:+.3f} to {gain.high:+.3f})"


def interval_bounds(interval: Interval) -> list[float | None]:
    """Return the bounds of an interval; infinite ones are None, for JSON."""
    return [bound if math.isfinite(bound) else None for bound in (interval.low, interval.high)]


def measures_table(evaluations: Sequence[Evaluation]) -> Table:
    """Return a table with a row per evaluation: each measure's mean, above its interval."""
    table = make_table(
        Column(f"{evaluations[0].queries:,} queries", overflow="fold"),
        *number_columns(*evaluations[0].measures, no_wrap=True),
        caption="below each mean its 95% bootstrap interval",
    )
    for evaluation in evaluations:
        cells: list[Text] = []
        for name, value in evaluation.measures.items():
            cell = Text(f"{value:.4f}")
            cell.append(f"\n{_format_bounds(evaluation.interval(name), '.3f')}", style="dim")
            cells.append(cell)
        table.add_row(Text(escape_controls(evaluation.name)), *cells)
    return table


def differences_table(comparison: Comparison) -> Table:
    """Return a table of mean differences, subject minus each other system, with p values."""
    p = "p (Holm)" if len(comparison.differences) > 1 else "p"
    head = Text(f"{comparison.measure}, {comparison.subject.name} minus")
    table = make_table(
        Column(head, overflow="fold"),
        *number_columns("difference", "95% interval", p, no_wrap=True),
        *number_columns("won", "lost", "tied", "queries to settle it"),
    )
    for row in comparison.differences:
        table.add_row(
            Text(escape_controls(row.other.name)),
            f"{row.interval.mean:+.4f}",
            _format_bounds(row.interval, "+.3f"),
            format_p_value(row.adjusted_p),
            *(f"{count:,}" for count in (row.won, row.lost, row.tied)),
            f"{row.needed:,}" if row.needed is not None else "-",
        )
    return table


def extremes_table(comparison: Comparison) -> Group:
    """Return tables of the queries that the subject won and lost by the largest margins."""
    tables: list[Table] = []
    for row in comparison.differences:
        head = Text(f"{comparison.subject.name} against {row.other.name}")
        table = make_table(Column(head), Column("query", overflow="fold"), "text")
        for word, queries in (("won", row.most_won(_SHOWN)), ("lost", row.most_lost(_SHOWN))):
            for query in queries:
                values = f"{word} {query.subject:.3f} : {query.other:.3f}"
                text = one_line(query.text)
                text = text if len(text) <= _QUERY_TEXT else f"{text[:_QUERY_TEXT]} …"
                table.add_row(values, Text(escape_controls(query.query_id)), Text(text))
        if table.rows:
            tables.append(table)
    return Group(*tables)


def per_query_values(evaluations: Sequence[Evaluation]) -> str:
    """Return each query's measures in each evaluation as TSV lines with a header."""
    names = list(evaluations[0].measures)
    lines = ["\t".join(["query", "system", *names, "text"])]
    for query_id in evaluations[0].per_query:
        for evaluation in evaluations:
            values = (repr(evaluation.per_query[query_id][name]) for name in names)
            text = one_line(evaluation.texts.get(query_id, ""))
            lines.append(
                "\t".join(
                    [escape_controls(query_id), escape_controls(evaluation.name), *values, text]
                )
            )
    return "\n".join(lines) + "\n"


def evaluation_as_dict(evaluation: Evaluation, *, values: bool) -> dict[str, Any]:
    """Return an evaluation as JSON values, with each query's measures if ``values``."""
    found: dict[str, Any] = {
        "queries": evaluation.queries,
        "measures": dict(evaluation.measures),
        "intervals": {n: interval_bounds(evaluation.interval(n)) for n in evaluation.measures},
        "settings": evaluation.settings,
        "warnings": dict(evaluation.warnings),
        "missing_relevant": evaluation.missing_relevant,
    }
    if values:
        found["per_query"] = {name: dict(row) for name, row in evaluation.per_query.items()}
    return found


def comparison_as_dict(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as JSON values."""
    rows = [
        {
            "other": row.other.name,
            "mean": row.interval.mean,
            "interval": interval_bounds(row.interval),
            **{name: getattr(row, name) for name in ("p", "adjusted_p", "won", "lost", "tied")},
            "queries_needed": row.needed,
            "most_won": [_query_as_dict(query) for query in row.most_won(_LISTED)],
            "most_lost": [_query_as_dict(query) for query in row.most_lost(_LISTED)],
        }
        for row in comparison.differences
    ]
    subject = comparison.subject.name
    return {"measure": comparison.measure, "subject": subject, "differences": rows}


def gains_table(measure: str, gains: Sequence[Gain], forgotten: Gain | None) -> Table:
    """Return a table of ``measure`` before and after, of held-out and of control queries."""
    table = make_table(
        f"{measure}, held out", *number_columns("queries", "before", "after", "gain")
    )
    rows = [
        (f"{gain.mode}, {gain.group} passages" if gain.group != "all" else gain.mode, gain)
        for gain in gains
    ]
    if forgotten is not None:
        rows.append((f"{forgotten.mode}, control queries", forgotten))
    for label, gain in rows:
        values = f"{gain.queries:,}", f"{gain.before:.4f}", f"{gain.after:.4f}"
        table.add_row(label, *values, format_gain(gain.interval))
    return table


def _query_as_dict(query: QueryDifference) -> dict[str, Any]:
    names = ("text", "subject", "other", "difference")
    return {"query": query.query_id} | {name: getattr(query, name) for name in names}


def _format_bounds(interval: Interval, form: str) -> str:
    """Return the bounds of an interval, or a dash if they are infinite."""
    if not math.isfinite(interval.low):
        return "-"
    return f"{interval.low:{form}} to {interval.high:{form}}"
