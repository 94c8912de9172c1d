"""Results as tables for people, and as plain values for machines."""

from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from twofold.index import Verification
from twofold.results import WhyNot
from twofold.results.highlights import Highlights
from twofold.results.hits import Hits
from twofold.types import Leg, LegScore

_SNIPPET = 160


def indexed(folder: Path, summary: dict[str, Any]) -> Text:
    """Return one line on what was indexed."""
    line = (
        f"{folder}: {summary['passages']:,} passages ({summary['added']:,} added, "
        f"{summary['updated']:,} updated, {summary['removed']:,} removed, "
        f"{summary['unchanged']:,} unchanged) in "
        f"{summary['seconds']:.1f} s; modes {', '.join(summary['modes'])}"
    )
    if summary["kind"] is not None:
        line += f"; near vectors by {summary['kind']['kind']}"
    if summary["truncated"]:
        line += (
            f"; texts longer than the encoder reads, which sees their beginning only: "
            f"{summary['truncated']:,}; split them into shorter passages"
        )
    return Text(line)


def hits_table(hits: Hits, *, explained: bool) -> Table | Text:
    """Return hits as a table: ranks and scores of the legs, and the passage's beginning."""
    if not len(hits):
        return Text("nothing found")
    legs: list[Leg] = list(hits[0].legs)
    table = Table(box=box.SIMPLE_HEAD, expand=False, pad_edge=False)
    table.add_column("#", justify="right")
    table.add_column("id", overflow="fold")
    table.add_column("score", justify="right")
    for leg in legs if len(legs) > 1 else ():
        table.add_column(leg, justify="right", no_wrap=True)
    table.add_column("why" if explained else "passage", ratio=1)
    explanations = hits.explain().hits if explained else ()
    for place, hit in enumerate(hits):
        shares = [_share(hit.legs[leg]) for leg in legs] if len(legs) > 1 else []
        cell = Text()
        if hit.passage.title:
            cell.append(f"{_printable(hit.passage.title)} ", style="bold")
        cell.append(_excerpt(hits.highlights(place)))
        if explained:
            cell.append(f"\n{explanations[place].reason}", style="italic")
            lines = (*explanations[place].shares, *explanations[place].details)
            cell.append("".join(f"\n  {_unbroken(line)}" for line in lines), "dim")
        table.add_row(str(hit.rank), Text(_printable(hit.id)), f"{hit.score:.4f}", *shares, cell)
    return table


def why_not(why: WhyNot) -> Group:
    """Return what kept a passage from being a hit: reasons, its standing by leg, a way in."""
    head = Text(f"{_printable(why.passage_id)}: ", style="bold")
    head.append(_unbroken("; ".join(why.reasons)), style="not bold")
    if not why.legs:
        return Group(head)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("leg")
    for name in ("score", "rank in its whole list", "asked for"):
        table.add_column(name, justify="right")
    for leg, each in why.legs.items():
        score = f"{each.score:.4f}" if each.score is not None else "-"
        rank = f"{each.rank:,}" if each.rank is not None else "-"
        table.add_row(leg, score, rank, f"{each.depth:,}")
    return Group(head, table, Text(_unbroken(why.advice), style="italic"))


def hits_as_dict(hits: Hits, *, explained: bool) -> dict[str, Any]:
    """Return hits as plain values; with the terms and the meaning behind each where explained."""
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


def verification(folder: Path, report: Verification) -> Text:
    """Return the outcome of a verification, a line a problem."""
    head = (
        f"{folder}: generation {report.generation}, {report.passages:,} passages, "
        f"{report.vectors:,} vectors, {report.segments} segments: "
    )
    lines = [f"  {problem}" for problem in report.problems]
    verdict = "all as written" if report.ok else f"{len(lines)} problems"
    return Text("\n".join([head + verdict, *lines]))


def _excerpt(highlights: Highlights) -> Text:
    """Return a stretch of a passage with the query's words underlined."""
    text, spans = highlights.excerpt(_SNIPPET)
    cell, at = Text(), 0
    for start, end in spans:
        cell.append(_unbroken(text[at:start]))
        cell.append(_unbroken(text[start:end]), style="underline")
        at = end
    cell.append(_unbroken(text[at:]))
    return cell


def _unbroken(text: str) -> str:
    """Return text without line breaks, and without what a terminal would take for commands."""
    return "".join(char if char.isprintable() else " " for char in text)


def _printable(text: str) -> str:
    """Return text on one line, with single blanks."""
    return " ".join(_unbroken(text).split())


def _share(share: LegScore) -> str:
    """Return a leg's rank and score; a dash where it did not list the hit."""
    rank = f"{share.rank}." if share.rank is not None else "-"
    return f"{rank} ({share.score:.3f})"
