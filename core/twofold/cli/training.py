"""The command ``train``."""

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from twofold import training
from twofold.cli.console import (
    Folder,
    Json,
    OptionalQrels,
    OptionalQueries,
    check_target,
    open_index,
    print_error,
)
from twofold.cli.fine_tuning import adapt, fine_tune, serve, tune_reranker
from twofold.cli.training_data import GeneratorName, TrainingFiles
from twofold.errors import InputError
from twofold.evaluation.plots import check_plot_path
from twofold.rerank import reranker_from_name

_ADAPTER = "an adapter"
_TRAININGS = {
    "name": (_ADAPTER,),
    "identity_l2": (_ADAPTER,),
    "temperature": (_ADAPTER, "--full"),
    "to": ("--full", "--reranker"),
    "max_length": ("--full",),
    "remine": ("--full",),
    "teacher": ("--full",),
    "generate": (_ADAPTER, "--full"),
}
"""The trainings that an option is for; the others refuse it."""
_PROPENSITY = "Position bias of clicks: eta in position ** -eta, or 'estimated'. Default: 1."
_GENERATE = "Also train on queries generated from passages; repeatable."
_IDENTITY_L2 = "L2 penalty that keeps the adapter near the identity. Default: 0.003."
_NAME = "Name of the saved query adapter and its profile, which must be new."
_UNUSED = "trained, or trained-2, trained-3 ..."


def train(
    folder: Folder,
    queries: OptionalQueries = None,
    qrels: OptionalQrels = None,
    triples: Annotated[Path | None, Option(help="TSV of query, positive, negative texts.")] = None,
    id_triples: Annotated[Path | None, Option(help="TSV of ids; --queries has texts.")] = None,
    dpr: Annotated[Path | None, Option(help="Questions with contexts, in DPR's JSON.")] = None,
    clicks: Annotated[Path | None, Option(help="JSON lines: query, shown, clicked, dwell.")] = None,
    propensity: Annotated[str | None, Option(help=_PROPENSITY)] = None,
    generate: Annotated[list[GeneratorName] | None, Option(help=_GENERATE)] = None,
    name: Annotated[str | None, Option(help=_NAME, show_default=_UNUSED)] = None,
    activate: Annotated[
        bool, Option("--activate/--no-activate", help="Use an accepted result at once.")
    ] = True,
    full: Annotated[
        bool, Option("--full/--adapter", help="Fine-tune the encoder itself; with --to.")
    ] = False,
    reranker: Annotated[
        str | None, Option(help="Fine-tune a copy of this cross-encoder instead; with --to.")
    ] = None,
    to: Annotated[Path | None, Option(help="New folder for the fine-tuned model.")] = None,
    epochs: Annotated[int | None, Option(help="Maximum. Default: 30, or 3 for models.")] = None,
    patience: Annotated[int | None, Option(help="Epochs without gain. Default: 6 or 1.")] = None,
    batch: Annotated[
        int | None, Option(help="Pairs per step. Default: 128, --full 32, --reranker 16.")
    ] = None,
    max_length: Annotated[int | None, Option(help="Tokens read of a text. Default: all.")] = None,
    remine: Annotated[bool | None, Option("--remine", help="Mine anew in each epoch.")] = None,
    teacher: Annotated[str | None, Option(help="Cross-encoder whose margins to learn.")] = None,
    learning_rate: Annotated[
        float | None, Option(help="Default: 0.001, or 2e-5 for models.")
    ] = None,
    temperature: Annotated[float | None, Option(help="Softmax temperature. Default: 0.05.")] = None,
    identity_l2: Annotated[float | None, Option(help=_IDENTITY_L2)] = None,
    seed: Annotated[int, Option(help="Seed of splits and training.")] = 0,
    as_json: Json = False,
    report: Annotated[Path | None, Option(help="Write a Markdown report to this file.")] = None,
    plot: Annotated[Path | None, Option(help="Write a plot of loss and nDCG as .png.")] = None,
) -> None:
    """Train on judged queries, and accept the result only if held-out queries gain.

    By default, trains a query adapter, a linear map of query vectors. Nothing is encoded again. The
    adapter is saved with a search profile and activated. With --full, fine-tunes a copy of the
    encoder, and encodes the index anew while it serves. With --reranker, fine-tunes a copy of a
    cross-encoder.
    """
    options = locals()  # by name
    with open_index(folder) as index:
        generators = tuple(generate) if generate is not None else ()
        files = TrainingFiles(
            queries, qrels, triples, id_triples, dpr, clicks, propensity, generators
        )
        for path in (report, plot):
            check_target(path)
        if plot is not None:
            check_plot_path(plot)
        if full and reranker is not None:
            raise InputError("--full and --reranker are two trainings: leave one of them out")
        kind = "--full" if full else "--reranker" if reranker is not None else _ADAPTER
        _check_options(kind, options)
        given = _select_given(options, "epochs", "patience", "batch", "learning_rate")
        trained: training.TrainedAdapter | training.FineTunedModel
        if kind == _ADAPTER:
            given |= _select_given(options, "temperature", "identity_l2")
            plan = training.AdapterPlan(seed=seed, **given)
            trained = adapt(index, files, plan, name, activate=activate, as_json=as_json)
        elif to is None:
            raise InputError(f"{kind} writes a model: give --to FOLDER")
        elif reranker is not None:
            ranking = training.RerankerPlan(seed=seed, **given)
            trained = tune_reranker(index, files, to, reranker, ranking, as_json=as_json)
        else:
            given |= _select_given(options, "temperature", "max_length", "remine")
            model = reranker_from_name(teacher) if teacher is not None else None
            tuning = training.EncoderPlan(seed=seed, teacher=model, **given)
            trained = fine_tune(index, files, to, tuning, activate=activate, as_json=as_json)
        if plot is not None and trained.gains:
            training.plot_curves(trained, plot)
        elif plot is not None:
            print_error("warning", f"nothing to draw in {plot}: there were no epochs")
        if report is not None:
            date = dt.datetime.now(tz=dt.timezone.utc).date().isoformat()
            text = training.training_report(trained, title=str(folder), date=date)
            report.write_text(text, encoding="utf-8")
        if full and isinstance(trained, training.FineTunedModel):
            serve(index, trained, activate=activate, as_json=as_json)


def _select_given(options: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return the options that were given; the plan has defaults for the others."""
    return {name: options[name] for name in names if options[name] is not None}


def _check_options(kind: str, options: Mapping[str, Any]) -> None:
    """Raise InputError for an option that the training would ignore."""
    for name, trainings in _TRAININGS.items():
        if options[name] not in (None, (), []) and kind not in trainings:
            option, allowed = "--" + name.replace("_", "-"), " and ".join(trainings)
            raise InputError(f"{option} is for {allowed}, not for {kind}: leave it out")
