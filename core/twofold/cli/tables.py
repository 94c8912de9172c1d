"""Formats results as tables for people and as JSON values."""

import math
import re
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Column, Table
from rich.text import Text

from twofold.cli.escaping import escape_controls
from twofold.evaluation import Comparison, Evaluation, Interval, QueryDifference
from twofold.evaluation.report import format_p_value
from twofold.results import WhyNot
from twofold.results.highlights import Highlights
from twofold.results.hits import Hits
from twofold.training import Gain
from twofold.types import Leg, LegScore

_SPACE = re.compile(r"\s")
_EXCERPT, _QUERY_TEXT = 160, 100  # characters shown
_SHOWN, _LISTED = 3, 10  # queries won and lost that are shown in tables, and listed in JSON


def make_table(*columns: Column | str, caption: str | None = None) -> Table:
    """Return a table without rows, in the style that all commands share."""
    return Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False, caption=caption)


def number_columns(*names: str, no_wrap: bool = False) -> list[Column]:
    """Return right-aligned columns with these headings."""
    return [Column(name, justify="right", no_wrap=no_wrap) for name in names]


def format_gain(gain: Interval) -> str:
    """Return a mean difference with its interval, such as ``+0.0123 (+0.001 to +0.023)``."""
    return f"{gain.mean:+.4f} ({gain.low:+.3f} to {gain.high:+.3f})"


def interval_bounds(interval: Interval) -> list[float | None]:
    """Return the bounds of an interval; infinite ones are None, for JSON."""
    return [bound if math.isfinite(bound) else None for bound in (interval.low, interval.high)]


def hits_table(hits: Hits, *, explained: bool) -> Table | str:
    """Return a table of hits: score, rank and score per leg, excerpt, and reasons if asked."""
    if not len(hits):
        return "nothing found"
    legs: list[Leg] = list(hits[0].legs) if len(hits[0].legs) > 1 else []
    table = make_table(
        *number_columns("#"),
        Column("id", overflow="fold"),
        *number_columns("score"),
        *number_columns(*legs, no_wrap=True),
        Column("why" if explained else "passage", ratio=1),
    )
    explanations = hits.explain().hits if explained else ()
    for place, hit in enumerate(hits):
        shares = [_format_leg_score(hit.legs[leg]) for leg in legs]
        cell = Text()
        if hit.passage.title:
            cell.append(f"{_one_line(hit.passage.title)} ", style="bold")
        cell.append(_excerpt(hits.highlights(place)))
        if explained:
            cell.append(f"\n{explanations[place].reason}", style="italic")
            lines = (*explanations[place].shares, *explanations[place].details)
            cell.append("".join(f"\n  {_printable(line)}" for line in lines), "dim")
        table.add_row(
            str(hit.rank), Text(escape_controls(hit.id)), f"{hit.score:.4f}", *shares, cell
        )
    return table


def why_not_table(absence: WhyNot) -> Group:
    """Return why a passage is no hit: reasons, scores and ranks by leg, and advice."""
    head = Text(f"{escape_controls(absence.passage_id)}: ", style="bold")
    head.append(_printable("; ".join(absence.reasons)), style="not bold")
    if not absence.legs:
        return Group(head)
    table = make_table("leg", *number_columns("score", "rank in its whole list", "asked for"))
    for leg, found in absence.legs.items():
        score = f"{found.score:.4f}" if found.score is not None else "-"
        rank = f"{found.rank:,}" if found.rank is not None else "-"
        table.add_row(leg, score, rank, f"{found.depth:,}")
    return Group(head, table, Text(_printable(absence.advice), style="italic"))


def hits_as_dict(hits: Hits, *, explained: bool) -> dict[str, Any]:
    """Return hits as JSON values; with terms, meaning and reason of each if ``explained``."""
    explanations = hits.explain(meaning=explained).to_dict()["hits"]
    rows: list[dict[str, Any]] = []
    for hit, explanation in zip(hits, explanations, strict=True):
        if not explained:
            del explanation["terms"], explanation["meaning"], explanation["reason"]
        passage = hit.passage
        row = {"title": passage.title, "text": passage.text, "metadata": passage.metadata}
        rows.append(explanation | row)
    return {
        "query": hits.query,
        "mode": hits.info.mode,
        "legs_used": list(hits.legs_used),
        "warnings": list(hits.warnings),
        "hits": rows,
    }


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
                text = _one_line(query.text)
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
            text = _one_line(evaluation.texts.get(query_id, ""))
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


def _format_leg_score(found: LegScore) -> str:
    """Return a hit's rank and score in a leg; the rank is a dash if the leg didn't list it."""
    rank = f"{found.rank}." if found.rank is not None else "-"
    return f"{rank} ({found.score:.3f})"


def _excerpt(highlights: Highlights) -> Text:
    """Return an excerpt of a passage with the query's words underlined."""
    text, spans = highlights.excerpt(_EXCERPT)
    cell, end = Text(), 0
    for start, stop in spans:
        cell.append(_printable(text[end:start]))
        cell.append(_printable(text[start:stop]), style="underline")
        end = stop
    cell.append(_printable(text[end:]))
    return cell


def _printable(text: str) -> str:
    """Return text with line breaks and tabs as blanks, and other control characters escaped."""
    return escape_controls(_SPACE.sub(" ", text))


def _one_line(text: str) -> str:
    """Return printable text on one line, with single blanks."""
    return escape_controls(" ".join(text.split()))
