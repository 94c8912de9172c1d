"""Evaluation on judged queries."""

from twofold.evaluation.evaluate import MEASURES, Evaluation, Run, evaluate

__all__ = ["MEASURES", "Evaluation", "Run", "evaluate"]
