"""Fine-tuning of an encoder that is kept only if held-out queries are better for it."""

from dataclasses import replace
from pathlib import Path

from twofold.encoders import SentenceTransformerEncoder
from twofold.errors import InputError
from twofold.index import Index
from twofold.training.checking import WORK, check_extra, check_new_folder
from twofold.training.encoder_course import EncoderCourse
from twofold.training.encoder_plan import EncoderPlan
from twofold.training.examination import Examination
from twofold.training.fine_tuned import FineTuned, settled
from twofold.training.held_out import HeldOut, carded
from twofold.training.lesson import beside, usable
from twofold.training.mining import for_legs
from twofold.training.record import Marks, Record
from twofold.training.run import Run, Say
from twofold.training.towers import check_model
from twofold.training.training_set import TrainingSet
from twofold.training.verdict import too_few


def train_encoder(
    index: Index,
    training_set: TrainingSet,
    to: str | Path,
    *,
    plan: EncoderPlan | None = None,
    extra: TrainingSet | None = None,
    progress: Say | None = None,
) -> FineTuned:
    """Fine-tune a copy of the index's encoder into the folder ``to``; the index stays as it is.

    Contrastive learning by sentence-transformers' trainer: InfoNCE over the passages of a batch and
    mined negatives (Karpukhin et al., Dense Passage Retrieval, EMNLP 2020), which are random in the
    first epoch, and drawn anew by the model as it is then where ``plan.remine`` says so (Xiong et
    al., ANCE, ICLR 2021); or what a ``plan.teacher`` makes of them. A share of the queries is never
    learned from. Some of them choose the epoch, the base among the candidates, and the others judge
    it: the model is kept if their gain is sure, and neither queries whose passages were never
    learned from nor queries of another kind lose. What a killed run had done is in ``to/training``,
    and the same call goes on from there.

    ``extra`` examples, such as ``synthetic`` ones, are learned from and judge nothing.
    ``progress`` is called after each epoch. Needs the extra ``train``. Raises MissingExtraError,
    InputError for an encoder that isn't a sentence-transformers model, for a folder that is taken
    and for what can't be learned from, QueryError.
    """
    plan = plan if plan is not None else EncoderPlan()
    encoder, folder = _checked(index, plan, Path(to))
    with index.view() as view:
        known = usable(view, training_set)
        more = beside(view, known, extra)
        generation = view.generation
    if len(known) < plan.fewest:
        reason = too_few(len(known), plan.fewest)
        return FineTuned(None, kept=False, reason=reason, queries=len(known), needed=plan.fewest)
    for each in (plan.teacher, plan.mining.reranker if plan.mining is not None else None):
        if each is not None:
            each.rerank([known[0].query], [[known[0].query]])  # one that can't be had says so now
    if plan.mining is not None:
        plan = replace(plan, mining=for_legs(index, plan.mining))
    held = HeldOut.of(known, plan, more)
    learned = held.learned
    most = plan.checked_passages
    exam = Examination.of(index, held.asked, known, learned, most, plan.measure)
    course = EncoderCourse(index, learned, exam, plan)
    record = Record(
        folder / WORK,
        f"{known.digest} {more.digest} {generation} {encoder.identity.fingerprint} {plan.key}",
    )
    run = Run(course, plan, record, ~held.judges, progress)
    run.run()
    after, blend = _blended(course, record, run, plan)
    model = record.model if blend == 1.0 else record.blend
    done = held.judged(record.marks[0], after, record, plan, len(known))
    card = carded(
        done.card,
        extra=len(more),
        temperature=plan.temperature,
        blend=blend,
        towers=plan.towers,
        dims=list(plan.dims),
        mix=dict(plan.mining.counts) if plan.mining is not None else {},
        remine=plan.remine,
        teacher=repr(plan.teacher) if plan.teacher is not None else None,
    )
    done = replace(done, passages=len(exam.passages), card=card)
    return settled(done, record, model, folder)


def _checked(
    index: Index, plan: EncoderPlan, folder: Path
) -> tuple[SentenceTransformerEncoder, Path]:
    """Return the encoder and the folder if one can be trained into the other, before the work."""
    check_extra()
    encoder = index.encoder
    if not isinstance(encoder, SentenceTransformerEncoder):
        raise InputError(
            f"the index's encoder is {type(encoder).__name__}, and fine-tuning is for "
            "sentence-transformers models: train_adapter works for any encoder"
        )
    with index.view() as view:
        if view.snapshot.adapting.adapter is not None:
            raise InputError(
                "an adapter is in use, which is for the encoder as it is and would be lost with "
                "it: put the defaults to use first (index.settings.use(None)), or train_adapter"
            )
    check_model(encoder, plan)
    check_new_folder(folder)
    return encoder, folder


def _blended(
    course: EncoderCourse, record: Record, run: Run, plan: EncoderPlan
) -> tuple[Marks, float]:
    """Return the marks of the best blend of the best epoch with the base, and its share."""
    best = record.marks[record.best]
    if record.best == 0 or plan.blends == (1.0,):
        return best, 1.0
    tried: dict[float, Marks] = {}
    for share in plan.blends:
        if share == 1.0:
            tried[share] = best
        else:
            course.blend(record.model, share)
            tried[share] = course.examined()
    chosen = max(tried, key=lambda share: run.mean(tried[share]))
    if chosen != 1.0:
        course.blend(record.model, chosen)
        course.save(record.blend)
    return tried[chosen], chosen
