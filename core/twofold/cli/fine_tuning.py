"""The verb ``train``: trains a query adapter, the encoder, or a cross-encoder."""

import shlex
from collections.abc import Callable
from pathlib import Path

from twofold import training
from twofold.cli.console import print_error, print_result, profiles_command, progress
from twofold.cli.tables import gains_table
from twofold.cli.training_data import TrainingFiles
from twofold.index import Index
from twofold.rerank import reranker_from_name
from twofold.training.adapter.result import choose_name
from twofold.training.finetuning.plans import FineTuningPlan


def adapt(
    index: Index,
    files: TrainingFiles,
    plan: training.AdapterPlan,
    name: str | None,
    *,
    activate: bool,
    as_json: bool,
) -> training.TrainedAdapter:
    """Train a query adapter, save it if it is accepted, and print the outcome."""
    name = name if name is not None else choose_name(index)
    index.query_adapters.new_name(name)  # fail early
    index.profiles.new_name(name)
    before = index.profiles.active
    index.profiles.use(before)  # takes the write lock before the training
    examples, extra = files.read(index)
    with progress("training", 100, quiet=as_json) as report:

        def show(step: training.TrainingProgress) -> None:
            if report is not None:
                report(100 * step.done, f"{step.stage} {_format_epoch(step.epoch)}")

        trained = training.train_adapter(index, examples, plan=plan, extra=extra, progress=show)
    saved = training.keep(index, trained, name=name, use=activate) if trained.accepted else None
    value = {**trained.to_dict(), "saved": saved, "active": saved is not None and activate}
    _print_outcome(as_json, value, trained)
    if saved is not None and not as_json:
        state, verb = ("in use", "to go back") if activate else ("not in use", "to use it")
        command = profiles_command(index.path, before if activate else saved)
        print_result(False, None, f"saved as {saved!r} and {state}; {verb}: {command}")
    return trained


def fine_tune(
    index: Index,
    files: TrainingFiles,
    to: Path,
    plan: training.EncoderPlan,
    *,
    activate: bool,
    as_json: bool,
) -> training.FineTunedModel:
    """Fine-tune the encoder, and print the outcome as text; ``serve`` comes next."""
    examples, extra = files.read(index)
    if activate:
        index.profiles.use(index.profiles.active)  # takes the write lock before the training
    show = _epoch_printer(plan, quiet=as_json)
    tuned = training.train_encoder(index, examples, to, plan=plan, extra=extra, progress=show)
    if not as_json:
        _print_outcome(False, None, tuned)
    return tuned


def serve(index: Index, tuned: training.FineTunedModel, *, activate: bool, as_json: bool) -> None:
    """Encode the index anew with an accepted model if ``activate``, and print how to go back."""
    before = index.encoder_name
    encoded = 0
    # An absolute path, because the index may be opened from another folder.
    model = str(tuned.folder.resolve()) if tuned.folder is not None else ""
    if tuned.accepted and activate:
        with progress("encoding", len(index), quiet=as_json) as report:
            encoded = index.reencode(model, progress=report)
    state, verb, name = "not in use", "to use it", model
    if encoded:
        state, verb, name = f"{encoded:,} texts encoded by it", "to go back", str(before)
    command = shlex.join(["twofold", "reencode", str(index.path), name])
    text = [f"written to {tuned.folder}, {state}; {verb}: {command}"] if tuned.accepted else []
    print_result(as_json, {**tuned.to_dict(), "encoded": encoded, "active": encoded > 0}, *text)


def tune_reranker(
    index: Index,
    files: TrainingFiles,
    to: Path,
    base: str,
    plan: training.RerankerPlan,
    *,
    as_json: bool,
) -> training.FineTunedModel:
    """Fine-tune a cross-encoder, and print the outcome."""
    examples, _ = files.read(index)
    reranker, show = reranker_from_name(base), _epoch_printer(plan, quiet=as_json)
    tuned = training.train_reranker(index, examples, to, base=reranker, plan=plan, progress=show)
    _print_outcome(as_json, tuned.to_dict(), tuned)
    if tuned.accepted and not as_json:
        command = shlex.join(["twofold", "search", str(index.path), "QUERY", "--rerank", str(to)])
        print_result(False, None, f"written to {to}; to use it: {command}")
    return tuned


def _print_outcome(
    as_json: bool, value: object, trained: training.TrainedAdapter | training.FineTunedModel
) -> None:
    table = (
        [gains_table(trained.measure, trained.gains, trained.forgotten)] if trained.gains else []
    )
    print_result(as_json, value, *table, trained.reason)


def _epoch_printer(plan: FineTuningPlan, *, quiet: bool) -> Callable[[training.Epoch], None] | None:
    """Return a function that prints each epoch on standard error, or None if ``quiet``."""

    def show(epoch: training.Epoch) -> None:
        print_error(f"epoch {epoch.number} of {plan.epochs}", _format_epoch(epoch, plan.measure))

    return None if quiet else show


def _format_epoch(epoch: training.Epoch | None, measure: str = "nDCG@10") -> str:
    if epoch is None:
        return ""
    loss = f"loss {epoch.loss:.3f}" if epoch.loss is not None else "base"
    return f"{loss}, {measure} {epoch.ndcg:.4f}" if epoch.ndcg is not None else loss
