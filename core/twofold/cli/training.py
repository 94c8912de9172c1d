"""The verb ``train``."""

import datetime as dt
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn

from twofold.cli.console import Folder, Json, check_target, err, out, print_json, running
from twofold.cli.fine_tuning import fine_tune, gains_table, serve, tune_reranker
from twofold.cli.training_data import MakerName, TrainingFiles
from twofold.errors import InputError
from twofold.evaluation.plots import check_picture
from twofold.index import DEFAULT, Index
from twofold.rerank import reranker_from_name
from twofold.training import (
    AdapterPlan,
    EncoderPlan,
    FineTunedModel,
    RerankerPlan,
    TrainingProgress,
    TrainedAdapter,
    keep,
    plot_curves,
    train_adapter,
    training_report,
)
from twofold.training.adapter.result import choose_name
from twofold.training.adapter.trainer import ProgressCallback

_ADAPTER = "an adapter"
_FOR = {
    "--name": (_ADAPTER,),
    "--identity-l2": (_ADAPTER,),
    "--temperature": (_ADAPTER, "--full"),
    "--to": ("--full", "--reranker"),
    "--max-length": ("--full",),
    "--remine": ("--full",),
    "--teacher": ("--full",),
    "--made": (_ADAPTER, "--full"),
}
"""What options are for, so that none is ignored."""


