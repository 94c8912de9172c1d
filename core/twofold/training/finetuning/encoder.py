"""How an encoder is fine-tuned: its pairs, their negatives, its loss, and its examination."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from twofold.encoders import SentenceTransformerEncoder
from twofold.encoders.model_loading import quiet_loading
from twofold.errors import InputError
from twofold.index import Index
from twofold.training.acceptance import too_few
from twofold.training.data.alignment import drop_known_queries, examples_in_index
from twofold.training.data.examples import TrainingSet
from twofold.training.finetuning.dev_evaluation import DataSplit, DevEvaluator, with_metadata
from twofold.training.finetuning.loop import FineTuningRun, QueryMeasures, RunState, Say
from twofold.training.finetuning.models import (
    ModelEncoder,
    Reading,
    Similarity,
    build_towers,
    check_model,
    is_router,
)
from twofold.training.finetuning.pair_dataset import ANCHOR, Pairs
from twofold.training.finetuning.plans import WORK, EncoderPlan, check_extra, check_new_folder
from twofold.training.finetuning.result import FineTunedModel, finalize_model
from twofold.training.negatives.candidates import MinedNegatives
from twofold.training.negatives.mining import Mining, for_legs, mine

_LEAST, _MOST = 1e-6, 1 - 1e-6
"""Where a teacher's probabilities are cut off before they become logits, of -13.8 and 13.8."""


class EncoderCourse:
    """A copy of an index's encoder that learns from pairs; its examination is of held-out ones."""

    def __init__(
        self, index: Index, learned: TrainingSet, exam: DevEvaluator, plan: EncoderPlan
    ) -> None:
        encoder = index.encoder
        assert isinstance(encoder, SentenceTransformerEncoder)  # checked before
        self._index = index
        self._encoder = encoder
        self._learned = learned
        self._exam = exam
        self._plan = plan
        self._model = build_towers(copy.deepcopy(encoder.model), plan)
        self._reading = Reading(self._model, plan.max_length)
        # On the CPU, and only where something will be mixed with it.
        mixed = plan.blends != (1.0,)
        state = self._model.state_dict() if mixed else {}
        self._base = {name: each.detach().cpu().clone() for name, each in state.items()}
        with index.view() as view:
            asked = [each.query for each in learned]
            self._similarity = Similarity.of(view, encoder, asked)
        texts = {each.id: each.content for each in index if each.content}
        self._pairs = Pairs(learned, texts, plan.negatives, plan.seed)
        most = max(len(each.positives) for each in learned)
        count = self._pairs.count
        if len(texts) < count + most:
            raise InputError(
                f"the index has {len(texts):,} passages with text: for {count} negatives beside "
                f"{most} answers, {count + most:,} are wanted"
            )

    def examined(self, *, base: bool = False) -> QueryMeasures:
        """Return the measures of the held-out queries by the model as it is, or by the base."""
        self._reading.serving()
        model = self._encoder.model if base else self._model
        return self._exam.values(ModelEncoder(model, self._encoder))

    def load(self, folder: Path) -> None:
        """Take over the weights in a folder."""
        self._model.load_state_dict(self._stored(folder))

    def save(self, folder: Path) -> None:
        """Write the model as it is to a new folder."""
        self._reading.serving()
        with quiet_loading():
            self._model.save_pretrained(str(folder), create_model_card=False)

    def blend(self, folder: Path, share: float) -> None:
        """Take over a ``share`` of the weights in a folder, and for the rest those of the base."""
        stored = self._stored(folder)
        for name, each in stored.items():
            if each.is_floating_point():
                base = self._base[name].to(each.device)
                stored[name] = base + share * (each - base)
        self._model.load_state_dict(stored)

    def begin(self, number: int, record: RunState) -> None:
        """Mine for the epoch ``number``, and let the teacher read what was mined."""
        plan = self._plan
        self._reading.serving()
        mined = self._mined(number, plan.mining) if plan.mining is not None else None
        if mined is not None:
            record.mined(number, mined)
        self._pairs.renew(mined if mined is not None else {}, number)
        if plan.teacher is not None:
            read = self._pairs.read()
            scores = plan.teacher.rerank([query for query, _ in read], [own for _, own in read])
            self._pairs.teach([each.tolist() for each in _logits(scores)])
        self._reading.learning()

    def trainer(self, usual: dict[str, Any]) -> Any:
        """Return a trainer of the model with the ``usual`` arguments and those of its own."""
        from sentence_transformers import SentenceTransformerTrainingArguments

        from twofold.training.finetuning.hf_trainers import EncoderTrainer

        prompts = {task: self._encoder.loaded.prompt(task) for task in ("query", "document")}
        others = [name for name in self._pairs.columns if name != ANCHOR]
        arguments = SentenceTransformerTrainingArguments(
            **usual,
            remove_unused_columns=False,
            dataloader_num_workers=0,  # rows are read where negatives change
            dataloader_pin_memory=self._model.device.type != "cpu",
            prompts={ANCHOR: prompts["query"], **dict.fromkeys(others, prompts["document"])}
            if any(prompts.values())
            else None,
            router_mapping={ANCHOR: "query", **dict.fromkeys(others, "document")}
            if is_router(self._model)
            else {},
        )
        return EncoderTrainer(
            model=self._model,
            args=arguments,
            train_dataset=self._pairs.dataset(),
            loss=contrastive_loss(self._model, self._similarity, self._pairs, self._plan),
        )

    def _mined(self, number: int, mining: Mining) -> MinedNegatives:
        mining = replace(mining, seed=mining.seed + number - 1)  # chance draws others every time
        if number == 1:
            chance = replace(mining, mix=(("random", self._plan.negatives),), reranker=None)
            return mine(self._index, self._learned, replace(chance, reranker_threshold=None))
        if not self._plan.remine:
            return mine(self._index, self._learned, mining)
        # By the model as it is, in an index of its own.
        with self._exam.trial(ModelEncoder(self._model, self._encoder)) as trial:
            trial.upsert(list(self._index))
            return mine(trial, self._learned, mining)

    def _stored(self, folder: Path) -> dict[str, Any]:
        from sentence_transformers import SentenceTransformer

        with quiet_loading():
            stored = SentenceTransformer(str(folder), device=str(self._model.device))
        state: dict[str, Any] = stored.state_dict()
        return state


