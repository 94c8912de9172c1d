"""Calibration of a search's scores: the probability of an answer, and when to give none.

A logistic model turns a few signals of one search into the probability that one of the first hits
answers the query. A threshold on it bounds the share of queries that are answered wrongly:
Angelopoulos, Bates, Fisch, Lei and Schuster, Conformal Risk Control (ICLR 2024).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from twofold.types import Mask, Mode, Scores
from twofold.validation import check_integer

SIGNALS = (
    "dense_score",
    "dense_margin",
    "dense_lift",
    "lexical_score",
    "lexical_margin",
    "lexical_lift",
    "overlap",
    "dense_rank",
    "lexical_rank",
)
"""The signals of one search, 0 where a leg was not searched or found nothing.

``dense_score`` and ``lexical_score`` are the best scores of each leg (of the lexical one, the
logarithm of 1 + score). A ``margin`` is how much the best score is above the second, a ``lift``
above the mean of the best 10; lexical ones are relative to the best score. ``overlap`` is the share
of the best 10 that both legs have. A ``rank`` is one over the rank of the first hit in a leg.
"""
_DIGITS = 10
_RIDGE = 5.0  # of 1, 5 and 20, the best one with 56 to 250 queries on benchmarks/calibration.py
SIGNAL_DEPTH = 10
"""Hits of each leg that the signals depend on."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """The meaning of one mode's scores, as learned from judged queries by `calibrate`.

    Attributes:
        mode: The search mode.
        first: An answer is right if one of the first ``first`` hits is relevant.
        settings: The profile and the model that it was learned for; with others it doesn't apply.
        means: The mean of each signal.
        scales: The deviation of each signal.
        weights: The weight of each signal, standardized.
        bias: The logarithm of the odds at the means.
        wrong: The confidence of each query answered wrongly, among those not used for the weights;
            descending.
        queries: Number of queries not used for the weights.
    """

    mode: Mode
    first: int
    settings: str
    means: tuple[float, ...]
    scales: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float
    wrong: tuple[float, ...] = field(repr=False)
    queries: int

    @classmethod
    def unknown(cls, mode: Mode, settings: str) -> "Calibration":
        """Return one that says nothing, with which the signals of searches are collected."""
        zeros = (0.0,) * len(SIGNALS)
        return cls(mode, 1, settings, zeros, (1.0,) * len(SIGNALS), zeros, 0.0, (), 0)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Calibration":
        """Return what `to_dict` stored.

        Raises:
            ValueError: A value is invalid.
            LookupError: A value is missing.
            TypeError: A value has another type.
        """
        arrays = {
            name: tuple(float(value) for value in values[name])
            for name in ("means", "scales", "weights", "wrong")
        }
        numbers = [float(values["bias"]), *(value for row in arrays.values() for value in row)]
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError("a number is not finite")
        if any(len(arrays[name]) != len(SIGNALS) for name in ("means", "scales", "weights")):
            raise ValueError(f"it must have {len(SIGNALS)} signals")
        if values["mode"] not in ("hybrid", "dense", "lexical"):
            raise ValueError(f"its mode is {values['mode']!r:.80}")
        for name in ("first", "queries"):
            check_integer(name, values[name])
        return cls(
            mode=values["mode"],
            first=int(values["first"]),
            settings=str(values["settings"]),
            bias=float(values["bias"]),
            queries=int(values["queries"]),
            **arrays,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the calibration as JSON values."""
        return {
            "mode": self.mode,
            "first": self.first,
            "settings": self.settings,
            "means": list(self.means),
            "scales": list(self.scales),
            "weights": list(self.weights),
            "bias": self.bias,
            "wrong": list(self.wrong),
            "queries": self.queries,
        }

    def confidence(self, signals: Scores) -> float:
        """Return the probability that one of the first hits is relevant, for signals (n,)."""
        standard = (signals - np.array(self.means)) / np.array(self.scales)
        # Rounded, so that equal signals are equal however they were added up.
        return round(float(_sigmoid(standard @ np.array(self.weights) + self.bias)), _DIGITS)

    def threshold(self, risk: float) -> float:
        """Return the confidence up to which no answer is given.

        With it, the expected share of all queries that are answered wrongly is at most ``risk``,
        for queries like those of the calibration. Infinite if so few queries can't show that.
        """
        allowed = math.floor(risk * (self.queries + 1) - 1 + 1e-9)
        if allowed < 0:
            return math.inf
        return self.wrong[allowed] if allowed < len(self.wrong) else -math.inf


def fit_calibration(
    mode: Mode,
    first: int,
    settings: str,
    signals: Scores,
    right: Mask,
    fitted: Mask,
) -> Calibration:
    """Learn from the signals (queries, signals) of searches whether their answers were right.

    Args:
        mode: The search mode.
        first: An answer is right if one of the first ``first`` hits is relevant.
        settings: The profile and the model.
        signals: The signals of each query.
        right: Which queries were answered rightly (n,).
        fitted: On which the weights are fitted (n,); the other ones set the thresholds.
    """
    outcomes, chosen = right.astype(np.float64), fitted
    means = signals[chosen].mean(axis=0)
    scales = signals[chosen].std(axis=0)
    scales[scales < 1e-9] = 1.0
    standard = (signals - means) / scales
    weights, bias = _fit_logistic(standard[chosen], outcomes[chosen])
    wrong = np.round(_sigmoid(standard @ weights + bias), _DIGITS)[~chosen & (outcomes == 0)]
    return Calibration(
        mode=mode,
        first=first,
        settings=settings,
        means=tuple(means.tolist()),
        scales=tuple(scales.tolist()),
        weights=tuple(weights.tolist()),
        bias=bias,
        wrong=tuple(sorted(wrong.tolist(), reverse=True)),
        queries=int((~chosen).sum()),
    )


def calibration_error(confidences: Scores, right: Scores, bins: int = 10) -> float:
    """Return the expected calibration error of probabilities (n,), in bins of equal counts.

    It is the mean difference between a bin's confidence and its share of right answers. Naeini,
    Cooper and Hauskrecht, Obtaining Well Calibrated Probabilities Using Bayesian Binning (AAAI
    2015), there with bins of equal width.
    """
    order = np.argsort(confidences, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    gaps = [len(part) * abs(confidences[part].mean() - right[part].mean()) for part in parts]
    return float(sum(gaps) / len(confidences))


def _fit_logistic(inputs: Scores, outcomes: Scores) -> tuple[Scores, float]:
    """Return weights and bias of a logistic regression with a ridge penalty, by Newton's method."""
    extended = np.column_stack([inputs, np.ones(len(inputs))])
    penalty = np.diag([_RIDGE] * inputs.shape[1] + [1e-6])
    solution = np.zeros(extended.shape[1])
    for _ in range(50):
        predicted = _sigmoid(extended @ solution)
        gradient = extended.T @ (outcomes - predicted) - penalty @ solution
        curvature = extended.T * (predicted * (1 - predicted)) @ extended + penalty
        step = np.linalg.solve(curvature, gradient)
        solution = solution + np.clip(step, -2.0, 2.0)
        if float(np.abs(step).max()) < 1e-10:
            break
    return solution[:-1], float(solution[-1])


def _sigmoid(values: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-np.clip(values, -40.0, 40.0)))
