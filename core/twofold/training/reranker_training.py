"""Training of a cross-encoder that is kept only if it ranks held-out queries better."""

import copy
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from twofold import __version__
from twofold.encoders.loading import quiet_loading
from twofold.evaluation import queries_needed
from twofold.evaluation.measures import measured, named
from twofold.index import Index
from twofold.rerank import CrossEncoderReranker
from twofold.retriever import Retriever
from twofold.training.checking import check_extra, check_new_folder, check_range, check_whole
from twofold.training.fine_tuned import FineTuned, written_card
from twofold.training.fitting import Epoch
from twofold.training.gain import Values, gains_of
from twofold.training.lesson import usable
from twofold.training.mining import Mining, mine
from twofold.training.run import Say
from twofold.training.splitting import split
from twofold.training.training_set import TrainingSet
from twofold.training.verdict import too_few, verdict
from twofold.types import Mask, Run, Scores

_STOPPING = 0.1  # of the queries that are learned from, those that say when to stop instead


@dataclass(frozen=True, slots=True)
class RerankerPlan:
    """How to train a cross-encoder, and what it takes to keep it.

    Each answer is a pair of label 1, and comes with the negatives of ``mining`` as pairs of label
    0. A ``held_out`` share of the queries is never learned from; for those, the index's best
    ``candidates`` are put in a new order. The rest is as in ``EncoderPlan``.
    """

    epochs: int = 3
    batch: int = 16
    learning_rate: float = 2e-5
    warmup: float = 0.1
    mining: Mining = field(
        default_factory=lambda: Mining((("random", 1), ("lexical", 2), ("dense", 2)))
    )
    candidates: int = 20
    held_out: float = 0.2
    patience: int = 1
    measure: str = "nDCG@10"
    level: float = 0.95
    most_lost: float = 0.01
    fewest: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low in (("epochs", 1), ("batch", 1), ("candidates", 2), ("patience", 1)):
            check_whole(name, getattr(self, name), low)
        for name, low in (("fewest", 8), ("seed", 0)):
            check_whole(name, getattr(self, name), low)
        check_range("learning_rate", self.learning_rate, 0, 1, "a number above 0", strict=True)
        check_range("held_out", self.held_out, 0, 1, "a number between 0 and 1", strict=True)
        check_range("level", self.level, 0, 1, "a number between 0 and 1", strict=True)
        check_range("warmup", self.warmup, 0, 1, "a number from 0 to 1")
        check_range("most_lost", self.most_lost, 0, 1, "a number from 0 to 1")
        named(self.measure)


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

    To use it: ``Retriever(index, reranker=CrossEncoderReranker(to))``. Needs the extra ``train``.
    Raises MissingExtraError, InputError, QueryError.
    """
    plan = plan if plan is not None else RerankerPlan()
    check_extra()
    folder = check_new_folder(Path(to))
    with index.view() as view:
        known = usable(view, training_set)
    if len(known) < plan.fewest:
        reason = too_few(len(known), plan.fewest)
        return FineTuned(None, kept=False, reason=reason, queries=len(known), needed=plan.fewest)
    parts = split(known, plan.held_out, seed=plan.seed)
    inner = split(parts.fit, _STOPPING, seed=plan.seed)
    asked = parts.held.joined(inner.held)
    judges = np.array([each.query_id in parts.held.queries for each in asked], np.bool_)
    run = _RerankerRun(index, inner.fit, asked, ~judges, plan, base)
    work = folder / "training"
    try:
        marks, best = run.run(work, progress)
        before: Values = {"hybrid": run.curve_values[0][judges]}
        after: Values = {"hybrid": marks[judges]}
        known_answers = inner.fit.positives
        unseen = np.array([known_answers.isdisjoint(each.positives) for each in asked], np.bool_)
        gains = gains_of(before, after, unseen[judges], level=plan.level)
        kept, reason = verdict(gains, None, "hybrid", plan)
        if best == 0:
            kept, reason = False, "the base stays: no epoch was better for the queries that chose"
        difference = after["hybrid"] - before["hybrid"]
        done = FineTuned(
            folder=folder if kept else None,
            kept=kept,
            reason=reason,
            queries=len(known),
            passages=len(index),
            gains=gains,
            curve=tuple(run.curve),
            epoch=best,
            needed=queries_needed(difference, level=plan.level) if difference.mean() > 0 else None,
            card={
                "twofold": __version__,
                "data": inner.fit.digest,
                "queries": len(inner.fit),
                "base": base.name,
                "epoch": best,
                "mix": dict(plan.mining.counts),
                "seed": plan.seed,
                "gains": [each.to_dict() for each in gains],
            },
        )
        if kept:
            shutil.copytree(work / "best", folder, dirs_exist_ok=True)
            written_card(folder, done)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        if folder.exists() and not any(folder.iterdir()):
            folder.rmdir()
    return done


class _RerankerRun:
    """Trains, puts held-out candidates in order after each epoch, and remembers the best."""

    def __init__(
        self,
        index: Index,
        learned: TrainingSet,
        asked: TrainingSet,
        choosing: Mask,
        plan: RerankerPlan,
        base: CrossEncoderReranker,
    ) -> None:
        self._index = index
        self._learned = learned
        self._asked = asked
        self._choosing = choosing
        self._plan = plan
        self._model = copy.deepcopy(base.cross_encoder)
        mode = index.modes[0]
        retriever = Retriever(index, mode=mode, k=plan.candidates)
        found = retriever.retrieve_many([each.query for each in asked])
        self._ids = [hits.ids for hits in found]
        self._texts = [[each.content for each in hits.passages] for hits in found]
        self.curve: list[Epoch] = []
        self.curve_values: list[Scores] = [self._values(None)]
        self._work = Path()

    def run(self, work: Path, progress: Say | None) -> tuple[Scores, int]:
        """Train; return the best epoch's measure of each query and its number, 0 for none."""
        from sentence_transformers import CrossEncoderTrainer, CrossEncoderTrainingArguments
        from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss
        from transformers import PrinterCallback

        from twofold.training.epochs import EpochCallback

        plan, self._work = self._plan, work
        self._note(0, None, progress)
        work.mkdir(parents=True, exist_ok=True)
        arguments = CrossEncoderTrainingArguments(
            output_dir=str(work / "checkpoints"),
            num_train_epochs=plan.epochs,
            per_device_train_batch_size=plan.batch,
            learning_rate=plan.learning_rate,
            warmup_steps=plan.warmup,  # below 1 it is a share
            save_strategy="epoch",
            save_total_limit=1,
            logging_strategy="epoch",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=self._model.device.type != "cpu",
            seed=plan.seed,
            data_seed=plan.seed,
        )
        trainer: Any = CrossEncoderTrainer(
            model=self._model,
            args=arguments,
            train_dataset=self._pairs(),
            loss=BinaryCrossEntropyLoss(self._model),
            callbacks=[EpochCallback(self, progress)],
        )
        trainer.remove_callback(PrinterCallback)  # a library prints nothing
        trainer.remove_callback(trainer.model_card_callback_class)  # we write a card of our own
        with quiet_loading():
            trainer.train()
        best = self._best
        return self.curve_values[best], best

    def begin(self, number: int) -> None:
        """Leave the pairs as they are."""

    def end(self, number: int, loss: float | None, say: Say | None) -> bool:
        """Examine the epoch ``number``, keep it if it is the best, and return whether to stop."""
        before = self._best
        self.curve_values.append(self._values(CrossEncoderReranker(self._model)))
        self._note(number, loss, say)
        if self._best != before:
            shutil.rmtree(self._work / "best", ignore_errors=True)
            self._model.save_pretrained(str(self._work / "best"))
        return number - self._best >= self._plan.patience

    @property
    def _best(self) -> int:
        """The first of the epochs with the best mean."""
        scores = [each.ndcg if each.ndcg is not None else 0.0 for each in self.curve]
        return int(np.argmax(scores))

    def _note(self, number: int, loss: float | None, say: Say | None) -> None:
        mean = float(self.curve_values[-1][self._choosing].mean())
        self.curve.append(Epoch(number, loss, mean))
        if say is not None:
            say(self.curve[-1])

    def _values(self, reranker: CrossEncoderReranker | None) -> Scores:
        """Return the measure of each query (n,), in the index's order or a reranker's."""
        if reranker is None:
            scores: Sequence[Scores] = [-np.arange(len(ids), dtype=float) for ids in self._ids]
        else:
            scores = reranker.rerank([each.query for each in self._asked], self._texts)
        run: Run = {}
        for each, ids, own in zip(self._asked, self._ids, scores, strict=True):
            order = np.argsort(-own, kind="stable").tolist()
            # Ranks instead of scores, since trec_eval would put the later id first in a tie.
            run[each.query_id] = {ids[place]: float(-rank) for rank, place in enumerate(order)}
        measure = named(self._plan.measure)
        _, by_query = measured([measure], self._asked.qrels, run)
        return np.array([by_query[each.query_id][str(measure)] for each in self._asked])

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