def _logits(scores: list[Any]) -> list[Any]:
    """Return a teacher's scores as they are, or, if all lie in [0, 1], as the logits of those."""
    if all(each.size == 0 or (each.min() >= 0 and each.max() <= 1) for each in scores):
        cut = [np.clip(each, _LEAST, _MOST) for each in scores]
        return [np.log(each / (1 - each)) for each in cut]
    return scores


def train_encoder(
    index: Index,
    training_set: TrainingSet,
    to: str | Path,
    *,
    plan: EncoderPlan | None = None,
    extra: TrainingSet | None = None,
    progress: Say | None = None,
) -> FineTunedModel:
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
        known = examples_in_index(view, training_set)
        more = drop_known_queries(view, known, extra)
        generation = view.generation
    if len(known) < plan.fewest:
        reason = too_few(len(known), plan.fewest)
        return FineTunedModel(
            None, kept=False, reason=reason, queries=len(known), needed=plan.fewest
        )
    for each in (plan.teacher, plan.mining.reranker if plan.mining is not None else None):
        if each is not None:
            each.rerank([known[0].query], [[known[0].query]])  # one that can't be had says so now
    if plan.mining is not None:
        plan = replace(plan, mining=for_legs(index, plan.mining))
    held = DataSplit.of(known, plan, more)
    learned = held.learned
    most = plan.checked_passages
    exam = DevEvaluator.of(index, held.asked, known, learned, most, plan.measure)
    course = EncoderCourse(index, learned, exam, plan)
    record = RunState(
        folder / WORK,
        f"{known.digest} {more.digest} {generation} {encoder.identity.fingerprint} {plan.key}",
    )
    run = FineTuningRun(course, plan, record, ~held.judges, progress)
    run.run()
    after, blend = _blended(course, record, run, plan)
    model = record.model if blend == 1.0 else record.blend
    done = held.judged(record.marks[0], after, record, plan, len(known))
    card = with_metadata(
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
    return finalize_model(done, record, model, folder)


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
                "it: put the defaults to use first (index.profiles.use(None)), or train_adapter"
            )
    check_model(encoder, plan)
    check_new_folder(folder)
    return encoder, folder


def _blended(
    course: EncoderCourse, record: RunState, run: FineTuningRun, plan: EncoderPlan
) -> tuple[QueryMeasures, float]:
    """Return the marks of the best blend of the best epoch with the base, and its share."""
    best = record.marks[record.best]
    if record.best == 0 or plan.blends == (1.0,):
        return best, 1.0
    tried: dict[float, QueryMeasures] = {}
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


def contrastive_loss(model: Any, similarity: Similarity, pairs: Pairs, plan: EncoderPlan) -> Any:
    """Return the loss of a plan under the index's metric, at several lengths if wanted."""
    from sentence_transformers.sentence_transformer import losses

    from twofold.training.finetuning.losses import Contrast

    at_once = plan.at_once if plan.at_once is not None and plan.at_once < plan.batch else None
    made = Contrast(model, similarity, plan.temperature, pairs, at_once)
    if plan.dims:
        # The whole length as well, which is what is served.
        lengths = sorted({*plan.dims, similarity.dim}, reverse=True)
        return losses.MatryoshkaLoss(model, made, matryoshka_dims=lengths)
    return made
