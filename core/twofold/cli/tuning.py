"""The verbs ``tune`` and ``settings``."""

import math
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from twofold.backend import SearchProfile
from twofold.cli.console import Folder, Json, out, print_json, progress, running
from twofold.corpus import read_qrels, read_queries
from twofold.errors import InputError
from twofold.index import DEFAULT, Index, profile_as_dict
from twofold.tuning import (
    Compared,
    Plan,
    TuningResult,
    compare_profiles,
    fusion_in_words,
    scorer_in_words,
    setting_in_words,
)
from twofold.tuning import tune as tuned_on


def tune(
    folder: Folder,
    queries: Annotated[Path, typer.Option(help="queries.jsonl[.gz], or id and text by tab.")],
    qrels: Annotated[Path, typer.Option(help="Judgments, BEIR's or TREC's.")],
    name: Annotated[
        str | None,
        typer.Option(
            help="What to save a better setting as; a name that is taken is refused.",
            show_default="tuned, or tuned-2, tuned-3 ...",
        ),
    ] = None,
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
        saved_as = target.profiles.new_name(name)  # before a long search
        fewest = max(Plan().fewest, 2 * folds)
        plan = Plan(measure=measure, folds=folds, seed=seed, fewest=fewest)
        texts, judgments = read_queries(queries), read_qrels(qrels)
        before = target.profiles.active
        if not dry_run:
            target.profiles.use(before)  # takes the write lock now, not after a long search
        with progress("tuning", 100, quiet=as_json) as report:
            result = tuned_on(target, texts, judgments, plan=plan, progress=report)
        saved = result.adopted and not dry_run
        if saved:
            target.profiles.save(saved_as, result.profile, use=True)
        if as_json:
            print_json({**result.to_dict(), "saved": saved_as if saved else None})
            return
        if result.stages:
            out.print(_stages(result))
            out.print(_folds(result))
        out.print(str(result), markup=False, soft_wrap=True)
        if saved:
            back = shlex.join(["--use", before if before is not None else DEFAULT])
            out.print(
                f"saved as {saved_as!r} and in use; to go back: twofold settings {folder} {back}",
                markup=False,
                soft_wrap=True,
            )


def settings(
    folder: Folder,
    use: Annotated[
        str | None, typer.Option(metavar="NAME", help=f"Use this one, or {DEFAULT!r}.")
    ] = None,
    drop: Annotated[
        str | None, typer.Option(metavar="NAME", help="Forget this one and its adapter.")
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(help="Judged queries to compare them on; with --qrels.")
    ] = None,
    qrels: Annotated[Path | None, typer.Option(help="Judgments, BEIR's or TREC's.")] = None,
    measure: Annotated[str, typer.Option(help="In ir_measures' grammar.")] = "nDCG@10",
    as_json: Json = False,
) -> None:
    """Show the settings that are saved with an index, compare them, and choose among them."""
    reading = use is None and drop is None
    with running(), Index.open(folder, create=False, read_only=reading) as target:
        saved = target.profiles
        if (queries is None) != (qrels is None):
            raise InputError("--queries and --qrels go together")
        if use is not None:
            saved.use(None if use == DEFAULT else use)
        if drop is not None:
            _forget(target, drop)
        compared: dict[str, Compared] = {}
        if queries is not None and qrels is not None:
            found = compare_profiles(
                target, read_queries(queries), read_qrels(qrels), measure=measure
            )
            compared = {each.name: each for each in found}
        if as_json:
            print_json(
                {
                    "active": saved.active,
                    "settings": {each: profile_as_dict(saved[each]) for each in saved},
                    "compared": {name: _as_dict(each) for name, each in compared.items()},
                }
            )
        else:
            out.print(_saved(dict(saved), saved.active, compared, measure))


def _forget(target: Index, name: str) -> None:
    """Drop a setting, and its adapter unless another setting has the same."""
    adapter = target.profiles[name].query_adapter if name in target.profiles else None
    target.profiles.drop(name)
    others = {each.query_adapter for each in target.profiles.values()}
    if adapter is not None and adapter in target.query_adapters and adapter not in others:
        target.query_adapters.drop(adapter)


def _as_dict(each: Compared) -> dict[str, Any]:
    gain = each.gain
    bounds = [bound if math.isfinite(bound) else None for bound in (gain.low, gain.high)]
    return {"mean": each.mean, "gain": gain.mean, "interval": bounds}


def _saved(
    settings: dict[str, SearchProfile],
    active: str | None,
    compared: dict[str, Compared],
    measure: str,
) -> Table:
    """Return settings below each other, the one in use marked, and what they give if measured."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in ("", "setting", "fusion", "depth", "words", "titles weigh", "adapter"):
        table.add_column(head, overflow="fold")
    if compared:
        table.add_column(measure, justify="right")
        table.add_column("from the one in use", justify="right")
    for name in (DEFAULT, *settings):
        cells = ["the library's defaults", "", "", "", ""]
        if name in settings:
            each = settings[name]
            words = scorer_in_words(each)
            cells = [
                fusion_in_words(each.fusion),
                str(each.depth),
                words,
                str(each.title_weight),
                each.query_adapter if each.query_adapter is not None else "",
            ]
        if name in compared:
            gain = compared[name].gain
            cells.append(f"{compared[name].mean:.4f}")
            cells.append(f"{gain.mean:+.4f} ({gain.low:+.3f} to {gain.high:+.3f})")
        mark = "*" if name == (active if active is not None else DEFAULT) else ""
        table.add_row(mark, Text(name), *cells)
    return table


def _stages(result: TuningResult) -> Table:
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
            setting_in_words(each.profile),
        )
    return table


def _folds(result: TuningResult) -> Table:
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
            setting_in_words(each.profile),
        )
    return table
