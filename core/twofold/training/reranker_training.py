"""Training of a cross-encoder that is kept only if it ranks held-out queries better."""

from dataclasses import replace
from pathlib import Path

from twofold.index import Index
from twofold.rerank import CrossEncoderReranker
from twofold.training.checking import WORK, check_extra, check_new_folder
from twofold.training.fine_tuned import FineTuned, settled
from twofold.training.held_out import HeldOut, carded
from twofold.training.lesson import usable
from twofold.training.mining import for_legs
from twofold.training.record import Record
from twofold.training.reranker_course import RerankerCourse
from twofold.training.reranker_plan import RerankerPlan
from twofold.training.run import Run, Say
from twofold.training.training_set import TrainingSet
from twofold.training.verdict import too_few


def train_reranker(
    index: Index,
    training_set: TrainingSet,
    to: str | Path,
    *,
    base: CrossEncoderReranker,
    plan: RerankerPlan | None = None,
    progress: Say | None = None,
) -> FineTuned:
    """Train a copy of a cross-encoder into the folder ``to``; index and base stay as they are.

    Binary cross-entropy over answers and mined negatives (Nogueira and Cho, Passage Re-ranking with
    BERT, 2019), by sentence-transformers' trainer. It is kept if reranking by it is a sure gain
    over the index's own order for queries that it never saw, and if those whose passages were never
    learned from lose nothing. What is compared with is no reranking, whatever the base would do.
    What a killed run had done is in ``to/training``, and the same call goes on from there.

    To use it: ``Retriever(index, reranker=CrossEncoderReranker(to))``. Needs the extra ``train``.
    Raises MissingExtraError, InputError, QueryError.
    """
    plan = plan if plan is not None else RerankerPlan()
    check_extra()
    folder = check_new_folder(Path(to))
    with index.view() as view:
        known = usable(view, training_set)
        generation = view.generation
    if len(known) < plan.fewest:
        reason = too_few(len(known), plan.fewest)
        return FineTuned(None, kept=False, reason=reason, queries=len(known), needed=plan.fewest)
    plan = replace(plan, mining=for_legs(index, plan.mining))
    held = HeldOut.of(known, plan)
    course = RerankerCourse(index, held.learned, held.asked, plan, base)
    fingerprint = base.identity.fingerprint
    record = Record(folder / WORK, f"{known.digest} {generation} {fingerprint} {plan.key}")
    Run(course, plan, record, ~held.judges, progress).run()
    done = held.judged(record.marks[0], record.marks[record.best], record, plan, len(known))
    card = carded(done.card, base=base.name, mix=dict(plan.mining.counts))
    done = replace(done, passages=len(index), card=card)
    return settled(done, record, record.model, folder)
