"""The trainers of fine-tuning and their loss, in a module of their own: importing torch is slow."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from sentence_transformers import CrossEncoderTrainer, SentenceTransformerTrainer
from sentence_transformers.base.losses.gradcache import CachedLossMixin
from torch import Tensor
from transformers import TrainerCallback

from twofold.training.finetuning.models import Similarity
from twofold.training.finetuning.pair_dataset import PairDataset


class EpochCallback(TrainerCallback):
    """Calls functions before and after each epoch; epochs are numbered from 1.

    ``end_epoch`` gets an epoch's number and loss, and returns whether training stops. A run's first
    epoch has no ``begin_epoch``: the caller prepares it before the trainer reads the data.
    """

    def __init__(
        self, begin_epoch: Callable[[int], None], end_epoch: Callable[[int, float | None], bool]
    ) -> None:
        self._begin_epoch = begin_epoch
        self._end_epoch = end_epoch
        self._loss: float | None = None
        self._first = True

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002  # the trainer's interface
        """Prepare the epoch, unless it is the run's first."""
        if not self._first:
            self._begin_epoch(round(state.epoch or 0) + 1)
        self._first = False

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002  # the trainer's interface
        """Remember the epoch's loss."""
        self._loss = (kwargs.get("logs") or {}).get("loss", self._loss)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> Any:  # noqa: ARG002  # the trainer's interface
        """Evaluate the epoch, now that its checkpoint is on disk to resume from."""
        control.should_training_stop = self._end_epoch(round(state.epoch), self._loss)
        return control


class _NoModelCard:
    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Add nothing, because writing a card draws a progress bar."""


class EncoderTrainer(_NoModelCard, SentenceTransformerTrainer):
    """Trainer of encoders that writes no model card."""


class RerankerTrainer(_NoModelCard, CrossEncoderTrainer):
    """Trainer of cross-encoders that writes no model card."""


class ContrastiveLoss(CachedLossMixin, torch.nn.Module):
    """InfoNCE over a batch's passages, or MarginMSE if the pairs have a teacher's scores.

    A query's other positives, and duplicates of positives, are masked from the in-batch negatives.
    Each row's loss is scaled by its pair's weight. The label of a row has the numbers, in
    ``pairs``, of its query and its texts. Gradients of ``mini_batch_size`` texts of a column
    are in memory at once (Gao et al., Scaling Deep Contrastive Learning Batch Size under Memory
    Limited Setup, RepL4NLP 2021).
    """

    def __init__(
        self,
        model: Any,
        similarity: Similarity,
        temperature: float,
        pairs: PairDataset,
        mini_batch_size: int | None,
    ) -> None:
        super().__init__()
        self.model = model
        self.mini_batch_size = mini_batch_size if mini_batch_size is not None else 1
        self.uses_gradient_cache = mini_batch_size is not None
        self._similarity = similarity
        self._temperature = temperature
        self._pairs = pairs

    def forward(self, features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """Return the loss of a batch; ``features`` has the tokens of each column."""
        if self.uses_gradient_cache:
            cached: Tensor = self.forward_cached(features, labels)
            return cached
        vectors = [[self.model(column)["sentence_embedding"]] for column in features]
        return self.calculate_loss(vectors, labels)

    def calculate_loss(
        self, reps: list[list[Tensor]], labels: Tensor | None = None, *, with_backward: bool = False
    ) -> Tensor:
        """Return the loss of a batch; ``reps`` has each column's vectors in mini-batches."""
        assert labels is not None  # PairDataset gives every row a label
        queries, columns = torch.cat(reps[0]), [torch.cat(column) for column in reps[1:]]
        scores = self._similarity.scores(queries, torch.cat(columns)) / self._temperature
        numbers = labels.tolist()
        rows = torch.arange(len(numbers), device=scores.device)
        positive = scores[rows, rows]  # positives are the first column
        if self._pairs.teacher_scores:
            negatives = [scores[rows, n * len(rows) + rows] for n in range(1, len(columns))]
            margins = torch.stack([positive - negative for negative in negatives], dim=1)
            target = torch.tensor(self._pairs.teacher_margins(numbers), dtype=margins.dtype)
            losses = ((margins - target.to(margins.device)) ** 2).mean(dim=1)
        else:
            mask = torch.tensor(self._other_positives(numbers), device=scores.device)
            losses = scores.masked_fill(mask, -math.inf).logsumexp(dim=1) - positive
        weights = torch.tensor([self._pairs.weights[row[0]] for row in numbers], dtype=losses.dtype)
        loss = (losses * weights.to(losses.device)).mean()
        if with_backward:
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own
            loss = loss.detach()
        return loss

    def _other_positives(self, numbers: Sequence[Sequence[int]]) -> list[list[bool]]:
        """Flag, for each row, the batch's passages that are other positives of its query."""
        passages = [row[column] for column in range(1, len(numbers[0])) for row in numbers]
        mask = []
        for position, row in enumerate(numbers):
            positives = self._pairs.positives[row[0]]
            flags = [passage in positives for passage in passages]
            flags[position] = False
            mask.append(flags)
        return mask
