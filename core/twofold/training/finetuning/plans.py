"""What plans of fine-tuning have in common: how to learn, and what it takes to keep a model."""

from dataclasses import dataclass, field, fields, is_dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from twofold.errors import InputError, MissingExtraError
from twofold.evaluation.measures import parse_measure
from twofold.protocols import Reranker
from twofold.training.negatives.mining import Mining
from twofold.validation import (
    check_fractions,
    check_integer,
    check_number,
    check_seed,
    check_temperature,
)


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
            check_integer(name, getattr(self, name), low)
        check_seed(self.seed)
        for name in ("learning_rate", "held_out", "level"):
            check_number(name, getattr(self, name), 0, 1, exclusive=True)
        check_number("warmup", self.warmup, 0, 1)
        check_number("most_lost", self.most_lost, 0, 1)
        parse_measure(self.measure)

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


Towers = Literal["shared", "separate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderPlan(FineTuningPlan):
    """How to fine-tune an encoder, beside what ``FineTuningPlan`` says.

    ``temperature`` divides similarities in the loss: sentence-transformers' ``scale`` is 1 /
    temperature. The pairs of a batch are each other's negatives, too; ``at_once`` of them are in
    memory with their gradients (GradCache). Each pair comes with as many negatives as ``mining``
    names, none if that is None: random ones in the first epoch, then its mix, by the model as it
    was before, or, with ``remine``, as it is at each epoch's start; and with one more, in turn, of
    those that examples came with. ``max_length`` tokens of a text
    are read while the model learns, all that it reads otherwise if None; examined and served it
    reads as much as before. ``dims`` are lengths at which vectors must work cut off (Matryoshka).
    ``towers="separate"`` gives queries and passages weights of their own.

    With a ``teacher`` the loss is MarginMSE (Hofstätter et al., Improving Efficient Neural Ranking
    Models with Cross-Architecture Knowledge Distillation, 2020): the answer's similarity less a
    negative's, over the temperature, is to be what the teacher's logits say.

    ``blends`` are the shares of the best epoch's weights that are tried, the rest being the base's:
    less is learned and less forgotten (Wortsman et al., Robust Fine-Tuning of Zero-Shot Models,
    CVPR 2022). The queries that choose the epoch choose among them. All are asked over
    ``checked_passages`` passages or a few more: those that answer, those with their words, others.
    """

    temperature: float = 0.05
    at_once: int | None = None
    mining: Mining | None = field(default_factory=lambda: Mining((("lexical", 1), ("dense", 1))))
    remine: bool = False
    teacher: Reranker | None = None
    max_length: int | None = None
    dims: tuple[int, ...] = ()
    towers: Towers = "shared"
    blends: tuple[float, ...] = (1.0,)
    checked_passages: int = 2_000

    def __post_init__(self) -> None:
        FineTuningPlan.__post_init__(self)  # super() knows no class made anew for its slots
        check_integer("checked_passages", self.checked_passages, 10)
        for name in ("at_once", "max_length"):
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name), 1)
        if not isinstance(self.dims, tuple):
            raise InputError(f"dims is {self.dims!r:.40}: a tuple of lengths is wanted")
        for length in self.dims:
            check_integer("a length of dims", length, 1)
        check_temperature(self.temperature)
        check_fractions("blends", self.blends)
        if self.towers not in get_args(Towers):
            raise InputError(f"towers is {self.towers!r}: 'shared' or 'separate' is wanted")
        if self.mining is not None and not isinstance(self.mining, Mining):
            raise InputError(f"mining is {self.mining!r:.80}: a Mining, or None, is wanted")
        if self.teacher is not None and not isinstance(self.teacher, Reranker):
            raise InputError(f"teacher is {self.teacher!r:.80}: one of twofold.rerank is wanted")
        if self.mining is None and (self.teacher is not None or self.remine):
            asking = "a teacher" if self.teacher is not None else "remine"
            raise InputError(f"mining is None: {asking} needs negatives, so say which")

    @property
    def negatives(self) -> int:
        """How many negatives each pair comes with."""
        return sum(self.mining.counts.values()) if self.mining is not None else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankerPlan(FineTuningPlan):
    """How to train a cross-encoder, beside what ``FineTuningPlan`` says.

    Each answer is a pair of label 1, and comes with the negatives of ``mining`` as pairs of label
    0. For queries that are held out, the index's best ``candidates`` are put in a new order.
    """

    batch: int = 16
    mining: Mining = field(
        default_factory=lambda: Mining((("random", 1), ("lexical", 2), ("dense", 2)))
    )
    candidates: int = 20

    def __post_init__(self) -> None:
        FineTuningPlan.__post_init__(self)  # super() knows no class made anew for its slots
        check_integer("candidates", self.candidates, 2)


WORK = "training"
"""The folder of a run within that of its model, while it lasts."""
_WORKS = {"notes.json", "notes.tmp", "checkpoints", "best", "blend"}
_OLDEST = (6, 2)  # of sentence-transformers, with a GradCache for losses of one's own


def check_extra() -> None:
    """Raise MissingExtraError without what sentence-transformers' trainers need."""
    missing = [name for name in ("accelerate", "datasets") if find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"fine-tuning needs {' and '.join(missing)}: pip install 'twofold[train]'"
        )
    found = version("sentence-transformers")
    if tuple(int(each) for each in found.split(".")[:2]) < _OLDEST:
        raise MissingExtraError(
            f"fine-tuning needs sentence-transformers 6.2 or newer, not {found}: "
            "pip install 'twofold[train]'"
        )


def check_new_folder(folder: Path) -> Path:
    """Return the folder if it is new, or has nothing but a stopped run; else raise InputError."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: give the path of a new folder")
    work = folder / WORK
    strange = [each for each in folder.iterdir() if each != work] if folder.exists() else []
    if work.exists() and (not work.is_dir() or {each.name for each in work.iterdir()} - _WORKS):
        strange.append(work)
    if strange:
        raise InputError(
            f"{folder} is there already, with {strange[0].name}: give the path of a new folder"
        )
    return folder
