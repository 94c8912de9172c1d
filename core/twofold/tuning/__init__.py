"""Tuning of the search profile on judged queries, accepted only if held-out queries gain."""

from twofold.tuning.compare import ProfileComparison, compare_profiles
from twofold.tuning.coordinate_search import Stage
from twofold.tuning.objective import TuningObjective
from twofold.tuning.result import (
    Fold,
    TuningResult,
    describe_fusion,
    describe_profile,
    describe_scorer,
)
from twofold.tuning.search_space import SearchSpace, TuningPlan
from twofold.tuning.tune import tune, tune_objective

__all__ = [
    "Fold",
    "ProfileComparison",
    "SearchSpace",
    "Stage",
    "TuningObjective",
    "TuningPlan",
    "TuningResult",
    "compare_profiles",
    "describe_fusion",
    "describe_profile",
    "describe_scorer",
    "tune",
    "tune_objective",
]
