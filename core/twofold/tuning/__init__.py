"""Tuning on judged queries that changes nothing unless held-out ones are better for it."""

from twofold.tuning.compare import Compared, compare_settings
from twofold.tuning.coordinate_search import Stage
from twofold.tuning.objective import Bench
from twofold.tuning.result import Fold, Tuned, fusion_in_words, scorer_in_words, setting_in_words
from twofold.tuning.search_space import Plan, Space
from twofold.tuning.tune import tune, tuned_on

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
