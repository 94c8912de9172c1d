"""One run of a trainer of sentence-transformers, examined after each epoch, which can be killed."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from twofold.encoders.model_loading import quiet_loading
from twofold.training.adapter.fit import Epoch
from twofold.training.finetuning.plans import FineTuningPlan
from twofold.training.negatives.candidates import Negative, turnover
from twofold.types import Mask, Scores

QueryMeasures = Mapping[str, Scores]
"""Measures of queries (n,) by mode, the one that the index serves first; and of ``OTHERS``."""
OTHERS = "others"
"""What marks of queries of another kind are called."""


class RunState:
    """The curve of a run, its best epoch, and the ``marks`` of that one and of epoch 0, the base.

    ``work`` holds ``notes.json`` and, in ``best``, the best epoch's model. A record with the same
    ``key``, which says all that a run depends on, goes on where the last one stopped; any other's
    files are deleted.
    """

    def __init__(self, work: Path, key: str) -> None:
        self.curve: list[Epoch] = []
        self.best = 0
        self.marks: dict[int, QueryMeasures] = {}
        self.turnover: list[float] = []
        self._mined = 0
        self._negatives: dict[str, tuple[Negative, ...]] = {}
        self._work = work
        self._key = key
        work.mkdir(parents=True, exist_ok=True)
        path = work / "notes.json"
        notes = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if notes.get("key") != key:
            for each in work.iterdir():
                shutil.rmtree(each) if each.is_dir() else each.unlink()
            return
        self.curve = [Epoch(*each) for each in notes["curve"]]
        self.best, self.turnover = notes["best"], notes["turnover"]
        self.marks = {
            number: {name: np.array(each) for name, each in marks.items()}
            for number, marks in zip(sorted({0, self.best}), notes["marks"], strict=True)
        }
        self._mined = notes["mined"]
        self._negatives = {
            query_id: tuple(Negative(*each) for each in found)
            for query_id, found in notes["negatives"].items()
        }

    @property
    def last(self) -> int:
        """The number of the last epoch, 0 for the base."""
        return self.curve[-1].number

    @property
    def checkpoints(self) -> Path:
        """Where the trainer writes its own state."""
        return self._work / "checkpoints"

    @property
    def model(self) -> Path:
        """Where the best epoch's model is, if any is better than the base."""
        return self._work / "best"

    @property
    def blend(self) -> Path:
        """Where a blend of that model with the base is, if there is one."""
        return self._work / "blend"

    def add(self, epoch: Epoch, marks: QueryMeasures, write: Callable[[Path], None]) -> None:
        """Note an epoch; if it is the best, keep its marks, and its model by ``write``."""
        self.curve.append(epoch)
        if epoch.number == 0:
            self.marks = {0: marks}
        elif _height(epoch) > _height(self.curve[self.best]):
            shutil.rmtree(self.model, ignore_errors=True)
            write(self.model)
            self.best = epoch.number
            self.marks = {0: self.marks[0], self.best: marks}
        self._note()

    def mined(self, number: int, negatives: Mapping[str, tuple[Negative, ...]]) -> None:
        """Note what was mined for the epoch ``number``; once, however often that is begun."""
        if number <= self._mined:
            return
        negatives = {
            query_id: tuple(each for each in found if each.source != "given")
            for query_id, found in negatives.items()
        }
        if self._negatives:
            self.turnover.append(turnover(self._negatives, negatives))
        self._mined, self._negatives = number, negatives
        self._note()

    def stops(self, epochs: int, patience: int) -> bool:
        """Whether there is nothing left to do."""
        return self.last >= epochs or self.last - self.best >= patience

    def delete(self) -> None:
        """Delete everything that was noted."""
        shutil.rmtree(self._work)

    def _note(self) -> None:
        notes = {
            "key": self._key,
            "curve": [[each.number, each.loss, each.ndcg] for each in self.curve],
            "best": self.best,
            "turnover": self.turnover,
            # JSON keeps a float64 bit by bit.
            "marks": [
                {name: each.tolist() for name, each in self.marks[number].items()}
                for number in sorted(self.marks)
            ],
            "mined": self._mined,
            "negatives": {
                query_id: [[each.id, each.source] for each in found]
                for query_id, found in self._negatives.items()
            },
        }
        path = self._work / "notes.json"
        path.with_suffix(".tmp").write_text(json.dumps(notes), encoding="utf-8")
        path.with_suffix(".tmp").replace(path)


