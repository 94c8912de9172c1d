"""Evaluation on judged queries: measures, confidence intervals, comparisons, reports and plots."""

from twofold.evaluation.baseline import Baseline, BaselineChange, compare_with_baseline
from twofold.evaluation.comparison import Comparison, Difference, QueryDifference, compare
from twofold.evaluation.evaluate import evaluate, evaluate_run
from twofold.evaluation.measures import MEASURES
from twofold.evaluation.plots import plot_differences
from twofold.evaluation.report import report
from twofold.evaluation.result import Evaluation
from twofold.evaluation.significance import (
    Interval,
    bootstrap_interval,
    detectable_difference,
    holm,
    queries_needed,
    randomisation_test,
)
from twofold.types import Run

__all__ = [
    "MEASURES",
    "Baseline",
    "BaselineChange",
    "Comparison",
    "Difference",
    "Evaluation",
    "Interval",
    "QueryDifference",
    "Run",
    "bootstrap_interval",
    "compare",
    "compare_with_baseline",
    "detectable_difference",
    "evaluate",
    "evaluate_run",
    "holm",
    "plot_differences",
    "queries_needed",
    "randomisation_test",
    "report",
]
