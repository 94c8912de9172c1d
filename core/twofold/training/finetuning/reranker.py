"""How a cross-encoder is trained: its pairs, and the order that it puts held-out hits in."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from twofold.encoders.model_loading import quiet_loading
from twofold.evaluation.measures import compute_measures, parse_measure
from twofold.index import Index
from twofold.rerank import CrossEncoderReranker
from twofold.retriever import Retriever
from twofold.training.acceptance import too_few
from twofold.training.data.alignment import examples_in_index
from twofold.training.data.examples import TrainingSet
from twofold.training.finetuning.dev_evaluation import DataSplit, with_metadata
from twofold.training.finetuning.loop import FineTuningRun, QueryMeasures, RunState, Say
from twofold.training.finetuning.plans import WORK, RerankerPlan, check_extra, check_new_folder
from twofold.training.finetuning.result import FineTunedModel, finalize_model
from twofold.training.negatives.mining import for_legs, mine
from twofold.types import Run, Scores


class RerankerCourse:
    """A copy of a cross-encoder; it is examined by how it orders what the index finds."""

    def __init__(
        self,
        index: Index,
        learned: TrainingSet,
        asked: TrainingSet,
        plan: RerankerPlan,
        base: CrossEncoderReranker,
    ) -> None:
        self._index = index
        self._learned = learned
        self._asked = asked
        self._plan = plan
        self._model = copy.deepcopy(base.cross_encoder)
        self._mode = index.modes[0]
        found = Retriever(index, mode=self._mode, k=plan.candidates).retrieve_many(
            [each.query for each in asked]
        )
        self._ids = [hits.ids for hits in found]
        self._texts = [[each.content for each in hits.passages] for hits in found]

    def examined(self, *, base: bool = False) -> QueryMeasures:
        """Return the measure of each query (n,), in the index's own order as the base."""
        if base:
            scores: Sequence[Scores] = [-np.arange(len(ids), dtype=float) for ids in self._ids]
        else:
            reranker = CrossEncoderReranker(self._model)
            scores = reranker.rerank([each.query for each in self._asked], self._texts)
        run: Run = {}
        for each, ids, own in zip(self._asked, self._ids, scores, strict=True):
            order = np.argsort(-own, kind="stable").tolist()
            # Ranks instead of scores, since trec_eval would put the later id first in a tie.
            run[each.query_id] = {ids[place]: float(-rank) for rank, place in enumerate(order)}
        measure = parse_measure(self._plan.measure)
        _, by_query = compute_measures([measure], self._asked.qrels, run)
        values = [by_query[each.query_id][str(measure)] for each in self._asked]
        return {self._mode: np.array(values)}

    def load(self, folder: Path) -> None:
        """Take over the weights in a folder."""
        from sentence_transformers import CrossEncoder

        with quiet_loading():
            stored = CrossEncoder(str(folder), device=str(self._model.device))
        self._model.load_state_dict(stored.state_dict())

    def save(self, folder: Path) -> None:
        """Write the model as it is to a new folder."""
        with quiet_loading():
            self._model.save_pretrained(str(folder))

    def begin(self, number: int, record: RunState) -> None:
        """Leave the pairs as they are."""

    def trainer(self, usual: dict[str, Any]) -> Any:
        """Return a trainer of the model with the ``usual`` arguments and those of its own."""
        from sentence_transformers import CrossEncoderTrainingArguments
        from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss

        from twofold.training.finetuning.hf_trainers import RerankerTrainer

        pin = self._model.device.type != "cpu"
        return RerankerTrainer(
            model=self._model,
            args=CrossEncoderTrainingArguments(**usual, dataloader_pin_memory=pin),
            train_dataset=self._pairs(),
            loss=BinaryCrossEntropyLoss(self._model),
        )

    def _pairs(self) -> Any:
        """Return a dataset of queries and passages with labels."""
        from datasets import Dataset

        plan = self._plan
        mined = mine(self._index, self._learned, replace(plan.mining, seed=plan.seed))
        wanted = {own for each in self._learned for own in each.positives}
        wanted |= {own.id for each in mined.values() for own in each}
        texts = {each.id: each.content for each in self._index.get(sorted(wanted))}
        rows: list[dict[str, object]] = []
        for each in self._learned:
            pairs = [(own, 1.0) for own in each.positives]
            pairs += [(own.id, 0.0) for own in mined[each.query_id]]
            rows += [
                {"query": each.query, "passage": texts[own], "label": label}
                for own, label in pairs
                if own in texts
            ]
        return Dataset.from_list(rows)


def train_reranker(
    index: Index,
    training_set: TrainingSet,
    to: str | Path,
    *,
    base: CrossEncoderReranker,
    plan: RerankerPlan | None = None,
    progress: Say | None = None,
) -> FineTunedModel:
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
        known = examples_in_index(view, training_set)
        generation = view.generation
    if len(known) < plan.fewest:
        reason = too_few(len(known), plan.fewest)
        return FineTunedModel(
            None, kept=False, reason=reason, queries=len(known), needed=plan.fewest
        )
    plan = replace(plan, mining=for_legs(index, plan.mining))
    held = DataSplit.of(known, plan)
    course = RerankerCourse(index, held.learned, held.asked, plan, base)
    fingerprint = base.identity.fingerprint
    record = RunState(folder / WORK, f"{known.digest} {generation} {fingerprint} {plan.key}")
    FineTuningRun(course, plan, record, ~held.judges, progress).run()
    done = held.judged(record.marks[0], record.marks[record.best], record, plan, len(known))
    card = with_metadata(done.card, base=base.name, mix=dict(plan.mining.counts))
    done = replace(done, passages=len(index), card=card)
    return finalize_model(done, record, record.model, folder)
