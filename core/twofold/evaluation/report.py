"""Formats evaluations and comparisons as Markdown."""

import math
import re
from collections.abc import Iterator, Sequence

from twofold.errors import InputError
from twofold.evaluation.comparison import Comparison, Difference
from twofold.evaluation.result import Evaluation
from twofold.evaluation.significance import BOOTSTRAP_SAMPLES, LEVEL, Interval

_MAX_TEXT = 200  # characters of a query
_MAX_WARNINGS = 5  # per system
_SPECIAL = re.compile(r"([\\`*_\[\]#|<>~$&])")


def report(
    results: Comparison | Sequence[Evaluation],
    *,
    title: str,
    date: str,
    passages: int | None = None,
    listed: int = 10,
) -> str:
    """Return a Markdown report: measures with intervals, comparisons, queries and warnings.

    Args:
        results: A comparison, or evaluations of the same queries.
        title: The name of the collection, for the heading.
        date: The date of the report, printed as it is.
        passages: The number of passages in the collection.
        listed: How many queries with the largest wins are listed, and with the largest losses.

    Raises:
        InputError: There are no results.
    """
    evaluations = results.evaluations if isinstance(results, Comparison) else tuple(results)
    if not evaluations:
        raise InputError("there is nothing to report: pass an evaluation or a comparison")
    size = f", {passages:,} passages" if passages is not None else ""
    lines = [
        f"# Retrieval from {_escape(title)}, measured",
        "",
        f"{_escape(date)}; {evaluations[0].queries:,} judged queries{size}.",
        "",
        *_format_measures(evaluations),
    ]
    if isinstance(results, Comparison):
        lines += ["", *_format_comparison(results)]
        for difference in results.differences:
            lines += ["", *_format_queries(difference, listed)]
    lines += ["", "## Settings", ""]
    lines += [f"- {_escape(result.name)}: {_escape(result.settings)}" for result in evaluations]
    shares = dict.fromkeys(r.missing_relevant for r in evaluations if r.missing_relevant)
    notes = [f"{share:.1%} of the relevant passages are not in the index" for share in shares]
    notes += describe_warnings(evaluations)
    if notes:
        lines += ["", "## Warnings", "", *(f"- {_escape(note)}" for note in notes)]
    return "\n".join(lines) + "\n"


def describe_warnings(evaluations: Sequence[Evaluation]) -> Iterator[str]:
    """Yield a line for each warning of an evaluation's hits, with the number of queries."""
    for result in evaluations:
        items = list(result.warnings.items())
        for text, count in items[:_MAX_WARNINGS]:
            yield f"{result.name}: {text} ({count:,} of {result.queries:,} queries)"
        if len(items) > _MAX_WARNINGS:
            yield f"{result.name}: {len(items) - _MAX_WARNINGS:,} other warnings"


def format_interval(interval: Interval, *, signed: bool = False) -> str:
    """Return a mean with its bounds, such as ``0.744 (0.702 to 0.785)``."""
    form = "+.3f" if signed else ".3f"
    mean = f"{interval.mean:{form}}"
    if not math.isfinite(interval.low):
        return mean
    return f"{mean} ({interval.low:{form}} to {interval.high:{form}})"


def format_p_value(p: float) -> str:
    """Return a p value with three decimals, or ``< 0.001``."""
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def _format_measures(evaluations: Sequence[Evaluation]) -> Iterator[str]:
    names = list(evaluations[0].measures)
    yield from _table_head("system", *names)
    for result in evaluations:
        cells = (format_interval(result.interval(n)) if n in result.measures else "" for n in names)
        yield _table_row(_escape(result.name), *cells)
    yield ""
    yield (
        f"Means over the queries, with {LEVEL:.0%} percentile bootstrap intervals of "
        f"{BOOTSTRAP_SAMPLES:,} resamples of the queries."
    )


def _format_comparison(comparison: Comparison) -> Iterator[str]:
    yield f"## {_escape(comparison.measure)}: {_escape(comparison.subject.name)} minus the others"
    yield ""
    yield from _table_head("other", "difference", "p", "won", "lost", "tied", "queries needed")
    for row in comparison.differences:
        yield _table_row(
            _escape(row.other.name),
            format_interval(row.interval, signed=True),
            format_p_value(row.adjusted_p),
            *(f"{count:,}" for count in (row.won, row.lost, row.tied)),
            f"{row.needed:,}" if row.needed is not None else "",
        )
    yield ""
    count = len(comparison.differences)
    adjusted = f", adjusted by Holm's method for {count} comparisons" if count > 1 else ""
    yield (
        "Mean differences with paired bootstrap intervals; p by a two-sided paired randomisation "
        f"test{adjusted}. The queries needed make a difference of this size significant with "
        "probability 0.8."
    )


def _format_queries(difference: Difference, listed: int) -> Iterator[str]:
    names = _escape(difference.subject.name), _escape(difference.other.name)
    yield f"### {names[0]} against {names[1]}, query by query"
    parts = (
        ("Won", difference.won, difference.most_won(listed)),
        ("Lost", difference.lost, difference.most_lost(listed)),
    )
    for word, count, queries in parts:
        yield ""
        if not queries:
            yield f"{word}: none."
            continue
        largest = f", the {len(queries)} by most" if len(queries) < count else ""
        yield f"{word}: {count:,}{largest}."
        yield ""
        yield from _table_head("query", "text", *names, "difference")
        for query in queries:
            text = query.text
            text = text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]} …"
            values = f"{query.subject:.3f}", f"{query.other:.3f}", f"{query.difference:+.3f}"
            yield _table_row(_escape(query.query_id), _escape(text), *values)


def _table_head(*names: str) -> Iterator[str]:
    yield _table_row(*names)
    yield "|" + "---|" * len(names)


def _table_row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _escape(text: str) -> str:
    """Return text on one line, with the special characters of Markdown and HTML escaped."""
    line = "".join(char if char.isprintable() else " " for char in text)
    return _SPECIAL.sub(r"\\\1", " ".join(line.split()))
