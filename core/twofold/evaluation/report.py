"""What was measured, as a page of Markdown."""

import math
import re
from collections.abc import Iterator, Sequence

from twofold.errors import InputError
from twofold.evaluation.comparison import Comparison, Difference, QueryDifference
from twofold.evaluation.result import Evaluation
from twofold.evaluation.significance import LEVEL, SAMPLES, Interval

_TEXT = 200  # characters of a query that are shown
_KINDS = 5  # different warnings that are listed for each setting
_SPECIAL = re.compile(r"([\\`*_\[\]#|<>~$&])")


def report(
    results: Comparison | Sequence[Evaluation],
    *,
    title: str,
    date: str,
    passages: int | None = None,
    listed: int = 10,
) -> str:
    """Return measures with intervals, comparisons, queries won and lost, and warnings as Markdown.

    ``title`` names what was searched, ``date`` is printed as it is, ``listed`` queries are shown
    of those most won and of those most lost. Raises InputError for no results.
    """
    evaluations = results.evaluations if isinstance(results, Comparison) else tuple(results)
    if not evaluations:
        raise InputError("there is nothing to report: give an evaluation or a comparison")
    counted = f", {passages:,} passages" if passages is not None else ""
    lines = [
        f"# Retrieval from {_cell(title)}, measured",
        "",
        f"{_cell(date)}; {evaluations[0].queries:,} judged queries{counted}.",
        "",
        *_measures(evaluations),
    ]
    if isinstance(results, Comparison):
        lines += ["", *_comparison(results)]
        for each in results.differences:
            lines += ["", *_queries(each, listed)]
    lines += ["", "## Settings", ""]
    lines += [f"- {_cell(each.name)}: {_cell(each.settings)}" for each in evaluations]
    said = [*_unknown(evaluations), *warnings_of(evaluations)]
    if said:
        lines += ["", "## Warnings", "", *(f"- {_cell(line)}" for line in said)]
    return "\n".join(lines) + "\n"


def warnings_of(evaluations: Sequence[Evaluation]) -> Iterator[str]:
    """Yield what the hits were warned of, and in how many queries, one line each."""
    for each in evaluations:
        said = list(each.warnings.items())
        for text, count in said[:_KINDS]:
            yield f"{each.name}: {text} ({count:,} of {each.queries:,} queries)"
        if len(said) > _KINDS:
            yield f"{each.name}: {len(said) - _KINDS:,} other warnings"


def _unknown(evaluations: Sequence[Evaluation]) -> Iterator[str]:
    """Yield what the indexes lack; it is the same for all settings of one index."""
    shares = {each.unknown: None for each in evaluations if each.unknown}
    for share in shares:
        yield f"{share:.1%} of the relevant passages are not in the index: nothing can find them"


def ranged(interval: Interval, *, signed: bool = False) -> str:
    """Return a mean and its bounds in words: ``0.744 (0.702 to 0.785)``."""
    form = "+.3f" if signed else ".3f"
    mean = f"{interval.mean:{form}}"
    if not math.isfinite(interval.low):
        return mean
    return f"{mean} ({interval.low:{form}} to {interval.high:{form}})"


def _measures(evaluations: Sequence[Evaluation]) -> Iterator[str]:
    names = list(evaluations[0].measures)
    yield from _head("setting", *names)
    for each in evaluations:
        yield _row(
            _cell(each.name),
            *(ranged(each.interval(n)) if n in each.measures else "" for n in names),
        )
    yield ""
    yield (
        f"Means over the queries, with {LEVEL:.0%} percentile bootstrap intervals of {SAMPLES:,} "
        "resamples of the queries."
    )


def _comparison(comparison: Comparison) -> Iterator[str]:
    yield f"## {_cell(comparison.measure)}: {_cell(comparison.subject.name)} minus the others"
    yield ""
    yield from _head("other", "difference", "p", "won", "lost", "tied", "queries to settle it")
    for each in comparison.differences:
        yield _row(
            _cell(each.other.name),
            ranged(each.interval, signed=True),
            p_value(each.adjusted_p),
            f"{each.won:,}",
            f"{each.lost:,}",
            f"{each.tied:,}",
            f"{each.needed:,}" if each.needed is not None else "",
        )
    yield ""
    several = len(comparison.differences) > 1
    adjusted = f", adjusted by Holm's method for {len(comparison.differences)} comparisons"
    yield (
        "Differences query by query, with paired bootstrap intervals; p by a two-sided paired "
        f"randomisation test{adjusted if several else ''}. So many judged queries would show a "
        "difference of this size and spread four times out of five."
    )


def p_value(p: float) -> str:
    """Return a p value with three digits, the smallest ones as a bound."""
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def _queries(difference: Difference, listed: int) -> Iterator[str]:
    names = _cell(difference.subject.name), _cell(difference.other.name)
    yield f"### {names[0]} against {names[1]}, query by query"
    parts = (
        ("won", difference.won, difference.most_won(listed)),
        ("lost", difference.lost, difference.most_lost(listed)),
    )
    for word, count, queries in parts:
        yield ""
        if not queries:
            yield f"{word.capitalize()}: none."
            continue
        most = f", the {len(queries)} by most" if len(queries) < count else ""
        yield f"{word.capitalize()}: {count:,}{most}."
        yield ""
        yield from _head("query", "text", *names, "difference")
        for each in queries:
            yield _query(each)


def _query(each: QueryDifference) -> str:
    text = each.text if len(each.text) <= _TEXT else f"{each.text[:_TEXT]} …"
    return _row(
        _cell(each.query_id),
        _cell(text),
        f"{each.subject:.3f}",
        f"{each.other:.3f}",
        f"{each.difference:+.3f}",
    )


def _head(*names: str) -> Iterator[str]:
    yield _row(*names)
    yield "|" + "---|" * len(names)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    """Return a text on one line in which nothing is taken for Markdown or HTML."""
    line = "".join(char if char.isprintable() else " " for char in text)
    return _SPECIAL.sub(r"\\\1", " ".join(line.split()))
