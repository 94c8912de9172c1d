"""What plans of fine-tuning have in common: how to learn, and what it takes to keep a model."""

from dataclasses import dataclass, fields, is_dataclass

from twofold.evaluation.measures import named
from twofold.protocols import Reranker
from twofold.training.checking import check_range, check_seed, check_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuningPlan:
    """How a model is trained by sentence-transformers, and when what was learned is kept.

    An epoch sees every pair once, ``batch`` pairs at a step, and the learning rate grows over the
    ``warmup`` share of all steps. A ``held_out`` share of the queries is never learned from: some
    of the others choose the epoch, and training stops when ``patience`` epochs brought them
    nothing. The held-out ones judge: their gain's interval at this ``level`` must lie above zero,
    and those whose relevant passages were never learned from may lose ``most_lost`` at most. With
    fewer than ``fewest`` queries, of which a fifth would judge, nothing is ever kept.
    """

    epochs: int = 3
    batch: int = 32
    learning_rate: float = 2e-5
    warmup: float = 0.1
    held_out: float = 0.2
    patience: int = 1
    measure: str = "nDCG@10"
    level: float = 0.95
    most_lost: float = 0.01
    fewest: int = 40
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low in (("epochs", 1), ("batch", 2), ("patience", 1), ("fewest", 8)):
            check_whole(name, getattr(self, name), low)
        check_seed(self.seed)
        for name in ("learning_rate", "held_out", "level"):
            wanted = "a number between 0 and 1"
            check_range(name, getattr(self, name), 0, 1, wanted, strict=True)
        check_range("warmup", self.warmup, 0, 1, "a number from 0 to 1")
        check_range("most_lost", self.most_lost, 0, 1, "a number from 0 to 1")
        named(self.measure)

    @property
    def key(self) -> str:
        """All values as text, which is the same in every process."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return ", ".join(f"{name}={_named(value)}" for name, value in values.items())


def _named(value: object) -> str:
    """Return a value as text, models by what they are and not by where they lie in memory."""
    if isinstance(value, Reranker):
        identity = getattr(value, "identity", None)
        return repr(identity) if identity is not None else type(value).__qualname__
    if is_dataclass(value) and not isinstance(value, type):
        return str({each.name: _named(getattr(value, each.name)) for each in fields(value)})
    return repr(value)
