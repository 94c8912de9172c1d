"""The losses of fine-tuning, as modules of torch; imported when one is made, since it is slow."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers.base.losses.gradcache import CachedLossMixin

from twofold.training.finetuning.models import Similarity
from twofold.training.finetuning.pair_dataset import Pairs

if TYPE_CHECKING:
    from torch import Tensor


class Contrast(CachedLossMixin, torch.nn.Module):
    """InfoNCE over the passages of a batch, or MarginMSE where the pairs have a teacher's scores.

    The label of a row is its numbers in ``pairs``: the query's, the answer's, the negatives'. What
    answers a query, the same text under another id too, is no negative of it, whoever brought it
    into the batch. A row counts as its pair weighs. With ``at_once`` that many texts of a column
    are in memory with their gradients: Gao et al., Scaling Deep Contrastive Learning Batch Size
    under Memory Limited Setup (RepL4NLP 2021).
    """

    def __init__(
        self,
        model: Any,
        similarity: Similarity,
        temperature: float,
        pairs: Pairs,
        at_once: int | None,
    ) -> None:
        super().__init__()
        self.model = model
        self.mini_batch_size = at_once if at_once is not None else 1
        self.uses_gradient_cache = at_once is not None
        self._similarity = similarity
        self._temperature = temperature
        self._pairs = pairs

    def forward(self, features: Iterable[dict[str, "Tensor"]], labels: "Tensor") -> "Tensor":
        """Return the loss of a batch; ``features`` are the columns' tokens."""
        if self.uses_gradient_cache:
            cached: Tensor = self.forward_cached(features, labels)
            return cached
        vectors = [[self.model(each)["sentence_embedding"]] for each in features]
        return self.calculate_loss(vectors, labels)

    def calculate_loss(
        self,
        reps: list[list["Tensor"]],
        labels: "Tensor | None" = None,
        *,
        with_backward: bool = False,
    ) -> "Tensor":
        """Return the loss of a batch by its columns' vectors, each in parts."""
        assert labels is not None  # every row has its numbers
        queries, columns = torch.cat(reps[0]), [torch.cat(each) for each in reps[1:]]
        scores = self._similarity.scores(queries, torch.cat(columns)) / self._temperature
        numbers = labels.tolist()
        rows = torch.arange(len(numbers), device=scores.device)
        wanted = scores[rows, rows]  # the first column has the answers
        if self._pairs.taught:
            own = [scores[rows, place * len(rows) + rows] for place in range(1, len(columns))]
            margins = torch.stack([wanted - each for each in own], dim=1)
            taught = torch.tensor(self._pairs.margins(numbers), dtype=margins.dtype)
            losses = ((margins - taught.to(margins.device)) ** 2).mean(dim=1)
        else:
            others = torch.tensor(self._answers(numbers), device=scores.device)
            losses = scores.masked_fill(others, -math.inf).logsumexp(dim=1) - wanted
        weights = torch.tensor(self._pairs.weights(numbers), dtype=losses.dtype)
        loss = (losses * weights.to(losses.device)).mean()
        if with_backward:
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own
            loss = loss.detach()
        return loss

    def _answers(self, numbers: Sequence[Sequence[int]]) -> list[list[bool]]:
        """Return which passages of the batch answer a row's query, but for the row's own answer."""
        brought = [row[place] for place in range(1, len(numbers[0])) for row in numbers]
        out = []
        for place, row in enumerate(numbers):
            answers = self._pairs.answers(row[0])
            flags = [each in answers for each in brought]
            flags[place] = False
            out.append(flags)
        return out