def _height(epoch: Epoch) -> float:
    assert epoch.ndcg is not None  # every epoch of such a run is examined
    return epoch.ndcg


Say = Callable[[Epoch], None]


class FineTuningTask(Protocol):
    """What is learned and how it is examined."""

    def examined(self, *, base: bool = False) -> QueryMeasures:
        """Return the measures of the held-out queries by the model as it is, or by the base."""
        ...

    def load(self, folder: Path) -> None:
        """Take over the weights in a folder."""
        ...

    def save(self, folder: Path) -> None:
        """Write the model as it is to a new folder."""
        ...

    def begin(self, number: int, record: RunState) -> None:
        """Make ready for the epoch ``number``, from 1."""
        ...

    def trainer(self, usual: dict[str, Any]) -> Any:
        """Return a trainer of the model with the ``usual`` arguments and those of its own."""
        ...


class FineTuningRun:
    """Trains epoch by epoch, notes each in a record, and goes on where a killed run stopped.

    ``choosing`` flags the held-out queries (n,) that choose the epoch.
    """

    def __init__(
        self,
        course: FineTuningTask,
        plan: FineTuningPlan,
        record: RunState,
        choosing: Mask,
        progress: Say | None,
    ) -> None:
        self._course = course
        self._plan = plan
        self._record = record
        self._choosing = choosing
        self._progress = progress

    def run(self) -> None:
        """Train for as many epochs as help, from the last finished one on."""
        record, course = self._record, self._course
        if not record.curve:
            marks = course.examined(base=True)
            record.add(Epoch(0, None, self.mean(marks)), marks, course.save)
        for each in record.curve:
            self._say(each)
        last = self._checkpoint()
        if last is not None:
            course.load(last)
            state = json.loads((last / "trainer_state.json").read_text(encoding="utf-8"))
            number = round(state["epoch"])
            if number > record.last:  # it was written, and not examined any more
                losses = [each["loss"] for each in state["log_history"] if "loss" in each]
                self.end(number, losses[-1] if losses else None)
        if record.stops(self._plan.epochs, self._plan.patience):
            return
        course.begin(record.last + 1, record)
        with quiet_loading():
            trainer = self._trainer()
            trainer.train(resume_from_checkpoint=str(last) if last is not None else None)

    def begin(self, number: int) -> None:
        """Make ready for the epoch ``number``, from 1; the run's first was, before the start."""
        self._course.begin(number, self._record)

    def end(self, number: int, loss: float | None) -> bool:
        """Examine the epoch ``number``, keep it if it is the best, and return whether to stop."""
        marks = self._course.examined()
        epoch = Epoch(number, loss, self.mean(marks))
        self._record.add(epoch, marks, self._course.save)
        self._say(epoch)
        return self._record.stops(self._plan.epochs, self._plan.patience)

    def mean(self, marks: QueryMeasures) -> float:
        """Return the mean over the queries that choose, in the mode that the index serves."""
        return float(next(iter(marks.values()))[self._choosing].mean())

    def _say(self, epoch: Epoch) -> None:
        if self._progress is not None:
            self._progress(epoch)

    def _checkpoint(self) -> Path | None:
        from transformers import trainer_utils

        folder = self._record.checkpoints
        for each in folder.iterdir() if folder.exists() else ():
            if not (each / "trainer_state.json").exists():  # which is written last
                shutil.rmtree(each)
        find: Callable[[str], str | None] = trainer_utils.get_last_checkpoint
        found = find(str(folder)) if folder.exists() else None
        return Path(found) if found is not None else None

    def _trainer(self) -> Any:
        from datasets import disable_progress_bars
        from transformers import PrinterCallback

        from twofold.training.finetuning.hf_trainers import EpochCallback

        disable_progress_bars()
        plan = self._plan
        usual = {
            "output_dir": str(self._record.checkpoints),
            "num_train_epochs": plan.epochs,
            "per_device_train_batch_size": plan.batch,
            "learning_rate": plan.learning_rate,
            "warmup_steps": plan.warmup,  # below 1 it is a share
            "save_strategy": "epoch",
            "save_total_limit": 1,
            "logging_strategy": "epoch",
            "report_to": "none",
            "disable_tqdm": True,
            "seed": plan.seed,
            "data_seed": plan.seed,
        }
        trainer = self._course.trainer(usual)
        trainer.add_callback(EpochCallback(self))
        trainer.remove_callback(PrinterCallback)  # a library prints nothing
        return trainer
