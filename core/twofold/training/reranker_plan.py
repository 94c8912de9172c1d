"""How to train a cross-encoder."""

from dataclasses import dataclass, field

from twofold.training.checking import check_whole
from twofold.training.fine_tuning_plan import FineTuningPlan
from twofold.training.mining import Mining


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
        check_whole("candidates", self.candidates, 2)
