"""Subclasses of sentence-transformers' trainers, separate because importing them is slow."""

from typing import Any, Protocol

from sentence_transformers import CrossEncoderTrainer, SentenceTransformerTrainer
from transformers import TrainerCallback


class EpochHooks(Protocol):
    """Hooks that ``EpochCallback`` calls around each epoch; epochs are numbered from 1."""

    def begin_epoch(self, number: int) -> None:
        """Prepare an epoch's data."""
        ...

    def end_epoch(self, number: int, loss: float | None) -> bool:
        """Evaluate the model after an epoch; return whether training stops."""
        ...


class EpochCallback(TrainerCallback):
    """Calls the hooks before and after each epoch.

    The caller prepares the first epoch itself, before the trainer reads the data.

    Args:
        hooks: The methods to call.
    """

    def __init__(self, hooks: EpochHooks) -> None:
        self._hooks = hooks
        self._loss: float | None = None
        self._first = True

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002  # the trainer's interface
        """Prepare the epoch, unless it is the run's first."""
        if not self._first:
            self._hooks.begin_epoch(round(state.epoch or 0) + 1)
        self._first = False

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002  # the trainer's interface
        """Remember the epoch's loss."""
        self._loss = (kwargs.get("logs") or {}).get("loss", self._loss)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> Any:  # noqa: ARG002  # the trainer's interface
        """Evaluate the epoch, now that its checkpoint is on disk to resume from."""
        control.should_training_stop = self._hooks.end_epoch(round(state.epoch), self._loss)
        return control


class _NoModelCard:
    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Add nothing, because writing a card draws a progress bar."""


class EncoderTrainer(_NoModelCard, SentenceTransformerTrainer):
    """Trainer of encoders that writes no model card."""


class RerankerTrainer(_NoModelCard, CrossEncoderTrainer):
    """Trainer of cross-encoders that writes no model card."""
