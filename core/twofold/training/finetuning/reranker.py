"""Trains a cross-encoder on labeled pairs, and evaluates how it orders an index's hits."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from twofold.evaluation.measures import measure_rankings
from twofold.index import Index
from twofold.rerank import CrossEncoderReranker
from twofold.retriever import Retriever
from twofold.training.acceptance import QueryMeasures
from twofold.training.data.examples import TrainingSet
from twofold.training.finetuning.dev_evaluation import DataSplit
from twofold.training.finetuning.loop import (
    EpochProgress,
    FineTunedModel,
    FineTuningTask,
    RunState,
    check_dependencies,
    fine_tune,
)
from twofold.training.finetuning.plans import RerankerPlan
from twofold.training.negatives import mine
from twofold.types import Scores
from twofold.validation import as_path


class RerankerTask(FineTuningTask):
    """Fine-tuning of a copy of a cross-encoder, evaluated by how it orders an index's hits."""

    def __init__(
        self,
        index: Index,
        train: TrainingSet,
        held_out: TrainingSet,
        plan: RerankerPlan,
        base: CrossEncoderReranker,
    ) -> None:
        super().__init__(copy.deepcopy(base.cross_encoder), len(index))
        self._base = base
        self._index = index
        self._train = train
        self._held_out = held_out
        self._queries = [example.query for example in held_out]
        self._plan = plan
        self._mode = index.modes[0]
        retriever = Retriever(index, mode=self._mode, k=plan.candidates)
        found = retriever.retrieve_many(self._queries)
        self._ids = [hits.ids for hits in found]
        self._texts = [[passage.content for passage in hits.passages] for hits in found]

    def evaluate(self, *, base: bool = False) -> QueryMeasures:
        """Return the held-out queries' measures by the model, or without reranking (``base``)."""
        scores: list[Scores] = [-np.arange(len(ids), dtype=float) for ids in self._ids]
        if not base:
            scores = CrossEncoderReranker(self.model).rerank(self._queries, self._texts)
        rankings = {
            query_id: [ids[position] for position in np.argsort(-values, kind="stable").tolist()]
            for query_id, ids, values in zip(self._held_out.queries, self._ids, scores, strict=True)
        }
        return {self._mode: measure_rankings(rankings, self._held_out.qrels, self._plan.measure)}

    def begin_epoch(self, number: int, state: RunState) -> None:
        """Do nothing: all epochs have the same pairs."""

    def build_trainer(self, arguments: dict[str, Any]) -> Any:
        """Return a trainer with the binary cross-entropy loss."""
        from sentence_transformers import CrossEncoderTrainingArguments
        from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss

        from twofold.training.finetuning.hf_trainers import RerankerTrainer

        return RerankerTrainer(
            model=self.model,
            args=CrossEncoderTrainingArguments(**arguments),
            train_dataset=self._labeled_pairs(),
            loss=BinaryCrossEntropyLoss(self.model),
        )

    def metadata(self) -> dict[str, Any]:
        """Return the name of the base model, and the number of negatives per query by source."""
        return {"base": self._base.name, "negatives": dict(self._plan.mining.counts)}

    def _labeled_pairs(self) -> Any:
        from datasets import Dataset

        plan = self._plan
        mined = mine(self._index, self._train, replace(plan.mining, seed=plan.seed))
        ids = {key for example in self._train for key in example.positives}
        ids |= {negative.id for negatives in mined.values() for negative in negatives}
        texts = {passage.id: passage.content for passage in self._index.get(sorted(ids))}
        rows: list[dict[str, object]] = []
        for example in self._train:
            labels = [(key, 1.0) for key in example.positives]
            labels += [(negative.id, 0.0) for negative in mined[example.query_id]]
            rows += [
                {"query": example.query, "passage": texts[key], "label": label}
                for key, label in labels
                if key in texts
            ]
        return Dataset.from_list(rows)


def train_reranker(
    index: Index,
    training_set: TrainingSet,
    to: str | Path,
    *,
    base: CrossEncoderReranker,
    plan: RerankerPlan | None = None,
    progress: EpochProgress | None = None,
) -> FineTunedModel:
    """Fine-tune a copy of the cross-encoder ``base`` on an index, and save it in a new folder.

    The loss is binary cross-entropy over relevant passages and mined negatives (Nogueira and Cho,
    Passage Re-ranking with BERT, 2019). The model is accepted if test queries gain significantly
    over the index without reranking, and test queries for unseen passages don't lose. The same call
    resumes a killed run.

    Args:
        index: Index of the passages.
        training_set: Judged queries; a share of them is held out.
        to: Folder of the model: ``Retriever(index, reranker=CrossEncoderReranker(to))``.
        base: The cross-encoder to start from.
        plan: The hyperparameters.
        progress: Called with each epoch.

    Raises:
        MissingExtraError: The extra ``train`` isn't installed.
        InputError: The folder isn't new, or no example is usable.
        QueryError: The index is empty or has no vectors.
    """
    check_dependencies()

    def build_task(plan: RerankerPlan, split: DataSplit, _: TrainingSet) -> RerankerTask:
        return RerankerTask(index, split.train, split.held_out, plan, base)

    plan = plan if plan is not None else RerankerPlan()
    fingerprint = base.identity.fingerprint
    return fine_tune(
        index, training_set, as_path("to", to), plan, build_task, fingerprint, progress
    )
