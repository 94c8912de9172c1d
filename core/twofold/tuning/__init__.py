"""Tuning on judged queries that changes nothing unless held-out ones are better for it."""

from twofold.tuning.bench import Bench
from twofold.tuning.plan import Plan
from twofold.tuning.search import Stage
from twofold.tuning.space import Space
from twofold.tuning.tune import tune
from twofold.tuning.tuned import Fold, Tuned
from twofold.tuning.wording import fusion_in_words, scorer_in_words, setting_in_words

__all__ = [
    "Bench",
    "Fold",
    "Plan",
    "Space",
    "Stage",
    "Tuned",
    "fusion_in_words",
    "scorer_in_words",
    "setting_in_words",
    "tune",
]
