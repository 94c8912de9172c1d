"""How to tune: the measure, the folds, and what is tried."""

from dataclasses import dataclass, field

import numpy as np

from twofold.errors import InputError
from twofold.evaluation.measures import named
from twofold.tuning.space import Space


@dataclass(frozen=True, slots=True)
class Plan:
    """How to tune.

    ``measure`` is one of ir_measures', and nDCG is by far the quickest. Queries are dealt to
    ``folds`` by ``seed``. A change must be better on held-out queries at this ``level`` of
    confidence. With fewer than ``fewest`` judged queries, nothing is ever changed.
    """

    measure: str = "nDCG@10"
    folds: int = 5
    seed: int = 0
    level: float = 0.95
    fewest: int = 20
    space: Space = field(default_factory=Space)

    def __post_init__(self) -> None:
        for name, least in (("folds", 2), ("seed", 0), ("fewest", 1)):
            value: object = getattr(self, name)
            if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
                raise InputError(
                    f"{name} is {value!r}: a whole number of at least {least} is wanted"
                )
        level: object = self.level
        if not isinstance(level, int | float) or isinstance(level, bool) or not 0 < level < 1:
            raise InputError(f"level is {level!r}: a number between 0 and 1 is wanted")
        named(self.measure)
        if self.fewest < 2 * self.folds:
            raise InputError(
                f"fewest is {self.fewest!r}: at least {2 * self.folds} queries are wanted for "
                f"{self.folds} folds"
            )
