"""Tuning on judged queries that changes nothing unless held-out ones are better for it."""

from twofold.tuning.compare import Compared, compare_profiles
from twofold.tuning.coordinate_search import Stage
from twofold.tuning.objective import TuningObjective
from twofold.tuning.result import (
    Fold,
    TuningResult,
    fusion_in_words,
    scorer_in_words,
    setting_in_words,
)
from twofold.tuning.search_space import Plan, Space
from twofold.tuning.tune import tune, tune_on

__all__ = [
    "Compared",
    "Fold",
    "Plan",
    "Space",
    "Stage",
    "TuningObjective",
    "TuningResult",
    "compare_profiles",
    "fusion_in_words",
    "scorer_in_words",
    "setting_in_words",
    "tune",
    "tune_on",
]
