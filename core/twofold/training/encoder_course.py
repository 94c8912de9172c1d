"""How an encoder is fine-tuned: its pairs, their negatives, its loss, and its examination."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from twofold.encoders import SentenceTransformerEncoder
from twofold.encoders.loading import quiet_loading
from twofold.errors import InputError
from twofold.index import Index
from twofold.training.encoder_plan import EncoderPlan
from twofold.training.examination import Examination
from twofold.training.mining import Mining, mine
from twofold.training.model_encoder import ModelEncoder
from twofold.training.negative import MinedNegatives
from twofold.training.pairs import ANCHOR, Pairs
from twofold.training.record import Marks, Record
from twofold.training.similarity import Similarity
from twofold.training.towers import Reading, contrastive_loss, is_router, towers_of
from twofold.training.training_set import TrainingSet

_LEAST, _MOST = 1e-6, 1 - 1e-6
"""Where a teacher's probabilities are cut off before they become logits, of -13.8 and 13.8."""


class EncoderCourse:
    """A copy of an index's encoder that learns from pairs; its examination is of held-out ones."""

    def __init__(
        self, index: Index, learned: TrainingSet, exam: Examination, plan: EncoderPlan
    ) -> None:
        encoder = index.encoder
        assert isinstance(encoder, SentenceTransformerEncoder)  # checked before
        self._index = index
        self._encoder = encoder
        self._learned = learned
        self._exam = exam
        self._plan = plan
        self._model = towers_of(copy.deepcopy(encoder.model), plan)
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

    def examined(self, *, base: bool = False) -> Marks:
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

    def begin(self, number: int, record: Record) -> None:
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

        from twofold.training.trainers import EncoderTrainer

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
