"""Abstaining and confidence on queries that were not used to learn them.

    python benchmarks/calibration.py FOLDER...

FOLDERs are judged collections in BEIR's layout. In each, 30% of the queries lose their answers.
First, each collection is split 100 times at random: one half learns the calibration, and the other
half is answered with each bound on wrong answers. Then a calibration that is learned on all other
collections gives the confidence of each, and its calibration error is shown beside that of one
learned on half of the collection's own queries. Vectors are cached in ``.eval``.
"""

import sys
from pathlib import Path

import numpy as np
from judged import collection_name, open_collection

from twofold.calibration import calibration_error, fit_calibration
from twofold.tuning.calibrate import JudgedSignals, collect_signals
from twofold.types import Mask

SPLITS, BOUNDS, MOST = 100, (0.02, 0.05, 0.1, 0.2), 1_000


def random_half(count: int, rng: np.random.Generator) -> Mask:
    """Return a random half as a mask."""
    return np.asarray(rng.permutation(count) % 2 == 0)


def measure_bounds(found: JudgedSignals) -> list[str]:
    """Return, for each bound, the mean share answered wrongly with its error, and answered."""
    rng = np.random.default_rng(0)
    count = len(found.right)
    wrong = np.zeros((SPLITS, len(BOUNDS)))
    answered = np.zeros((SPLITS, len(BOUNDS)))
    for split in range(SPLITS):
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
    errors = wrong.std(axis=0, ddof=1) / np.sqrt(SPLITS)
    return [
        f"{wrong[:, at].mean():.3f} +- {2 * errors[at]:.3f} of {answered[:, at].mean():.2f}"
        for at in range(len(BOUNDS))
    ]


def measure_errors(found: JudgedSignals, others: list[JudgedSignals]) -> tuple[float, float]:
    """Return the calibration error by other collections, and by a half of the collection's own."""
    errors = []
    for name in ("others", "own"):
        train = others if name == "others" else [found]
        signals = np.concatenate([one.signals for one in train])
        right = np.concatenate([one.right for one in train])
        fitted = np.ones(len(right), np.bool_)
        tested = np.ones(len(found.right), np.bool_)
        if name == "own":
            fitted = random_half(len(right), np.random.default_rng(0))
            tested = ~fitted
        calibration = fit_calibration(found.mode, found.first, "", signals, right, fitted)
        confidences = np.array([calibration.confidence(row) for row in found.signals[tested]])
        errors.append(calibration_error(confidences, found.right[tested].astype(float)))
    return errors[0], errors[1]


def main() -> None:
    folders = [Path(argument) for argument in sys.argv[1:]]
    found: dict[str, JudgedSignals] = {}
    for folder in folders:
        with open_collection(folder, max_queries=MOST) as judged:
            found[collection_name(folder)] = collect_signals(
                judged.index, judged.texts, judged.qrels
            )
    print(f"answered wrongly, of all queries, by bound; then the share that is answered: {BOUNDS}")
    for name, one in found.items():
        print(f"{name}: {len(one.right):,} queries, {one.right.mean():.2f} right")
        print("   " + "; ".join(measure_bounds(one)), flush=True)
    print("calibration error: learned on the other collections, and on half of its own queries")
    for name, one in found.items():
        others = [other for key, other in found.items() if key != name]
        first, second = measure_errors(one, others) if others else (np.nan, np.nan)
        print(f"{name}: {first:.3f}, {second:.3f}", flush=True)


if __name__ == "__main__":
    main()
