"""The verb ``train``."""

import datetime as dt
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from twofold.cli.console import Folder, Json, err, out, print_json, running
from twofold.corpus import read_qrels, read_queries
from twofold.evaluation.figure import check_picture
from twofold.index import DEFAULT, Index
from twofold.training import (
    AdapterPlan,
    Gain,
    Step,
    Trained,
    TrainingSet,
    keep,
    plot_curves,
    train_adapter,
    training_report,
)
from twofold.training.adapting import Report


def train(
    folder: Folder,
    queries: Annotated[Path, typer.Option(help="queries.jsonl[.gz], or id and text by tab.")],
    qrels: Annotated[Path, typer.Option(help="Judgments, BEIR's or TREC's.")],
    name: Annotated[
        str | None,
        typer.Option(
            help="What to save an adapter and its setting as; a name that is taken is refused.",
            show_default="trained, or trained-2, trained-3 ...",
        ),
    ] = None,
    activate: Annotated[
        bool, typer.Option("--activate/--no-activate", help="Use what is kept at once.")
    ] = True,
    temperature: Annotated[float, typer.Option(help="Of the softmax over passages.")] = 0.05,
    pull: Annotated[float, typer.Option(help="What holds the map near the identity.")] = 0.003,
    seed: Annotated[int, typer.Option(help="Deals queries to folds, and orders pairs.")] = 0,
    as_json: Json = False,
    report: Annotated[
        Path | None, typer.Option(help="Write a Markdown report to this file.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Write a PNG of loss and nDCG by epoch to this file.")
    ] = None,
) -> None:
    """Learn a map of query vectors from judged queries; keep it only if held-out ones gain.

    Nothing is encoded or indexed again. What is kept is saved as an adapter with its setting, and
    in use from then on; deleting the adapter's file undoes it, too.
    """
    with running(), Index.open(folder, create=False) as target:
        if plot is not None:
            check_picture(plot)  # before the work
        plan = AdapterPlan(temperature=temperature, pull=pull, seed=seed)
        if name is not None:
            target.adapters.new_name(name)
            target.settings.new_name(name)
        before = target.settings.active
        target.settings.use(before)  # takes the write lock now, not after the work
        training_set = TrainingSet.of_qrels(read_queries(queries), read_qrels(qrels))
        with _live(quiet=as_json) as say:
            trained = train_adapter(target, training_set, plan=plan, progress=say)
        saved = keep(target, trained, name=name, use=activate) if trained.kept else None
        if plot is not None and trained.curves:
            plot_curves(trained, plot)
        if report is not None:
            date = dt.datetime.now(tz=dt.timezone.utc).date().isoformat()
            report.write_text(
                training_report(trained, title=str(folder), date=date), encoding="utf-8"
            )
        if as_json:
            active = saved is not None and activate
            print_json({**trained.to_dict(), "saved": saved, "active": active})
            return
        if trained.gains:
            out.print(_gains(trained))
        out.print(trained.reason, markup=False, soft_wrap=True)
        if saved is not None:
            out.print(_next(folder, saved, before, active=activate), markup=False, soft_wrap=True)


def _next(folder: Path, saved: str, before: str | None, *, active: bool) -> str:
    """Return what was saved, and how to go back or on."""
    if not active:
        use = shlex.join(["twofold", "settings", str(folder), "--use", saved])
        return f"saved as {saved!r} and not in use; to use it: {use}"
    back = shlex.join(
        ["twofold", "settings", str(folder), "--use", before if before is not None else DEFAULT]
    )
    return f"saved as {saved!r} and in use; to go back: {back}"


def _gains(trained: Trained) -> Table:
    """Return what held-out queries gain, by mode and group."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(f"{trained.plan.measure}, held out")
    for head in ("queries", "before", "after", "gain"):
        table.add_column(head, justify="right")
    rows: list[tuple[str, Gain]] = [
        (f"{each.mode}, {each.group} passages" if each.group != "all" else each.mode, each)
        for each in trained.gains
    ]
    if trained.forgotten is not None:
        rows.append((f"{trained.forgotten.mode}, another kind of queries", trained.forgotten))
    for label, each in rows:
        gain = each.interval
        table.add_row(
            label,
            f"{each.queries:,}",
            f"{each.before:.4f}",
            f"{each.after:.4f}",
            f"{gain.mean:+.4f} ({gain.low:+.3f} to {gain.high:+.3f})",
        )
    return table


@contextmanager
def _live(*, quiet: bool) -> Iterator[Report | None]:
    """Draw a bar with the loss and nDCG of the epoch on standard error."""
    if quiet or not err.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}"))
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("training", total=1.0, said="")

        def say(step: Step) -> None:
            epoch, said = step.epoch, ""
            if epoch is not None:
                loss = f"loss {epoch.loss:.3f}" if epoch.loss is not None else "base"
                score = f", nDCG@10 {epoch.ndcg:.4f}" if epoch.ndcg is not None else ""
                said = f"epoch {epoch.number}: {loss}{score}"
            bar.update(task, description=step.stage, completed=step.done, said=said)

        yield say
