"""The verbs ``tune`` and ``settings``."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from twofold.cli.console import Folder, Json, out, print_json, progress, running
from twofold.corpus import read_qrels, read_queries
from twofold.index import DEFAULT, Index, setting_as_dict
from twofold.protocols import Setting
from twofold.tuning import Plan, Tuned, fusion_in_words, scorer_in_words, setting_in_words
from twofold.tuning import tune as tuned_on


def tune(
    folder: Folder,
    queries: Annotated[Path, typer.Option(help="queries.jsonl[.gz], or id and text by tab.")],
    qrels: Annotated[Path, typer.Option(help="Judgments, BEIR's or TREC's.")],
    name: Annotated[str, typer.Option(help="What to save a better setting as.")] = "tuned",
    measure: Annotated[str, typer.Option(help="In ir_measures' grammar.")] = "nDCG@10",
    folds: Annotated[int, typer.Option(help="Parts that queries are held out by.")] = 5,
    seed: Annotated[int, typer.Option(help="Deals queries to folds.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Look for a better setting; use it only if held-out queries are better for it.

    Tried are fusions and their weights, BM25's k1 and b, the weight of titles, and the depth.
    """
    with running(), Index.open(folder, create=False, read_only=dry_run) as target:
        plan = Plan(measure=measure, folds=folds, seed=seed)
        texts, judgments = read_queries(queries), read_qrels(qrels)
        before = target.settings.active
        with progress("tuning", 100, quiet=as_json) as report:
            result = tuned_on(target, texts, judgments, plan=plan, progress=report)
        saved = result.adopted and not dry_run
        if saved:
            target.settings.save(name, result.setting, use=True)
        if as_json:
            print_json({**result.to_dict(), "saved": name if saved else None})
            return
        if result.stages:
            out.print(_stages(result))
            out.print(_folds(result))
        out.print(str(result), markup=False, soft_wrap=True)
        if saved:
            back = before if before is not None else DEFAULT
            out.print(
                f"saved as {name!r} and in use; to go back: twofold settings {folder} --use {back}",
                markup=False,
                soft_wrap=True,
            )


def settings(
    folder: Folder,
    use: Annotated[
        str | None, typer.Option(metavar="NAME", help=f"Use this one, or {DEFAULT!r}.")
    ] = None,
    drop: Annotated[str | None, typer.Option(metavar="NAME", help="Forget this one.")] = None,
    as_json: Json = False,
) -> None:
    """Show the settings that are saved with an index, and choose among them."""
    reading = use is None and drop is None
    with running(), Index.open(folder, create=False, read_only=reading) as target:
        saved = target.settings
        if use is not None:
            saved.use(None if use == DEFAULT else use)
        if drop is not None:
            saved.drop(drop)
        if as_json:
            found: dict[str, Any] = {each: setting_as_dict(saved[each]) for each in saved}
            print_json({"active": saved.active, "settings": found})
        else:
            out.print(_saved(dict(saved), saved.active))


def _saved(settings: dict[str, Setting], active: str | None) -> Table:
    """Return settings side by side, the one in use marked."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in ("", "setting", "fusion", "depth", "words", "titles weigh"):
        table.add_column(head, overflow="fold")
    table.add_row("*" if active is None else "", DEFAULT, "the library's defaults")
    for name, each in settings.items():
        table.add_row(
            "*" if name == active else "",
            Text(name),
            fusion_in_words(each.fusion),
            str(each.depth),
            scorer_in_words(each),
            str(each.title_weight),
        )
    return table


def _stages(result: Tuned) -> Table:
    """Return the steps of the search over all queries."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(f"on all {result.queries:,} queries, {result.measure}")
    for head in ("tried", "best", "kept"):
        table.add_column(head, justify="right")
    table.add_column("setting", overflow="fold")
    for each in result.stages:
        table.add_row(
            each.name,
            f"{each.tried:,}",
            f"{each.best:.4f}",
            f"{each.kept:.4f}",
            setting_in_words(each.setting),
        )
    return table


def _folds(result: Tuned) -> Table:
    """Return what was chosen without each fold, and what the fold makes of it."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("held out")
    for head in ("before", "after"):
        table.add_column(head, justify="right")
    table.add_column("chosen by the others", overflow="fold")
    for each in result.folds:
        table.add_row(
            f"{len(each.queries):,} queries",
            f"{each.before:.4f}",
            f"{each.after:.4f}",
            setting_in_words(each.setting),
        )
    return table