def train(
    folder: Folder,
    queries: Annotated[
        Path | None, typer.Option(help="queries.jsonl[.gz], or id and text by tab.")
    ] = None,
    qrels: Annotated[Path | None, typer.Option(help="Judgments, BEIR's or TREC's.")] = None,
    triples: Annotated[
        Path | None, typer.Option(help="Query, answer and negative as texts by tab.")
    ] = None,
    id_triples: Annotated[
        Path | None, typer.Option(help="The same as ids; --queries has the queries' texts.")
    ] = None,
    dpr: Annotated[Path | None, typer.Option(help="Questions with contexts in DPR's JSON.")] = None,
    clicks: Annotated[
        Path | None, typer.Option(help="JSON lines with query, shown, clicked and dwell.")
    ] = None,
    propensity: Annotated[
        str | None,
        typer.Option(help="How fast looks at positions fall: a power, or 'estimated'; 1."),
    ] = None,
    made: Annotated[
        list[MakerName] | None,
        typer.Option(help="Learn from queries made of the passages, too; they judge nothing."),
    ] = None,
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
    reranker: Annotated[
        str | None, typer.Option(help="Train a copy of this cross-encoder instead; with --to.")
    ] = None,
    to: Annotated[Path | None, typer.Option(help="A new folder for the fine-tuned model.")] = None,
    epochs: Annotated[
        int | None, typer.Option(help="At most; 30, or 3 where a model is fine-tuned.")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="Epochs without a gain that end it; 6, or 1.")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help="Pairs in a step; 128, 32 with --full, 16 with --reranker.")
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(help="Tokens read in fine-tuning, all if left out.")
    ] = None,
    remine: Annotated[
        bool | None, typer.Option("--remine", help="Mine negatives anew by each epoch's model.")
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(help="A cross-encoder whose margins --full learns.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="0.001, or 0.00002 where a model is fine-tuned.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Of the softmax over passages; 0.05.")
    ] = None,
    identity_l2: Annotated[
        float | None, typer.Option(help="What holds the map near the identity; 0.003.")
    ] = None,
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
    itself: what is kept is a model of its own, and the index is encoded anew while it serves. Or,
    with --reranker, a cross-encoder that puts what is found in a better order.
    """
    with running(), Index.open(folder, create=False) as target:
        kinds = tuple(made) if made is not None else ()
        files = TrainingFiles(queries, qrels, triples, id_triples, dpr, clicks, propensity, kinds)
        for path in (report, plot):
            check_target(path)  # before the work
        if plot is not None:
            check_picture(plot)
        if full and reranker is not None:
            raise InputError("--full and --reranker are two trainings: leave one of them out")
        kind = "--full" if full else "--reranker" if reranker is not None else _ADAPTER
        _check_options(
            kind,
            {
                "--name": name,
                "--identity-l2": identity_l2,
                "--temperature": temperature,
                "--to": to,
                "--max-length": max_length,
                "--remine": remine,
                "--teacher": teacher,
                "--made": made,
            },
        )
        given = _given(epochs=epochs, patience=patience, batch=batch, learning_rate=learning_rate)
        trained: TrainedAdapter | FineTunedModel
        if kind == _ADAPTER:
            own = _given(temperature=temperature, identity_l2=identity_l2)
            adapting = AdapterPlan(seed=seed, **given, **own)
            trained = _adapt(target, files, adapting, name, activate=activate, as_json=as_json)
        elif to is None:
            raise InputError(f"{kind} writes a model: say where by --to FOLDER")
        elif reranker is not None:
            ranking = RerankerPlan(seed=seed, **given)
            examples, _ = files.read(target)
            trained = tune_reranker(target, examples, to, reranker, ranking, as_json=as_json)
        else:
            own = _given(temperature=temperature, max_length=max_length, remine=remine)
            taught = reranker_from_name(teacher) if teacher is not None else None
            tuning = EncoderPlan(seed=seed, teacher=taught, **given, **own)
            trained = fine_tune(
                target, *files.read(target), to, tuning, activate=activate, as_json=as_json
            )
        if plot is not None and trained.gains:
            plot_curves(trained, plot)
        elif plot is not None:
            err.print(f"nothing to draw in {plot}: there were no epochs", markup=False)
        if report is not None:
            date = dt.datetime.now(tz=dt.timezone.utc).date().isoformat()
            text = training_report(trained, title=str(folder), date=date)
            report.write_text(text, encoding="utf-8")
        if full and isinstance(trained, FineTunedModel):
            serve(target, trained, activate=activate, as_json=as_json)


def _adapt(
    target: Index,
    files: TrainingFiles,
    plan: AdapterPlan,
    name: str | None,
    *,
    activate: bool,
    as_json: bool,
) -> TrainedAdapter:
    """Learn an adapter, save it if it is worth keeping, and say so."""
    # A name that is taken is said before the work.
    name = name if name is not None else choose_name(target)
    target.query_adapters.new_name(name)
    target.profiles.new_name(name)
    before = target.profiles.active
    target.profiles.use(before)  # takes the write lock now, not after the work
    examples, extra = files.read(target)
    with _live(quiet=as_json) as say:
        trained = train_adapter(target, examples, plan=plan, extra=extra, progress=say)
    saved = keep(target, trained, name=name, use=activate) if trained.accepted else None
    if as_json:
        print_json({**trained.to_dict(), "saved": saved, "active": saved is not None and activate})
        return trained
    if trained.gains:
        out.print(gains_table(plan.measure, trained.gains, trained.forgotten))
    out.print(trained.reason, markup=False, soft_wrap=True)
    if saved is not None:
        said = _next(Path(str(target.path)), saved, before, active=activate)
        out.print(said, markup=False, soft_wrap=True)
    return trained


def _given(**options: object) -> dict[str, Any]:
    """Return the options that were given: a plan's own values stand for the others."""
    return {name: value for name, value in options.items() if value is not None}


def _check_options(kind: str, options: Mapping[str, object]) -> None:
    """Raise InputError for an option that would be ignored."""
    for name, value in options.items():
        if value is not None and kind not in _FOR[name]:
            wanted = " and ".join(_FOR[name])
            raise InputError(f"{name} is for {wanted}, not for {kind}: leave it out")


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
def _live(*, quiet: bool) -> Iterator[ProgressCallback | None]:
    """Draw a bar with the loss and nDCG of the epoch on standard error."""
    if quiet or not err.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}"))
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("training", total=1.0, said="")

        def say(step: TrainingProgress) -> None:
            epoch, said = step.epoch, ""
            if epoch is not None:
                loss = f"loss {epoch.loss:.3f}" if epoch.loss is not None else "base"
                score = f", nDCG@10 {epoch.ndcg:.4f}" if epoch.ndcg is not None else ""
                said = f"epoch {epoch.number}: {loss}{score}"
            bar.update(task, description=step.stage, completed=step.done, said=said)

        yield say
