"""One run of sentence-transformers' trainer over pairs whose negatives change between epochs."""

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from twofold.encoders import SentenceTransformerEncoder
from twofold.encoders.loading import quiet_loading
from twofold.errors import InputError
from twofold.index import Index
from twofold.training.encoder_plan import EncoderPlan
from twofold.training.examination import Examination
from twofold.training.fitting import Epoch
from twofold.training.gain import Values
from twofold.training.mining import Mining, mine
from twofold.training.model_encoder import ModelEncoder
from twofold.training.negative import MinedNegatives, turnover
from twofold.training.pairs import ANCHOR, Pairs
from twofold.training.run import Say
from twofold.training.towers import contrastive_loss, is_router, towers_of
from twofold.training.training_set import TrainingSet
from twofold.types import Mask, Scores

Marks = tuple[Values, Values | None]
"""The measure of the held-out queries by mode, and of queries of another kind."""


@dataclass(frozen=True, slots=True)
class Examined:
    """What the epochs gave: the base's marks, the chosen epoch's, its number, and all means."""

    base: Marks
    chosen: Marks
    best: int
    curve: tuple[Epoch, ...]
    turnover: tuple[float, ...]


class TowerRun:
    """Trains, examines after each epoch, and remembers the best; goes on where it was stopped."""

    def __init__(
        self,
        index: Index,
        encoder: SentenceTransformerEncoder,
        learned: TrainingSet,
        exam: Examination,
        choosing: Mask,
        plan: EncoderPlan,
        work: Path,
    ) -> None:
        self._index = index
        self._encoder = encoder
        self._learned = learned
        self._exam = exam
        self._choosing = choosing
        self._plan = plan
        self._work = work
        self._model = towers_of(copy.deepcopy(encoder.model), plan)
        self._count = sum(plan.mining.counts.values())
        texts = {each.id: each.content for each in index if each.content}
        self._pairs = Pairs(learned, texts, self._count, plan.seed)
        most = max(len(each.positives) for each in learned)
        if len(texts) < self._count + most:
            raise InputError(
                f"the index has {len(texts):,} passages with text: for {self._count} negatives "
                f"beside {most} answers, {self._count + most:,} are wanted"
            )
        self._mined: list[MinedNegatives] = []
        self._turnover: list[float] = []
        self._curve: list[Epoch] = []
        self._best = 0
        self._marks: Marks | None = None

    def run(self, progress: Say | None) -> Examined:
        """Train for as many epochs as help, from the last finished one on."""
        from transformers import trainer_utils

        base = self._exam.values(self._encoder)
        self._curve = [Epoch(0, None, self._mean(base))]
        self._resumed()
        if progress is not None:
            for each in self._curve:
                progress(each)
        checkpoints = self._work / "checkpoints"
        find: Callable[[str], str | None] = trainer_utils.get_last_checkpoint
        last = find(str(checkpoints)) if checkpoints.exists() else None
        if last is not None:
            self._examined_late(Path(last), progress)
        if not self._stops():
            trainer = self._trainer(checkpoints, progress)
            with quiet_loading():
                trainer.train(resume_from_checkpoint=last)
        chosen = self._marks if self._marks is not None and self._best else base
        return Examined(base, chosen, self._best, tuple(self._curve), tuple(self._turnover))

    def write(self, folder: Path) -> None:
        """Write the best epoch's model to a folder."""
        shutil.copytree(self._work / "best", folder, dirs_exist_ok=True)

    def begin(self, number: int) -> None:
        """Give the epoch ``number``, from 1, its negatives."""
        plan = self._plan
        if number == 1:
            mining = replace(plan.mining, mix=(("random", self._count),), reranker=None)
            mining = replace(mining, reranker_threshold=None)
            mined = mine(self._index, self._learned, mining)
        elif plan.remine:
            mined = self._mined_now(plan.mining)
        else:
            mined = mine(self._index, self._learned, plan.mining)
        if self._mined:
            self._turnover.append(turnover(self._mined[-1], mined))
        self._mined = [mined]
        self._pairs.renew(mined)

    def end(self, number: int, loss: float | None, say: Say | None) -> bool:
        """Examine the epoch ``number``, keep it if it is the best, and return whether to stop."""
        marks = self._exam.values(ModelEncoder(self._model, self._encoder))
        epoch = Epoch(number, loss, self._mean(marks))
        self._curve.append(epoch)
        best = self._curve[self._best].ndcg
        assert epoch.ndcg is not None  # examined
        assert best is not None
        if epoch.ndcg > best:
            self._best, self._marks = number, marks
            shutil.rmtree(self._work / "best", ignore_errors=True)
            self._model.save_pretrained(str(self._work / "best"), create_model_card=False)
        self._note()
        if say is not None:
            say(epoch)
        return self._stops()

    def _examined_late(self, last: Path, progress: Say | None) -> None:
        """Examine a checkpoint that a stopped run had written and not examined."""
        from sentence_transformers import SentenceTransformer

        state = json.loads((last / "trainer_state.json").read_text(encoding="utf-8"))
        number = round(state["epoch"])
        if number > self._curve[-1].number:
            stored = SentenceTransformer(str(last), device=str(self._model.device))
            self._model.load_state_dict(stored.state_dict())
            losses = [each["loss"] for each in state["log_history"] if "loss" in each]
            self.end(number, losses[-1] if losses else None, progress)

    def _mined_now(self, mining: Mining) -> MinedNegatives:
        """Mine by the model as it is, in an index of its own."""
        own = ModelEncoder(self._model, self._encoder)
        exam = self._exam
        with Index.open(
            None,
            encoder=own,
            metric=exam.metric,
            analyzer=exam.analyzer,
            title_weight=exam.title_weight,
        ) as trial:
            trial.upsert(list(self._index))
            return mine(trial, self._learned, mining)

    def _stops(self) -> bool:
        last = self._curve[-1].number
        return last >= self._plan.epochs or last - self._best >= self._plan.patience

    def _mean(self, marks: Marks) -> float:
        values: Scores = next(iter(marks[0].values()))  # of the mode that the index serves
        return float(values[self._choosing].mean())

    def _trainer(self, checkpoints: Path, progress: Say | None) -> Any:
        from datasets import disable_progress_bars
        from sentence_transformers import (
            SentenceTransformerTrainer,
            SentenceTransformerTrainingArguments,
        )
        from sentence_transformers.base.sampler import BatchSamplers
        from transformers import PrinterCallback

        from twofold.training.epochs import EpochCallback

        disable_progress_bars()
        plan = self._plan
        self.begin(1 if len(self._curve) == 1 else self._curve[-1].number + 1)
        prompts = {task: self._encoder.loaded.prompt(task) for task in ("query", "document")}
        others = [name for name in self._pairs.columns if name != ANCHOR]
        arguments = SentenceTransformerTrainingArguments(
            output_dir=str(checkpoints),
            num_train_epochs=plan.epochs,
            per_device_train_batch_size=plan.batch,
            learning_rate=plan.learning_rate,
            warmup_steps=plan.warmup,  # below 1 it is a share
            save_strategy="epoch",
            save_total_limit=1,
            logging_strategy="epoch",
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_num_workers=0,  # rows are read where negatives change
            dataloader_pin_memory=self._model.device.type != "cpu",
            seed=plan.seed,
            data_seed=plan.seed,
            batch_sampler=BatchSamplers.NO_DUPLICATES,
            prompts={ANCHOR: prompts["query"], **dict.fromkeys(others, prompts["document"])}
            if any(prompts.values())
            else None,
            router_mapping={ANCHOR: "query", **dict.fromkeys(others, "document")}
            if is_router(self._model)
            else {},
        )
        trainer = SentenceTransformerTrainer(
            model=self._model,
            args=arguments,
            train_dataset=self._pairs.dataset(),
            loss=contrastive_loss(self._model, self._exam.metric, plan),
            callbacks=[EpochCallback(self, progress)],
        )
        trainer.remove_callback(PrinterCallback)  # a library prints nothing
        trainer.remove_callback(trainer.model_card_callback_class)  # we write a card of our own
        return trainer

    def _note(self) -> None:
        """Write down what a run that goes on has to know."""
        marks = self._marks
        notes = {
            "data": self._learned.digest,
            "plan": repr(self._plan),
            "curve": [[each.number, each.loss, each.ndcg] for each in self._curve],
            "best": self._best,
            "turnover": self._turnover,
            "marks": None
            if marks is None
            else [
                {mode: each.tolist() for mode, each in values.items()} if values else None
                for values in marks
            ],
        }
        path = self._work / "notes.json"
        path.with_suffix(".tmp").write_text(json.dumps(notes), encoding="utf-8")
        path.with_suffix(".tmp").replace(path)

    def _resumed(self) -> None:
        """Take over what a stopped run with the same data and plan had done; forget any other."""
        path = self._work / "notes.json"
        notes = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        same = (notes.get("data"), notes.get("plan")) == (self._learned.digest, repr(self._plan))
        if not same:
            for each in self._work.iterdir():
                shutil.rmtree(each) if each.is_dir() else each.unlink()
            return
        self._curve = [Epoch(*each) for each in notes["curve"]]
        self._best, self._turnover = notes["best"], notes["turnover"]
        if notes["marks"] is not None:
            held, others = (
                {mode: np.array(each) for mode, each in values.items()} if values else None
                for values in notes["marks"]
            )
            assert held is not None  # the others may be missing
            self._marks = held, others
