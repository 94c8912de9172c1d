"""The command ``train``: trains a query adapter, the encoder, or a cross-encoder."""

import datetime as dt
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

from rich.table import Table
from typer import Option

from twofold import training
from twofold.backends.remote_index import StoredIndex
from twofold.backends.urls import hide_password
from twofold.cli.console import (
    Json,
    OptionalQrels,
    OptionalQueries,
    Target,
    check_target,
    open_target,
    print_error,
    print_result,
    profiles_command,
    progress,
    title_of,
)
from twofold.cli.measure_tables import gains_table
from twofold.corpus import read_qrels, read_queries
from twofold.errors import InputError
from twofold.evaluation.plots import check_plot_path
from twofold.index import Index
from twofold.rerank import reranker_from_name
from twofold.retriever import Retriever
from twofold.training.adapter.result import choose_name
from twofold.training.finetuning.plans import FineTuningPlan


class GeneratorName(str, Enum):
    """The query generators."""

    TITLES = "titles"
    FIRST_SENTENCES = "first-sentences"
    HEADINGS = "headings"
    KEYPHRASES = "keyphrases"


_GENERATORS: dict[GeneratorName, training.QueryGenerator] = {
    GeneratorName.TITLES: training.Titles(),
    GeneratorName.FIRST_SENTENCES: training.FirstSentences(),
    GeneratorName.HEADINGS: training.Headings(),
    GeneratorName.KEYPHRASES: training.Keyphrases(),
}
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
"""By option name, the kinds of training that accept it; other kinds refuse it."""
_PROPENSITY = "Position bias of clicks: eta in position ** -eta, or 'estimated'. Default: 1."
_GENERATE = "Also train on queries generated from passages; repeatable."
_ACTIVATE = "Use an accepted result at once."
_FULL = "Fine-tune the encoder itself; needs --to."
_RERANKER = "Fine-tune a copy of this cross-encoder instead; needs --to."
_BATCH = "Pairs per step. Default: 128, --full 32, --reranker 16."
_IDENTITY_L2 = "L2 penalty that keeps the adapter near the identity. Default: 0.003."
_NAME = "Name of the saved query adapter and its profile, which must be new."
_UNUSED = "trained, or trained-2, trained-3 ..."


