"""Hyperparameters of fine-tuning."""

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Literal, get_args

from twofold.errors import InputError
from twofold.protocols import Reranker
from twofold.training.acceptance import AcceptanceRules
from twofold.training.negatives import Mining
from twofold.validation import (
    check_choice,
    check_fractions,
    check_integer,
    check_number,
    check_temperature,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuningPlan(AcceptanceRules):
    """Hyperparameters of every fine-tuning, on top of those of ``AcceptanceRules``.

    Attributes:
        epochs: Largest number of passes over all training pairs.
        batch: Pairs per step.
        learning_rate: Peak learning rate.
        warmup: Share of all steps over which the learning rate grows.
        held_out: Share of the queries that are test queries, which decide on acceptance. A tenth
            of the rest are validation queries, which choose the epoch. Both are not trained on.
        patience: Epochs without a better measure of validation queries after which training stops.
    """

    epochs: int = 3
    batch: int = 32
    learning_rate: float = 2e-5
    warmup: float = 0.1
    held_out: float = 0.2
    patience: int = 1
    min_queries: int = 40
    mining: Mining | None = None

    def __post_init__(self) -> None:
        AcceptanceRules.__post_init__(self)  # super() fails in a dataclass with slots
        for name, minimum in (("epochs", 1), ("batch", 2), ("patience", 1)):
            check_integer(name, getattr(self, name), minimum)
        for name in ("learning_rate", "held_out"):
            check_number(name, getattr(self, name), 0, 1, exclusive=True)
        check_number("warmup", self.warmup, 0, 1)

    @property
    def key(self) -> str:
        """All values as text that is the same in every process."""
        return ", ".join(
            f"{each.name}={_as_text(getattr(self, each.name))}" for each in fields(self)
        )


def _as_text(value: object) -> str:
    """Return a value as text without memory addresses."""
    if isinstance(value, Reranker):
        identity = getattr(value, "identity", None)
        return repr(identity) if identity is not None else type(value).__qualname__
    if is_dataclass(value) and not isinstance(value, type):
        return str({each.name: _as_text(getattr(value, each.name)) for each in fields(value)})
    return repr(value)


Towers = Literal["shared", "separate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderPlan(FineTuningPlan):
    """Hyperparameters of ``train_encoder``, on top of those of ``FineTuningPlan``.

    Attributes:
        temperature: Divides the similarities in the loss; 1 / sentence-transformers' ``scale``.
        mini_batch_size: Pairs of a batch whose gradients are in memory at once (GradCache); None
            for the whole batch.
        mining: Negatives of each pair, in addition to in-batch ones: random in the first epoch,
            then mined with the base model. If examples have own negatives, each epoch adds one of
            them. None for in-batch negatives only.
        remine: Whether to mine again before each epoch, with the current model.
        teacher: Cross-encoder whose margins between positives and negatives are learned by
            MarginMSE (Hofstätter et al., Improving Efficient Neural Ranking Models with
            Cross-Architecture Knowledge Distillation, 2020). None for InfoNCE.
        max_length: Tokens of a text that are read in training; None for the model's own limit.
        dims: Shorter vector lengths to train for, too (Matryoshka).
        towers: ``"separate"`` gives queries and passages weights of their own.
        interpolations: Weights to try for the best epoch's parameters; the base's have the rest
            (Wortsman et al., Robust Fine-Tuning of Zero-Shot Models, CVPR 2022). The validation
            queries choose the weight.
        checked_passages: Number of passages that the model is evaluated on.
    """

    temperature: float = 0.05
    mini_batch_size: int | None = None
    mining: Mining | None = field(default_factory=lambda: Mining({"lexical": 1, "dense": 1}))
    remine: bool = False
    teacher: Reranker | None = None
    max_length: int | None = None
    dims: tuple[int, ...] = ()
    towers: Towers = "shared"
    interpolations: tuple[float, ...] = (1.0,)
    checked_passages: int = 2_000

    def __post_init__(self) -> None:
        FineTuningPlan.__post_init__(self)
        check_integer("checked_passages", self.checked_passages, 10)
        for name in ("mini_batch_size", "max_length"):
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name))
        if not isinstance(self.dims, tuple):
            raise InputError(f"dims must be a tuple of integers, got {self.dims!r:.40}")
        for length in self.dims:
            check_integer("each of dims", length)
        check_temperature(self.temperature)
        check_fractions("interpolations", self.interpolations)
        check_choice("towers", self.towers, get_args(Towers))
        if self.mining is not None and not isinstance(self.mining, Mining):
            raise InputError(f"mining must be a Mining or None, got {self.mining!r:.80}")
        if self.teacher is not None and not isinstance(self.teacher, Reranker):
            raise InputError(f"teacher must be a Reranker or None, got {self.teacher!r:.80}")
        if self.mining is None and (self.teacher is not None or self.remine):
            name = "teacher" if self.teacher is not None else "remine"
            raise InputError(f"{name} needs negatives: pass a mining that isn't None")

    @property
    def negatives(self) -> int:
        """Number of mined negatives per pair."""
        return sum(self.mining.counts.values()) if self.mining is not None else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankerPlan(FineTuningPlan):
    """Hyperparameters of ``train_reranker``, on top of those of ``FineTuningPlan``.

    Attributes:
        mining: Negatives of each query, as pairs of label 0; relevant passages have label 1.
        candidates: Number of the index's hits per query that are reranked in evaluation.
    """

    batch: int = 16
    mining: Mining = field(default_factory=lambda: Mining({"random": 1, "lexical": 2, "dense": 2}))
    candidates: int = 20

    def __post_init__(self) -> None:
        FineTuningPlan.__post_init__(self)
        check_integer("candidates", self.candidates, 2)
