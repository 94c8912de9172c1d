"""Fine-tuning of an index's encoder or of a cross-encoder, behind ``twofold train --to``."""

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich import box
from rich.table import Table

from twofold.cli.console import err, out, print_json, progress
from twofold.index import Index
from twofold.rerank import reranker_from_name
from twofold.training import (
    EncoderPlan,
    Epoch,
    FineTunedModel,
    Gain,
    RerankerPlan,
    TrainingSet,
    train_encoder,
    train_reranker,
)
from twofold.training.finetuning.plans import FineTuningPlan


def gains_table(measure: str, gains: Sequence[Gain], forgotten: Gain | None) -> Table:
    """Return what held-out queries gain, by mode and group, and what others lose."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(f"{measure}, held out")
    for head in ("queries", "before", "after", "gain"):
        table.add_column(head, justify="right")
    rows: list[tuple[str, Gain]] = [
        (f"{each.mode}, {each.group} passages" if each.group != "all" else each.mode, each)
        for each in gains
    ]
    if forgotten is not None:
        rows.append((f"{forgotten.mode}, another kind of queries", forgotten))
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


def fine_tune(
    target: Index,
    training_set: TrainingSet,
    extra: TrainingSet | None,
    to: Path,
    plan: EncoderPlan,
    *,
    activate: bool,
    as_json: bool,
) -> FineTunedModel:
    """Fine-tune, and say what held-out queries gain; ``serve`` comes next."""
    if activate:
        target.profiles.use(target.profiles.active)  # takes the write lock now, not after the work
    with _live(plan, quiet=as_json) as say:
        tuned = train_encoder(target, training_set, to, plan=plan, extra=extra, progress=say)
    if not as_json:
        _said(tuned)
    return tuned


def serve(target: Index, tuned: FineTunedModel, *, activate: bool, as_json: bool) -> None:
    """Encode the index anew by what is kept, if it is to be active, and say the way back."""
    with target.view() as view:
        before = view.snapshot.settings.encoder
    encoded = 0
    # By its whole path: an index may be opened from anywhere.
    model = str(tuned.folder.resolve()) if tuned.folder is not None else ""
    if tuned.accepted and activate:
        with progress("encoding", len(target), quiet=as_json) as report:
            encoded = target.reencode(model, progress=report)
    if as_json:
        print_json({**tuned.to_dict(), "encoded": encoded, "active": encoded > 0})
    elif tuned.accepted:
        said = f"{encoded:,} texts encoded by it" if encoded else "not in use"
        verb, name = ("to go back", str(before)) if encoded else ("to use it", model)
        command = shlex.join(["twofold", "reencode", str(target.path), name])
        _line(f"written to {tuned.folder}, {said}; {verb}: {command}")


def tune_reranker(
    target: Index,
    training_set: TrainingSet,
    to: Path,
    base: str,
    plan: RerankerPlan,
    *,
    as_json: bool,
) -> FineTunedModel:
    """Train a cross-encoder, and say what reranking by it gives held-out queries."""
    reranker = reranker_from_name(base)
    with _live(plan, quiet=as_json) as say:
        tuned = train_reranker(target, training_set, to, base=reranker, plan=plan, progress=say)
    if as_json:
        print_json(tuned.to_dict())
        return tuned
    _said(tuned)
    if tuned.accepted:
        use = shlex.join(["twofold", "search", str(target.path), "QUERY", "--rerank", str(to)])
        _line(f"written to {to}; to use it: {use}")
    return tuned


def _said(tuned: FineTunedModel) -> None:
    if tuned.gains:
        out.print(gains_table(tuned.measure, tuned.gains, tuned.forgotten))
    _line(tuned.reason)


def _line(text: str) -> None:
    out.print(text, markup=False, soft_wrap=True)


@contextmanager
def _live(plan: FineTuningPlan, *, quiet: bool) -> Iterator[Callable[[Epoch], None] | None]:
    """Say each epoch's loss and nDCG on standard error; an epoch may take many minutes."""
    if quiet:
        yield None
        return

    def say(epoch: Epoch) -> None:
        loss = f"loss {epoch.loss:.3f}, " if epoch.loss is not None else "as it is, "
        err.print(f"epoch {epoch.number} of {plan.epochs}: {loss}{plan.measure} {epoch.ndcg:.4f}")

    yield say
