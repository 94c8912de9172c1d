"""Abstaining and confidence on queries that were not used to learn them.

    python benchmarks/calibration.py FOLDER... [--splits 100]

FOLDERs are judged collections in BEIR's layout. In each, 30% of the queries lose their answers.
First, each collection is split at random, many times: one half learns the calibration, and the
other half is answered with each bound on wrong answers. Then the calibration error of the
confidence is shown, learned on half of the queries, and on all other collections. A perfect
confidence has an error, too, since a bin has few queries; it is shown in brackets. Vectors are
cached in ``.eval``.
"""

import argparse
from pathlib import Path

import numpy as np
from judged import collection_name, open_collection

from twofold.calibration import calibration_error, fit_calibration
from twofold.tuning.calibrate import JudgedSignals, collect_signals
from twofold.types import Mask

BOUNDS, MOST = (0.02, 0.05, 0.1, 0.2), 1_000


def random_half(count: int, rng: np.random.Generator) -> Mask:
    """Return a random half as a mask."""
    return np.asarray(rng.permutation(count) % 2 == 0)


def measure_bounds(found: JudgedSignals, splits: int) -> list[str]:
    """Return, for each bound, the mean share answered wrongly with its error, and answered."""
    rng = np.random.default_rng(0)
    count = len(found.right)
    wrong = np.zeros((splits, len(BOUNDS)))
    answered = np.zeros((splits, len(BOUNDS)))
    for split in range(splits):
        known = random_half(count, rng)
        fitted = random_half(int(known.sum()), rng)
        calibration = fit_calibration(
            found.mode, found.first, "", found.signals[known], found.right[known], fitted
        )
        confidences = np.array([calibration.confidence(row) for row in found.signals[~known]])
        for at, bound in enumerate(BOUNDS):
            given = confidences > calibration.threshold(bound)
            answered[split, at] = given.mean()
            wrong[split, at] = (given & ~found.right[~known]).mean()
    errors = wrong.std(axis=0, ddof=1) / np.sqrt(splits)
    return [
        f"{wrong[:, at].mean():.3f} +- {2 * errors[at]:.3f} of {answered[:, at].mean():.2f}"
        for at in range(len(BOUNDS))
    ]


def measure_own_error(found: JudgedSignals, splits: int) -> tuple[float, float]:
    """Return the mean calibration error on half of the queries, learned on the other half.

    The second number is that of a perfect confidence: outcomes are drawn with its probabilities.
    """
    rng = np.random.default_rng(0)
    errors, least = [], []
    for _ in range(splits):
        known = random_half(len(found.right), rng)
        fitted = random_half(int(known.sum()), rng)
        calibration = fit_calibration(
            found.mode, found.first, "", found.signals[known], found.right[known], fitted
        )
        confidences = np.array([calibration.confidence(row) for row in found.signals[~known]])
        errors.append(calibration_error(confidences, found.right[~known].astype(float)))
        drawn = (rng.random(len(confidences)) < confidences).astype(float)
        least.append(calibration_error(confidences, drawn))
    return float(np.mean(errors)), float(np.mean(least))


def measure_other_error(found: JudgedSignals, others: list[JudgedSignals]) -> tuple[float, float]:
    """Return the same numbers for all queries, learned on other collections."""
    signals = np.concatenate([one.signals for one in others])
    right = np.concatenate([one.right for one in others])
    every = np.ones(len(right), np.bool_)
    calibration = fit_calibration(found.mode, found.first, "", signals, right, every)
    confidences = np.array([calibration.confidence(row) for row in found.signals])
    rng = np.random.default_rng(0)
    least = [
        calibration_error(confidences, (rng.random(len(confidences)) < confidences).astype(float))
        for _ in range(20)
    ]
    return calibration_error(confidences, found.right.astype(float)), float(np.mean(least))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--splits", type=int, default=100)
    options = parser.parse_args()
    found: dict[str, JudgedSignals] = {}
    for folder in options.folders:
        with open_collection(folder, max_queries=MOST) as judged:
            found[collection_name(folder)] = collect_signals(
                judged.index, judged.texts, judged.qrels
            )
    print(f"answered wrongly, of all queries, by bound; then the share that is answered: {BOUNDS}")
    for name, one in found.items():
        print(f"{name}: {len(one.right):,} queries, {one.right.mean():.2f} right")
        print("   " + "; ".join(measure_bounds(one, options.splits)), flush=True)
    print("calibration error, and that of a perfect confidence on so many queries:")
    for name, one in found.items():
        error, least = measure_own_error(one, options.splits)
        print(f"{name}: {error:.3f} ({least:.3f}) learned on half of its own queries", flush=True)
        others = [other for key, other in found.items() if key != name]
        if others:
            error, least = measure_other_error(one, others)
            print(f"   {error:.3f} ({least:.3f}) learned on the other collections", flush=True)


if __name__ == "__main__":
    main()
