"""sentence-transformers' trainers as a run uses them; imported late, since that is slow."""

from typing import Any

from sentence_transformers import CrossEncoderTrainer, SentenceTransformerTrainer
from transformers import TrainerCallback

from twofold.training.finetuning.loop import FineTuningRun


class EpochCallback(TrainerCallback):
    """Renews the negatives before each epoch, examines after it, and stops when told to."""

    def __init__(self, run: FineTuningRun) -> None:
        self._run = run
        self._loss: float | None = None
        self._begun: int | None = None

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002  # the trainer's contract
        """Mine for the epoch that begins; the first one's negatives were there at the start."""
        number = round(state.epoch or 0) + 1
        if self._begun is not None:
            self._run.begin(number)
        self._begun = number

    def on_log(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ARG002  # the trainer's contract
        """Remember the epoch's loss."""
        self._loss = (given.get("logs") or {}).get("loss", self._loss)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> Any:  # noqa: ARG002  # the trainer's contract
        """Examine once the epoch's checkpoint is on disk, so that a stopped run goes on there."""
        control.should_training_stop = self._run.end(round(state.epoch), self._loss)
        return control


class EncoderTrainer(SentenceTransformerTrainer):
    """Writes no model card, which would draw a bar: a run writes its own."""

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Add nothing."""


class RerankerTrainer(CrossEncoderTrainer):
    """Writes no model card, which would draw a bar: a run writes its own."""

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Add nothing."""
