"""Tuning and calibration of the search profile on judged queries."""

from twofold.tuning.calibrate import CalibrationResult, Risk, calibrate
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
    "CalibrationResult",
    "Fold",
    "ProfileComparison",
    "Risk",
    "SearchSpace",
    "Stage",
    "TuningObjective",
    "TuningPlan",
    "TuningResult",
    "calibrate",
    "compare_profiles",
    "describe_fusion",
    "describe_profile",
    "describe_scorer",
    "tune",
    "tune_objective",
]
