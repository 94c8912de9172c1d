"""Formats hits as tables for people and as JSON values."""

import re
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Column, Table
from rich.text import Text

from twofold.cli.escaping import escape_controls
from twofold.results import WhyNot
from twofold.results.highlights import Highlights
from twofold.results.hits import Hits
from twofold.types import Leg, LegScore

_SPACE = re.compile(r"\s")
_EXCERPT = 160  # characters shown


def make_table(*columns: Column | str, caption: str | None = None) -> Table:
    """Return a table without rows, in the style that all commands share."""
    return Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False, caption=caption)


def number_columns(*names: str, no_wrap: bool = False) -> list[Column]:
    """Return right-aligned columns with these headings."""
    return [Column(name, justify="right", no_wrap=no_wrap) for name in names]


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
            cell.append(f"{one_line(hit.passage.title)} ", style="bold")
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
        "confidence": hits.confidence,
        "abstained": hits.abstained,
        "hits": rows,
    }


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


def one_line(text: str) -> str:
    """Return printable text on one line, with single blanks."""
    return escape_controls(" ".join(text.split()))
