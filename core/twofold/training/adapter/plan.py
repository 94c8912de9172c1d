"""How to learn a query adapter."""

import math
from dataclasses import dataclass

from twofold.errors import InputError
from twofold.evaluation.measures import parse_measure
from twofold.validation import (
    check_fractions,
    check_integer,
    check_number,
    check_seed,
    check_temperature,
)


@dataclass(frozen=True, slots=True)
class AdapterPlan:
    """How to learn a query adapter, and what it takes to keep it.

    ``temperature`` divides similarities of unit length in the loss: a library that multiplies by a
    ``scale`` calls it 1 / scale. ``pull`` holds the matrix near the identity, ``rank`` lets it
    differ by a matrix of that rank only, and ``blends`` are the shares of what was learned that are
    tried, the rest being the identity. An epoch sees every pair once, ``batch`` pairs at a step of
    Adam with this ``learning_rate``; fitting stops when ``patience`` epochs brought nothing on
    queries that it doesn't learn from, and after ``epochs`` at the latest. More than
    ``most_passages`` passages are sampled, all that answer among them.

    Queries are dealt to ``folds``, and each is measured by what was learned without it. An adapter
    is kept if the gain's interval at this ``level`` lies above zero, and if queries whose relevant
    passages were never learned from lose no more than ``most_lost``. With fewer than ``fewest``
    queries nothing is ever kept.
    """

    temperature: float = 0.05
    pull: float = 0.003
    rank: int | None = None
    blends: tuple[float, ...] = (1.0, 0.85, 0.7, 0.5, 0.3)
    epochs: int = 30
    patience: int = 6
    batch: int = 128
    learning_rate: float = 1e-3
    most_passages: int = 20_000
    measure: str = "nDCG@10"
    folds: int = 4
    level: float = 0.95
    most_lost: float = 0.01
    fewest: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"epochs": 1, "patience": 1, "batch": 1, "folds": 2, "fewest": 8}
        for name, low in {**least, "most_passages": 2}.items():
            check_integer(name, getattr(self, name), low)
        check_seed(self.seed)
        if self.rank is not None:
            check_integer("rank", self.rank, 1)
        check_temperature(self.temperature)
        for name in ("pull", "most_lost"):
            check_number(name, getattr(self, name), 0, math.inf)
        check_fractions("blends", self.blends)
        for name, high in (("learning_rate", math.inf), ("level", 1)):
            check_number(name, getattr(self, name), 0, high, exclusive=True)
        if self.fewest < 2 * self.folds:
            raise InputError(
                f"fewest is {self.fewest}: at least {2 * self.folds} queries are wanted for "
                f"{self.folds} folds"
            )
        parse_measure(self.measure)
