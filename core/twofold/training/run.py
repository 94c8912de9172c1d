"""One run of a trainer of sentence-transformers, examined after each epoch, which can be killed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from twofold.encoders.loading import quiet_loading
from twofold.training.fine_tuning_plan import FineTuningPlan
from twofold.training.fitting import Epoch
from twofold.training.record import Marks, Record
from twofold.types import Mask

Say = Callable[[Epoch], None]


class Course(Protocol):
    """What is learned and how it is examined."""

    def examined(self, *, base: bool = False) -> Marks:
        """Return the measures of the held-out queries by the model as it is, or by the base."""
        ...

    def load(self, folder: Path) -> None:
        """Take over the weights in a folder."""
        ...

    def save(self, folder: Path) -> None:
        """Write the model as it is to a new folder."""
        ...

    def begin(self, number: int, record: Record) -> None:
        """Make ready for the epoch ``number``, from 1."""
        ...

    def trainer(self, usual: dict[str, Any]) -> Any:
        """Return a trainer of the model with the ``usual`` arguments and those of its own."""
        ...


class Run:
    """Trains epoch by epoch, notes each in a record, and goes on where a killed run stopped.

    ``choosing`` flags the held-out queries (n,) that choose the epoch.
    """

    def __init__(
        self,
        course: Course,
        plan: FineTuningPlan,
        record: Record,
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

    def mean(self, marks: Marks) -> float:
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

        from twofold.training.trainers import EpochCallback

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
