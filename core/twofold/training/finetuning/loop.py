"""Runs sentence-transformers' trainers: evaluates each epoch, and resumes a run that was killed."""

import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from twofold import __version__
from twofold.encoders.model_loading import quiet_loading
from twofold.errors import InputError, MissingExtraError
from twofold.extras import check_extra
from twofold.index import Index
from twofold.training.acceptance import (
    CONTROL,
    QueryMeasures,
    TrainingResult,
    compute_gain,
    judge,
    too_few_queries,
)
from twofold.training.adapter.fit import Epoch
from twofold.training.data.alignment import drop_known_queries, examples_in_index
from twofold.training.data.examples import TrainingSet
from twofold.training.finetuning.dev_evaluation import DataSplit
from twofold.training.finetuning.plans import FineTuningPlan
from twofold.training.negatives import Negative, restrict_to_legs, turnover
from twofold.types import Mask

Plan = TypeVar("Plan", bound=FineTuningPlan)
EpochProgress = Callable[[Epoch], None]
_WORK_FOLDER = "training"
"""Folder of a run's state inside the model's folder, deleted at the end."""
_STATE = "state.json"
_STATE_FILES = {_STATE, "state.tmp", "checkpoints", "best", "interpolated"}
_MIN_VERSION = (6, 2)  # of sentence-transformers, which allows GradCache with custom losses


def check_dependencies() -> None:
    """Raise MissingExtraError if the extra ``train`` isn't installed."""
    check_extra("train", "fine-tuning", "sentence_transformers", "accelerate", "datasets")
    found = version("sentence-transformers")
    if tuple(int(part) for part in found.split(".")[:2]) < _MIN_VERSION:
        raise MissingExtraError(
            f"fine-tuning needs sentence-transformers 6.2 or newer, not {found}: "
            "pip install 'twofold[train]'"
        )


