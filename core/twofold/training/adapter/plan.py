"""Hyperparameters of query adapter training."""

import math
from dataclasses import dataclass

from twofold.errors import InputError
from twofold.training.acceptance import AcceptanceRules
from twofold.validation import check_fractions, check_integer, check_number, check_temperature


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterPlan(AcceptanceRules):
    """Hyperparameters of ``train_adapter``, on top of those of ``AcceptanceRules``.

    Attributes:
        temperature: Divides the similarities in the loss; 1 / ``scale`` of other libraries.
        identity_l2: L2 penalty that keeps the matrix near the identity.
        rank: Rank of the matrix's difference from the identity; None for a full matrix.
        interpolations: Weights w to try: the adapter is w times the learned matrix plus (1 - w) I.
        epochs: Largest number of passes over all pairs of a query and a relevant passage.
        patience: Epochs without a better nDCG@10 on validation queries after which a fit stops.
        batch: Pairs per step of the Adam optimizer.
        learning_rate: Adam's learning rate.
        max_passages: Most passages in the loss; of more, the relevant ones and a sample.
        folds: Folds of the cross-validation, which holds out each query once.

    Raises:
        InputError: A value is out of range, or ``min_queries`` is below twice ``folds``.

    Example:
        >>> AdapterPlan(epochs=10, rank=64).temperature
        0.05
    """

    temperature: float = 0.05
    identity_l2: float = 0.003
    rank: int | None = None
    interpolations: tuple[float, ...] = (1.0, 0.85, 0.7, 0.5, 0.3)
    epochs: int = 30
    patience: int = 6
    batch: int = 128
    learning_rate: float = 1e-3
    max_passages: int = 20_000
    folds: int = 4

    def __post_init__(self) -> None:
        AcceptanceRules.__post_init__(self)  # super() fails in a dataclass with slots
        for name in ("epochs", "patience", "batch"):
            check_integer(name, getattr(self, name))
        for name in ("max_passages", "folds"):
            check_integer(name, getattr(self, name), 2)
        if self.rank is not None:
            check_integer("rank", self.rank)
        check_temperature(self.temperature)
        check_number("identity_l2", self.identity_l2, 0)
        check_fractions("interpolations", self.interpolations)
        check_number("learning_rate", self.learning_rate, 0, math.inf, exclusive=True)
        if self.min_queries < 2 * self.folds:
            raise InputError(
                f"min_queries must be >= {2 * self.folds} for {self.folds} folds, "
                f"got {self.min_queries}"
            )
