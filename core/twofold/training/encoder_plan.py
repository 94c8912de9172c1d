"""How to fine-tune an encoder."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from twofold.errors import InputError
from twofold.evaluation.measures import named
from twofold.training.checking import check_range, check_temperature, check_whole
from twofold.training.mining import Mining

Towers = Literal["shared", "separate"]


@dataclass(frozen=True, slots=True)
class EncoderPlan:
    """How to fine-tune an encoder, and what it takes to keep it.

    ``temperature`` divides similarities in the loss: sentence-transformers' ``scale`` is 1 /
    temperature. ``batch`` pairs meet in a step, each other's negatives too; ``at_once`` of them are
    in memory with their gradients (GradCache). Each pair comes with as many negatives as ``mining``
    names: random ones in the first epoch, then its mix, by the model as it was before, or, with
    ``remine``, as it is at each epoch's start. ``max_length`` tokens of a text are read in
    training, all that the model reads if None. ``dims`` are lengths at which vectors must work cut
    off (Matryoshka). ``towers="separate"`` gives queries and passages weights of their own.

    A ``held_out`` share of the queries is never learned from. After each epoch, and before the
    first, they are measured over ``checked_passages`` passages, all that answer and all that come
    near among them; training stops when ``patience`` epochs brought nothing. ``measure``,
    ``level``, ``most_lost`` and ``fewest`` are those of ``AdapterPlan``.
    """

    temperature: float = 0.05
    epochs: int = 3
    batch: int = 32
    at_once: int | None = None
    learning_rate: float = 2e-5
    warmup: float = 0.1
    mining: Mining = field(default_factory=lambda: Mining((("lexical", 1), ("dense", 1))))
    remine: bool = False
    max_length: int | None = None
    dims: tuple[int, ...] = ()
    towers: Towers = "shared"
    held_out: float = 0.2
    checked_passages: int = 2_000
    patience: int = 1
    measure: str = "nDCG@10"
    level: float = 0.95
    most_lost: float = 0.01
    fewest: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low in (("epochs", 1), ("batch", 2), ("patience", 1)):
            check_whole(name, getattr(self, name), low)
        for name, low in (("checked_passages", 10), ("fewest", 8), ("seed", 0)):
            check_whole(name, getattr(self, name), low)
        for name in ("at_once", "max_length"):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name), 1)
        for length in self.dims:
            check_whole("a length of dims", length, 1)
        check_temperature(self.temperature)
        check_range("learning_rate", self.learning_rate, 0, 1, "a number above 0", strict=True)
        check_range("held_out", self.held_out, 0, 1, "a number between 0 and 1", strict=True)
        check_range("level", self.level, 0, 1, "a number between 0 and 1", strict=True)
        check_range("warmup", self.warmup, 0, 1, "a number from 0 to 1")
        check_range("most_lost", self.most_lost, 0, 1, "a number from 0 to 1")
        if self.towers not in get_args(Towers):
            raise InputError(f"towers is {self.towers!r}: 'shared' or 'separate' is wanted")
        named(self.measure)
