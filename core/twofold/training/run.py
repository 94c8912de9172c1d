"""What is done around each epoch of a trainer."""

from collections.abc import Callable
from typing import Protocol

from twofold.training.fitting import Epoch

Say = Callable[[Epoch], None]


class Run(Protocol):
    """What is done before and after each epoch of a trainer."""

    def begin(self, number: int) -> None:
        """Make ready for the epoch ``number``, from 1; the first is made ready before the start."""
        ...

    def end(self, number: int, loss: float | None, say: Say | None) -> bool:
        """Examine what the epoch ``number`` gave, and return whether to stop."""
        ...
