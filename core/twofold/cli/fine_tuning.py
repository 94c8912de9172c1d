"""Fine-tuning of an index's encoder, behind ``twofold train --full``."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from twofold.cli.console import err, out, print_json, progress
from twofold.cli.gains import gains_table
from twofold.errors import InputError
from twofold.index import Index
from twofold.training import EncoderPlan, Epoch, FineTuned, TrainingSet, train_encoder


def fine_tune(
    folder: Path,
    target: Index,
    training_set: TrainingSet,
    to: Path | None,
    plan: EncoderPlan,
    *,
    activate: bool,
    as_json: bool,
) -> FineTuned:
    """Fine-tune, say what held-out queries gain, and encode the index anew if it is kept."""
    if to is None:
        raise InputError("--full writes a model: say where by --to FOLDER")
    with _live(plan, quiet=as_json) as say:
        tuned = train_encoder(target, training_set, to, plan=plan, progress=say)
    encoded = 0
    if tuned.kept and activate:
        with progress("encoding", len(target), quiet=as_json) as report:
            encoded = target.reencode(str(to), progress=report)
    if as_json:
        print_json({**tuned.to_dict(), "encoded": encoded, "active": encoded > 0})
        return tuned
    if tuned.gains:
        out.print(gains_table(plan.measure, tuned.gains, tuned.forgotten))
    out.print(tuned.reason, markup=False, soft_wrap=True)
    if tuned.kept:
        said = f"{encoded:,} texts encoded by it" if encoded else "not in use"
        verb = "to go back" if encoded else "to use it"
        name = "THE MODEL OF BEFORE" if encoded else str(to)
        out.print(
            f"written to {to}, {said}; {verb}: twofold reencode {folder} {name}",
            markup=False,
            soft_wrap=True,
        )
    return tuned


@contextmanager
def _live(plan: EncoderPlan, *, quiet: bool) -> Iterator[Callable[[Epoch], None] | None]:
    """Say each epoch's loss and nDCG on standard error; an epoch may take many minutes."""
    if quiet:
        yield None
        return

    def say(epoch: Epoch) -> None:
        loss = f"loss {epoch.loss:.3f}, " if epoch.loss is not None else "as it is, "
        err.print(f"epoch {epoch.number} of {plan.epochs}: {loss}{plan.measure} {epoch.ndcg:.4f}")

    yield say