def check_new_folder(folder: Path) -> None:
    """Raise InputError if a folder holds other files than the state of a fine-tuning run."""
    if folder.is_file():
        raise InputError(f"{folder} is a file: pass the path of a new folder")
    work = folder / _WORK_FOLDER
    foreign = [path for path in folder.glob("*") if path != work or path.is_file()]
    foreign += [path for path in work.glob("*") if path.name not in _STATE_FILES]
    if foreign:
        raise InputError(
            f"{folder} is there already, with {foreign[0].relative_to(folder)}: pass the path of "
            "a new folder"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTunedModel(TrainingResult):
    """Result of ``train_encoder`` or ``train_reranker``, which don't change the index.

    ``index.reencode(str(folder))`` puts an encoder to use, ``CrossEncoderReranker(folder)`` a
    cross-encoder.

    Attributes:
        folder: Folder of the model; None if the model is rejected.
        passages: Number of passages that the model was evaluated on.
        measure: Measure of the gains and the curve, in ir_measures' syntax.
        curve: All epochs from 0 (the base), with the validation queries' mean measure.
        epoch: Number of the best epoch; 0 is the base.
        turnover: Share of the mined negatives that each epoch after the first replaced.
    """

    folder: Path | None = None
    passages: int = 0
    measure: str = "nDCG@10"
    curve: tuple[Epoch, ...] = ()
    epoch: int = 0
    turnover: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        curve = [{"epoch": e.number, "loss": e.loss, self.measure: e.ndcg} for e in self.curve]
        return {
            **TrainingResult.to_dict(self),
            "folder": str(self.folder) if self.folder is not None else None,
            "passages": self.passages,
            "epoch": self.epoch,
            "turnover": list(self.turnover),
            "curve": curve,
        }


class RunState:
    """State of a fine-tuning run, on disk after each epoch.

    A run with the same ``key`` is resumed; files of any other run in ``folder`` are deleted.
    ``curve`` has the epochs from 0, the base. ``best`` is the number of the best epoch.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.checkpoints = folder / "checkpoints"
        self.model = folder / "best"
        self.interpolated = folder / "interpolated"
        self._folder = folder
        self._key = key
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / _STATE
        state = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if state.get("key") != key:
            state = {}
            for stale in folder.iterdir():
                shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
        self.curve = [Epoch(*values) for values in state.get("curve", ())]
        self.best: int = state.get("best", 0)
        self.turnover: list[float] = state.get("turnover", [])
        self.base_measures, self.best_measures = (
            {name: np.array(scores) for name, scores in measures.items()}
            for measures in state.get("measures", ({}, {}))
        )
        self._mined: int = state.get("mined", 0)
        self._negatives = {
            query_id: tuple(Negative(*values) for values in negatives)
            for query_id, negatives in state.get("negatives", {}).items()
        }

    def record_epoch(
        self, epoch: Epoch, measures: QueryMeasures, save: Callable[[Path], None]
    ) -> None:
        """Add an epoch; if it is the best so far, keep its measures and ``save`` its model."""
        self.curve.append(epoch)
        if epoch.number == 0:
            self.base_measures = self.best_measures = dict(measures)
        elif (epoch.ndcg or 0.0) > (self.curve[self.best].ndcg or 0.0):
            shutil.rmtree(self.model, ignore_errors=True)
            save(self.model)
            self.best, self.best_measures = epoch.number, dict(measures)
        self._write()

    def record_negatives(self, number: int, negatives: Mapping[str, tuple[Negative, ...]]) -> None:
        """Record the turnover of an epoch's mined negatives, unless it was recorded before."""
        if number <= self._mined:
            return
        negatives = {
            query_id: tuple(negative for negative in mined if negative.source != "given")
            for query_id, mined in negatives.items()
        }
        if self._negatives:
            self.turnover.append(turnover(self._negatives, negatives))
        self._mined, self._negatives = number, negatives
        self._write()

    def is_finished(self, plan: FineTuningPlan) -> bool:
        """Return whether all epochs are done, or the plan's patience has run out."""
        last = self.curve[-1].number
        return last >= plan.epochs or last - self.best >= plan.patience

    def _write(self) -> None:
        state = {
            "key": self._key,
            "curve": [[epoch.number, epoch.loss, epoch.ndcg] for epoch in self.curve],
            "best": self.best,
            "turnover": self.turnover,
            # JSON keeps float64 values exactly.
            "measures": [
                {name: scores.tolist() for name, scores in measures.items()}
                for measures in (self.base_measures, self.best_measures)
            ],
            "mined": self._mined,
            "negatives": {
                query_id: [[negative.id, negative.source] for negative in mined]
                for query_id, mined in self._negatives.items()
            },
        }
        path = self._folder / _STATE
        path.with_suffix(".tmp").write_text(json.dumps(state), encoding="utf-8")
        path.with_suffix(".tmp").replace(path)


class FineTuningTask(ABC):
    """A model with its training data and its evaluation on ``passages`` passages."""

    def __init__(self, model: Any, passages: int) -> None:
        self.model = model
        self.passages = passages

    @abstractmethod
    def evaluate(self, *, base: bool = False) -> QueryMeasures:
        """Return the measures of the held-out queries by the current model, or by the base."""

    @abstractmethod
    def begin_epoch(self, number: int, state: RunState) -> None:
        """Prepare the training data of an epoch, numbered from 1."""

    @abstractmethod
    def build_trainer(self, arguments: dict[str, Any]) -> Any:
        """Return a trainer of the model with ``arguments`` and the task's own arguments."""

    @abstractmethod
    def metadata(self) -> dict[str, Any]:
        """Return the task's entries in the metadata of the model."""

    def choose_model(self, run: "FineTuningRun") -> tuple[QueryMeasures, Path]:
        """Return the measures and the folder of the model that a finished run chooses."""
        return run.state.best_measures, run.state.model

    def read_weights(self, folder: Path) -> dict[str, Any]:
        """Return the weights of a saved model."""
        with quiet_loading():
            saved = type(self.model)(str(folder), device=str(self.model.device))
        weights: dict[str, Any] = saved.state_dict()
        return weights

    def save(self, folder: Path) -> None:
        """Write the model to a new folder."""
        with quiet_loading():
            self.model.save_pretrained(str(folder))


class FineTuningRun:
    """Trains a task's model epoch by epoch, from the last epoch that the state has.

    ``validation`` (n,) flags the held-out queries that choose the epoch. ``progress`` is called
    with each epoch, also with those that a resumed run has done before.
    """

    def __init__(
        self,
        task: FineTuningTask,
        plan: FineTuningPlan,
        state: RunState,
        validation: Mask,
        progress: EpochProgress | None,
    ) -> None:
        self.state = state
        self._task = task
        self._plan = plan
        self._validation = validation
        self._progress = progress if progress is not None else lambda _: None

    def run(self) -> None:
        """Train until all epochs are done, or the patience has run out."""
        state, task = self.state, self._task
        if not state.curve:
            measures = task.evaluate(base=True)
            state.record_epoch(Epoch(0, None, self.validation_mean(measures)), measures, task.save)
        for epoch in state.curve:
            self._progress(epoch)
        last = self._last_checkpoint()
        if last is not None:
            task.model.load_state_dict(task.read_weights(last))
            trainer_state = json.loads((last / "trainer_state.json").read_text(encoding="utf-8"))
            number = round(trainer_state["epoch"])
            if number > state.curve[-1].number:  # the run was killed before it evaluated this epoch
                losses = [log["loss"] for log in trainer_state["log_history"] if "loss" in log]
                self.end_epoch(number, losses[-1] if losses else None)
        if state.is_finished(self._plan):
            return
        task.begin_epoch(state.curve[-1].number + 1, state)
        with quiet_loading():
            trainer = self._build_trainer()
            trainer.train(resume_from_checkpoint=str(last) if last is not None else None)

    def end_epoch(self, number: int, loss: float | None) -> bool:
        """Evaluate and record an epoch, and return whether to stop."""
        measures = self._task.evaluate()
        epoch = Epoch(number, loss, self.validation_mean(measures))
        self.state.record_epoch(epoch, measures, self._task.save)
        self._progress(epoch)
        return self.state.is_finished(self._plan)

    def validation_mean(self, measures: QueryMeasures) -> float:
        """Return the validation queries' mean measure in the index's default search mode."""
        return float(next(iter(measures.values()))[self._validation].mean())

    def _last_checkpoint(self) -> Path | None:
        from transformers import trainer_utils

        folder = self.state.checkpoints
        if not folder.exists():
            return None
        for checkpoint in folder.iterdir():
            if not (checkpoint / "trainer_state.json").exists():  # which is written last
                shutil.rmtree(checkpoint)
        find: Callable[[str], str | None] = trainer_utils.get_last_checkpoint
        found = find(str(folder))
        return Path(found) if found is not None else None

    def _build_trainer(self) -> Any:
        from datasets import disable_progress_bars
        from transformers import PrinterCallback

        from twofold.training.finetuning.hf_trainers import EpochCallback

        disable_progress_bars()
        plan = self._plan
        arguments = {
            "output_dir": str(self.state.checkpoints),
            "num_train_epochs": plan.epochs,
            "per_device_train_batch_size": plan.batch,
            "learning_rate": plan.learning_rate,
            "warmup_steps": plan.warmup,  # a number below 1 is a share
            "save_strategy": "epoch",
            "save_total_limit": 1,
            "logging_strategy": "epoch",
            "report_to": "none",
            "disable_tqdm": True,
            "dataloader_pin_memory": self._task.model.device.type != "cpu",
            "seed": plan.seed,
            "data_seed": plan.seed,
        }
        trainer = self._task.build_trainer(arguments)
        begin_epoch = partial(self._task.begin_epoch, state=self.state)
        trainer.add_callback(EpochCallback(begin_epoch, self.end_epoch))
        trainer.remove_callback(PrinterCallback)  # which prints every log
        return trainer


def fine_tune(
    index: Index,
    training_set: TrainingSet,
    folder: Path,
    plan: Plan,
    build_task: Callable[[Plan, DataSplit, TrainingSet], FineTuningTask],
    fingerprint: str,
    progress: EpochProgress | None,
    extra: TrainingSet | None = None,
) -> FineTunedModel:
    """Run a fine-tuning; if the model is accepted, copy it to ``folder``, which must be new.

    ``build_task`` gets the plan, the split and all judged queries. ``fingerprint`` identifies the
    base model, for resuming.
    """
    check_new_folder(folder)
    with index.open_search() as scope:
        judged = examples_in_index(scope, training_set)
        more = drop_known_queries(scope, judged, extra)
        generation = scope.session.corpus.generation
    if len(judged) < plan.min_queries:
        return FineTunedModel(**too_few_queries(len(judged), plan))
    if plan.mining is not None:
        plan = replace(plan, mining=restrict_to_legs(index, plan.mining))
    split = DataSplit.from_plan(judged, plan, more)
    task = build_task(plan, split, judged)
    key = f"{judged.digest} {more.digest} {generation} {fingerprint} {plan.key}"
    state = RunState(folder / _WORK_FOLDER, key)
    run = FineTuningRun(task, plan, state, ~split.test, progress)
    run.run()
    base, (measures, model) = state.base_measures, task.choose_model(run)
    forgotten = None
    if CONTROL in base and CONTROL in measures:
        mode = next(iter(base))
        forgotten = compute_gain(mode, base[CONTROL], measures[CONTROL], plan.confidence)
    fields = judge(base, measures, split.unseen, split.test, forgotten, plan, state.best)
    tests = int(split.test.sum())
    if fields["needed"] is not None:  # scale from the test queries to all queries
        fields["needed"] = round(fields["needed"] * len(judged) / tests)
    metadata = {
        "twofold": __version__,
        "data": split.train.digest,
        "queries": len(split.train),
        "test_queries": tests,
        "extra": len(more),
        **{name: getattr(plan, name) for name in ("batch", "learning_rate", "seed")},
        "epoch": state.best,
        **task.metadata(),
        "gains": [gain.to_dict() for gain in fields["gains"]],
    }
    if fields["accepted"]:
        shutil.copytree(model, folder, dirs_exist_ok=True)
        text = json.dumps(metadata, indent=2, ensure_ascii=False)
        (folder / "twofold.json").write_text(text, encoding="utf-8")
    shutil.rmtree(folder / _WORK_FOLDER)
    with suppress(OSError):  # raised if the folder isn't empty
        folder.rmdir()
    return FineTunedModel(
        **fields,
        queries=len(judged),
        metadata=metadata,
        folder=folder if fields["accepted"] else None,
        passages=task.passages,
        measure=plan.measure,
        curve=tuple(state.curve),
        epoch=state.best,
        turnover=tuple(state.turnover),
    )
