"""Fine-tuning of an encoder that is kept only if held-out queries are better for it."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from twofold import __version__
from twofold.encoders import SentenceTransformerEncoder
from twofold.errors import InputError
from twofold.evaluation import queries_needed
from twofold.index import Index
from twofold.training.checking import check_extra, check_new_folder
from twofold.training.encoder_plan import EncoderPlan
from twofold.training.examination import Examination
from twofold.training.fine_tuned import FineTuned, written_card
from twofold.training.gain import Gain, Values, gains_of
from twofold.training.lesson import usable
from twofold.training.run import Say
from twofold.training.splitting import split
from twofold.training.tower_run import Examined, TowerRun
from twofold.training.training_set import TrainingSet
from twofold.training.verdict import too_few, verdict
from twofold.types import Mask, Mode

_STOPPING = 0.1  # of the queries that are learned from, those that say when to stop instead


def train_encoder(
    index: Index,
    training_set: TrainingSet,
    to: str | Path,
    *,
    plan: EncoderPlan | None = None,
    progress: Say | None = None,
) -> FineTuned:
    """Fine-tune a copy of the index's encoder into the folder ``to``; the index stays as it is.

    Contrastive learning by sentence-transformers' trainer: InfoNCE over the passages of a batch and
    mined negatives (Karpukhin et al., Dense Passage Retrieval, EMNLP 2020), which are random in the
    first epoch, and drawn anew by the model as it is then where ``plan.remine`` says so (Xiong et
    al., ANCE, ICLR 2021). A share of the queries is never learned from. Some of them choose the
    epoch, the base among the candidates, and the others judge it: the model is kept if their gain
    is sure, and neither queries whose passages were never learned from nor queries of another kind
    lose. What a killed run had done is in ``to/training``, and the same call goes on from there.

    ``progress`` is called after each epoch. Needs the extra ``train``. Raises MissingExtraError,
    InputError for an encoder that isn't a sentence-transformers model, for a folder that is taken
    and for what can't be learned from, QueryError.
    """
    plan = plan if plan is not None else EncoderPlan()
    folder = _checked(index, Path(to))
    with index.view() as view:
        known = usable(view, training_set)
    if len(known) < plan.fewest:
        reason = too_few(len(known), plan.fewest)
        return FineTuned(None, kept=False, reason=reason, queries=len(known), needed=plan.fewest)
    parts = split(known, plan.held_out, seed=plan.seed)
    inner = split(parts.fit, _STOPPING, seed=plan.seed)
    asked = parts.held.joined(inner.held)
    exam = Examination.of(index, asked, inner.fit, plan.checked_passages, plan.measure)
    encoder = index.encoder
    assert isinstance(encoder, SentenceTransformerEncoder)  # checked before
    work = folder / "training"
    work.mkdir(parents=True, exist_ok=True)
    judges = np.array([each.query_id in parts.held.queries for each in exam.held], np.bool_)
    run = TowerRun(index, encoder, inner.fit, exam, ~judges, plan, work)
    examined = run.run(progress)
    done = _judged(exam, examined, judges, inner.fit, plan)
    if done.kept:
        run.write(folder)
        written_card(folder, done)
    shutil.rmtree(work)
    if not done.kept:
        folder.rmdir()
        return done
    return replace(done, folder=folder)


def _checked(index: Index, folder: Path) -> Path:
    """Return the folder if a model can be trained into it, before anything heavy starts."""
    check_extra()
    encoder = index.encoder
    if not isinstance(encoder, SentenceTransformerEncoder):
        raise InputError(
            f"the index's encoder is {type(encoder).__name__}, and fine-tuning is for "
            "sentence-transformers models: train_adapter works for any encoder"
        )
    return check_new_folder(folder)


def _judged(
    exam: Examination, examined: Examined, judges: Mask, learned: TrainingSet, plan: EncoderPlan
) -> FineTuned:
    """Return the outcome by the queries that neither taught nor chose."""
    before, after = _part(examined.base[0], judges), _part(examined.chosen[0], judges)
    gains = gains_of(before, after, exam.unseen(learned)[judges], level=plan.level)
    mode: Mode = "hybrid" if "hybrid" in before else "dense"
    forgotten = _forgotten(examined, plan.level)
    kept, reason = verdict(gains, forgotten, mode, plan)
    if examined.best == 0:
        kept, reason = False, "the base stays: no epoch was better for the queries that chose"
    differences = after[mode] - before[mode]
    card = {
        "twofold": __version__,
        "data": learned.digest,
        "queries": len(learned),
        "held_out": int(judges.sum()),
        "temperature": plan.temperature,
        "batch": plan.batch,
        "learning_rate": plan.learning_rate,
        "epoch": examined.best,
        "towers": plan.towers,
        "dims": list(plan.dims),
        "mix": dict(plan.mining.counts),
        "remine": plan.remine,
        "seed": plan.seed,
        "gains": [each.to_dict() for each in gains],
    }
    return FineTuned(
        folder=None,
        kept=kept,
        reason=reason,
        queries=len(learned) + len(exam.held),
        passages=len(exam.passages),
        gains=gains,
        forgotten=forgotten,
        curve=examined.curve,
        epoch=examined.best,
        turnover=examined.turnover,
        needed=queries_needed(differences, level=plan.level) if differences.mean() > 0 else None,
        card=card,
    )


def _part(values: Values, mask: Mask) -> Values:
    return {mode: each[mask] for mode, each in values.items()}


def _forgotten(examined: Examined, level: float) -> Gain | None:
    """Return what becomes of queries of another kind, in the mode that the index serves."""
    before, after = examined.base[1], examined.chosen[1]
    if before is None or after is None:
        return None
    mode = next(iter(before))
    count = len(before[mode])
    flags = np.zeros(count, np.bool_)
    return gains_of({mode: before[mode]}, {mode: after[mode]}, flags, level=level)[0]
