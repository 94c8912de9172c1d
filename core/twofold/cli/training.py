"""The verb ``train``."""

import datetime as dt
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn

from twofold.cli.console import Folder, Json, check_target, err, out, print_json, running
from twofold.cli.fine_tuning import fine_tune
from twofold.cli.gains import gains_table
from twofold.corpus import read_qrels, read_queries
from twofold.errors import InputError
from twofold.evaluation.figure import check_picture
from twofold.index import DEFAULT, Index
from twofold.training import (
    AdapterPlan,
    EncoderPlan,
    Step,
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
    full: Annotated[
        bool,
        typer.Option("--full/--adapter", help="Fine-tune the encoder itself; with --to."),
    ] = False,
    to: Annotated[Path | None, typer.Option(help="A new folder for the fine-tuned model.")] = None,
    epochs: Annotated[int | None, typer.Option(help="At most; 3 with --full.")] = None,
    batch: Annotated[int | None, typer.Option(help="Pairs in a step; 32 with --full.")] = None,
    max_length: Annotated[
        int | None, typer.Option(help="Tokens read in fine-tuning, all if left out.")
    ] = None,
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
    """Learn from judged queries; keep what was learned only if held-out queries gain.

    A map of query vectors, an adapter: nothing is encoded or indexed again, it is saved with its
    setting and in use from then on; deleting its file undoes it, too. Or, with --full, the encoder
    itself: what is kept is a model of its own, and the index is encoded anew while it serves.
    """
    with running(), Index.open(folder, create=False) as target:
        for path in (report, plot):
            check_target(path)  # before the work
        if plot is not None:
            check_picture(plot)
        _check_options(
            full,
            {"--report": report, "--plot": plot, "--name": name},
            {"--to": to, "--max-length": max_length},
        )
        if full:
            usual = EncoderPlan()
            plan_of_all = EncoderPlan(
                temperature=temperature,
                epochs=epochs if epochs is not None else usual.epochs,
                batch=batch if batch is not None else usual.batch,
                max_length=max_length,
                seed=seed,
            )
            training_set = TrainingSet.of_qrels(read_queries(queries), read_qrels(qrels))
            fine_tune(
                folder, target, training_set, to, plan_of_all, activate=activate, as_json=as_json
            )
            return
        own = AdapterPlan()
        plan = AdapterPlan(
            temperature=temperature,
            pull=pull,
            epochs=epochs if epochs is not None else own.epochs,
            batch=batch if batch is not None else own.batch,
            seed=seed,
        )
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
            out.print(gains_table(plan.measure, trained.gains, trained.forgotten))
        out.print(trained.reason, markup=False, soft_wrap=True)
        if saved is not None:
            out.print(_next(folder, saved, before, active=activate), markup=False, soft_wrap=True)


def _check_options(
    full: bool, of_adapters: Mapping[str, object], of_encoders: Mapping[str, object]
) -> None:
    """Raise InputError for options that would be ignored."""
    others = of_adapters if full else of_encoders
    given = [name for name, value in others.items() if value is not None]
    if given:
        wrong = "doesn't go with --full" if full else "needs --full"
        raise InputError(f"{given[0]} {wrong}: leave it out")


def _next(folder: Path, saved: str, before: str | None, *, active: bool) -> str:
    """Return what was saved, and how to go back or on."""
    if not active:
        use = shlex.join(["twofold", "settings", str(folder), "--use", saved])
        return f"saved as {saved!r} and not in use; to use it: {use}"
    back = shlex.join(
        ["twofold", "settings", str(folder), "--use", before if before is not None else DEFAULT]
    )
    return f"saved as {saved!r} and in use; to go back: {back}"


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