def train(
    target: Target,
    queries: OptionalQueries = None,
    qrels: OptionalQrels = None,
    triples: Annotated[Path | None, Option(help="TSV of query, positive, negative texts.")] = None,
    id_triples: Annotated[Path | None, Option(help="TSV of ids; --queries has texts.")] = None,
    dpr: Annotated[Path | None, Option(help="Questions with contexts, in DPR's JSON.")] = None,
    clicks: Annotated[Path | None, Option(help="JSON lines: query, shown, clicked, dwell.")] = None,
    propensity: Annotated[str | None, Option(help=_PROPENSITY)] = None,
    generate: Annotated[list[GeneratorName] | None, Option(help=_GENERATE)] = None,
    name: Annotated[str | None, Option(help=_NAME, show_default=_UNUSED)] = None,
    activate: Annotated[bool, Option("--activate/--no-activate", help=_ACTIVATE)] = True,
    full: Annotated[bool, Option("--full/--adapter", help=_FULL)] = False,
    reranker: Annotated[str | None, Option(help=_RERANKER)] = None,
    to: Annotated[Path | None, Option(help="New folder for the fine-tuned model.")] = None,
    epochs: Annotated[int | None, Option(help="Maximum. Default: 30, or 3 for models.")] = None,
    patience: Annotated[int | None, Option(help="Epochs without gain. Default: 6 or 1.")] = None,
    batch: Annotated[int | None, Option(help=_BATCH)] = None,
    max_length: Annotated[int | None, Option(help="Tokens read of a text. Default: all.")] = None,
    remine: Annotated[bool | None, Option("--remine", help="Mine anew in each epoch.")] = None,
    teacher: Annotated[str | None, Option(help="Cross-encoder whose margins to learn.")] = None,
    learning_rate: Annotated[float | None, Option(help="Default: 0.001, models 2e-5.")] = None,
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
    with open_target(target) as index:
        files = _TrainingFiles(
            queries, qrels, triples, id_triples, dpr, clicks, propensity, tuple(generate or ())
        )
        for path in (report, plot):
            check_target(path)
        if plot is not None:
            check_plot_path(plot)
        if full and reranker is not None:
            raise InputError("--full and --reranker are two trainings: omit one of them")
        trainer = _Trainer(index, target, files, activate, as_json)
        kind = "--full" if full else "--reranker" if reranker is not None else _ADAPTER
        if kind != _ADAPTER and not isinstance(index, Index):
            raise InputError(
                f"{kind} takes an index in a folder: pull it, train, and push it to a new name"
            )
        _check_options(kind, options)
        given = _select_given(options, "epochs", "patience", "batch", "learning_rate")
        trained: training.TrainedAdapter | training.FineTunedModel
        if kind == _ADAPTER:
            given |= _select_given(options, "temperature", "identity_l2")
            plan = training.AdapterPlan(seed=seed, **given)
            trained = trainer.train_adapter(plan, name)
        elif to is None:
            raise InputError(f"{kind} writes a model: give --to FOLDER")
        elif reranker is not None:
            ranking = training.RerankerPlan(seed=seed, **given)
            trained = trainer.train_reranker(to, reranker, ranking)
        else:
            given |= _select_given(options, "temperature", "max_length", "remine")
            model = reranker_from_name(teacher) if teacher is not None else None
            tuning = training.EncoderPlan(seed=seed, teacher=model, **given)
            trained = trainer.train_encoder(to, tuning)
        if plot is not None and trained.gains:
            training.plot_curves(trained, plot)
        elif plot is not None:
            print_error("warning", f"{plot} isn't written: there were no epochs to plot")
        if report is not None:
            date = dt.datetime.now(tz=dt.timezone.utc).date().isoformat()
            text = training.training_report(trained, title=title_of(target), date=date)
            report.write_text(text, encoding="utf-8")
        if full and isinstance(trained, training.FineTunedModel):
            trainer.reencode(trained)


@dataclass(frozen=True, slots=True)
class _TrainingFiles:
    """Input files and query generators of ``train``; InputError for an invalid combination."""

    queries: Path | None
    qrels: Path | None
    triples: Path | None
    id_triples: Path | None
    dpr: Path | None
    clicks: Path | None
    propensity: str | None
    generators: tuple[GeneratorName, ...]

    def __post_init__(self) -> None:
        if not self._has_files and not self.generators:
            raise InputError(
                "there is nothing to learn from: give --queries with --qrels, or --triples, "
                "--id-triples, --dpr, --clicks or --generate"
            )
        needs_queries = self.qrels is not None or self.id_triples is not None
        if needs_queries != (self.queries is not None):
            raise InputError("--qrels or --id-triples, and --queries, need each other: give both")
        if self.propensity is not None and self.clicks is None:
            raise InputError("--propensity goes with --clicks: give both")
        self._click_plan()

    @property
    def _has_files(self) -> bool:
        files = (self.qrels, self.triples, self.id_triples, self.dpr, self.clicks)
        return any(path is not None for path in files)

    def _click_plan(self) -> training.ClickPlan:
        if self.propensity is None:
            return training.ClickPlan()
        if self.propensity == "estimated":
            return training.ClickPlan(propensity="estimated")
        try:
            power = float(self.propensity)
        except ValueError:
            raise InputError(
                f"--propensity must be a number >= 0 or 'estimated', got {self.propensity!r}"
            ) from None
        return training.ClickPlan(propensity=power)

    def read(self, index: StoredIndex) -> tuple[training.TrainingSet, training.TrainingSet | None]:
        """Return judged examples, and generated ones that are only trained on, or None.

        A generated query is kept if a search with it finds its passage. Without files, the
        generated examples are the judged ones.
        """
        extra = None
        if self.generators:
            generators = [_GENERATORS[name] for name in dict.fromkeys(self.generators)]
            generated = training.generate_examples(index, generators)
            extra = training.filter_round_trip(generated, Retriever(index)).accepted
            if not self._has_files:
                return extra, None
        texts = read_queries(self.queries) if self.queries is not None else {}
        sets: list[training.TrainingSet] = []
        if self.qrels is not None:
            sets.append(training.TrainingSet.from_qrels(texts, read_qrels(self.qrels)))
        if self.triples is not None:
            sets.append(training.read_triples(self.triples))
        if self.id_triples is not None:
            sets.append(training.read_id_triples(self.id_triples, texts))
        if self.dpr is not None:
            sets.append(training.read_dpr(self.dpr))
        if self.clicks is not None:
            sessions = training.read_clicks(self.clicks)
            sets.append(training.examples_from_clicks(sessions, self._click_plan()))
        return sets[0].join(*sets[1:]), extra


@dataclass(frozen=True, slots=True)
class _Trainer:
    """Trains on an index, and prints the outcome. If ``activate``, an accepted result is used."""

    index: StoredIndex
    target: str
    files: _TrainingFiles
    activate: bool
    as_json: bool

    def train_adapter(
        self, plan: training.AdapterPlan, name: str | None
    ) -> training.TrainedAdapter:
        """Train a query adapter, and save it if it is accepted."""
        index = self.index
        name = name if name is not None else choose_name(index)
        index.query_adapters.new_name(name)  # fail early
        index.profiles.new_name(name)
        before = index.profiles.active
        index.profiles.use(before)  # takes the write lock before the training
        examples, extra = self.files.read(index)
        with progress("training", 100, quiet=self.as_json) as report:

            def show(step: training.TrainingProgress) -> None:
                if report is not None:
                    epoch = _format_epoch(step.epoch) if step.epoch is not None else ""
                    report(100 * step.done, label=f"{step.stage} {epoch}")

            trained = training.train_adapter(index, examples, plan=plan, extra=extra, progress=show)
        saved, text = None, []
        if trained.accepted:
            saved = training.keep(index, trained, name=name, use=self.activate)
            state, verb = ("in use", "to go back") if self.activate else ("not in use", "to use it")
            command = profiles_command(self.target, before if self.activate else saved)
            text = [f"saved as {saved!r} and {state}; {verb}: {command}"]
        active = saved is not None and self.activate
        value = {**trained.to_dict(), "saved": saved, "active": active}
        print_result(self.as_json, value, *_format_outcome(trained), *text)
        return trained

    def train_encoder(self, to: Path, plan: training.EncoderPlan) -> training.FineTunedModel:
        """Fine-tune the encoder, and print the outcome; under ``as_json``, ``reencode`` does."""
        examples, extra = self.files.read(self.index)
        if self.activate:
            self.index.profiles.use(self.index.profiles.active)  # takes the write lock early
        assert isinstance(self.index, Index)  # as checked
        tuned = training.train_encoder(
            self.index, examples, to, plan=plan, extra=extra, progress=self._epoch_printer(plan)
        )
        if not self.as_json:
            print_result(False, None, *_format_outcome(tuned))
        return tuned

    def reencode(self, tuned: training.FineTunedModel) -> None:
        """Encode all passages with an accepted model if ``activate``; print how to undo it."""
        assert isinstance(self.index, Index)  # as checked
        before, encoded = self.index.encoder_name, 0
        # An absolute path, because the index may be opened from another folder.
        model = str(tuned.folder.resolve()) if tuned.folder is not None else ""
        if tuned.accepted and self.activate:
            with progress("encoding", len(self.index), quiet=self.as_json) as report:
                encoded = self.index.reencode(model, progress=report)
        state, verb, name = "not in use", "to use it", model
        if encoded:
            state, verb, name = f"{encoded:,} texts encoded by it", "to go back", str(before)
        command = shlex.join(["twofold", "reencode", str(self.index.path), name])
        text = [f"written to {tuned.folder}, {state}; {verb}: {command}"] if tuned.accepted else []
        value = {**tuned.to_dict(), "encoded": encoded, "active": encoded > 0}
        print_result(self.as_json, value, *text)

    def train_reranker(
        self, to: Path, base: str, plan: training.RerankerPlan
    ) -> training.FineTunedModel:
        """Fine-tune a copy of the cross-encoder ``base`` in ``to``, and print the outcome."""
        assert isinstance(self.index, Index)  # as checked
        examples, _ = self.files.read(self.index)
        reranker, show = reranker_from_name(base), self._epoch_printer(plan)
        tuned = training.train_reranker(
            self.index, examples, to, base=reranker, plan=plan, progress=show
        )
        search = ["twofold", "search", hide_password(self.target), "QUERY", "--rerank", str(to)]
        text = [f"written to {to}; to use it: {shlex.join(search)}"] if tuned.accepted else []
        print_result(self.as_json, tuned.to_dict(), *_format_outcome(tuned), *text)
        return tuned

    def _epoch_printer(self, plan: FineTuningPlan) -> Callable[[training.Epoch], None] | None:
        """Return a function that prints each epoch on standard error; None for JSON."""

        def show(epoch: training.Epoch) -> None:
            text = _format_epoch(epoch, plan.measure)
            print_error(f"epoch {epoch.number} of {plan.epochs}", text)

        return None if self.as_json else show


def _format_outcome(
    trained: training.TrainedAdapter | training.FineTunedModel,
) -> list[Table | str]:
    """Return a table of the gains, if any, and the reason to accept or reject the result."""
    table = gains_table(trained.measure, trained.gains, trained.forgotten)
    return [table, trained.reason] if trained.gains else [trained.reason]


def _format_epoch(epoch: training.Epoch, measure: str = "nDCG@10") -> str:
    loss = f"loss {epoch.loss:.3f}" if epoch.loss is not None else "base"
    return f"{loss}, {measure} {epoch.ndcg:.4f}" if epoch.ndcg is not None else loss


def _select_given(options: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return those of the named options that were set; the plan has defaults for the rest."""
    return {name: options[name] for name in names if options[name] is not None}


def _check_options(kind: str, options: Mapping[str, Any]) -> None:
    """Raise InputError for an option that this kind of training would ignore."""
    for name, trainings in _TRAININGS.items():
        if options[name] not in (None, (), []) and kind not in trainings:
            option, allowed = "--" + name.replace("_", "-"), " and ".join(trainings)
            raise InputError(f"{option} is for {allowed}, not for {kind}: leave it out")
