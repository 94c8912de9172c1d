"""How to tune: the measure, the folds, and what is tried."""

from dataclasses import dataclass, field

from twofold.errors import InputError
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
        if not isinstance(self.folds, int) or isinstance(self.folds, bool) or self.folds < 2:
            raise InputError(f"folds is {self.folds!r}: a whole number of at least 2 is wanted")
        if not 0 < self.level < 1:
            raise InputError(f"level is {self.level!r}: a number between 0 and 1 is wanted")
        if self.fewest < 2 * self.folds:
            raise InputError(
                f"fewest is {self.fewest!r}: at least {2 * self.folds} queries are wanted for "
                f"{self.folds} folds"
            )
