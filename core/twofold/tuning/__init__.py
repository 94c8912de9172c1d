"""Tuning on judged queries that changes nothing unless held-out ones are better for it."""

from twofold.tuning.bench import Bench
from twofold.tuning.compared import Compared, compare_settings
from twofold.tuning.plan import Plan
from twofold.tuning.search import Stage
from twofold.tuning.space import Space
from twofold.tuning.tune import tune, tuned_on
from twofold.tuning.tuned import Fold, Tuned
from twofold.tuning.wording import fusion_in_words, scorer_in_words, setting_in_words

__all__ = [
    "Bench",
    "Compared",
    "Fold",
    "Plan",
    "Space",
    "Stage",
    "Tuned",
    "compare_settings",
    "fusion_in_words",
    "scorer_in_words",
    "setting_in_words",
    "tune",
    "tuned_on",
]
