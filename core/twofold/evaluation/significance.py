"""What can be said of a mean over queries: intervals, tests, and how many queries it takes."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twofold.errors import InputError
from twofold.types import Scores

SAMPLES = 10_000
"""Resamples behind an interval."""
SIGNS = 100_000
"""Draws of signs behind a test, and how many assignments are tried one by one at most."""
LEVEL = 0.95
_BLOCK = 2**22  # numbers drawn at a time: 32 MiB
_ROUNDING = 1e-9  # of a mean, in parts of the greatest value behind it


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean, and between what bounds it lies at this level of confidence."""

    mean: float
    low: float
    high: float
    level: float = LEVEL

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside, so that the sign of the mean is settled."""
        return self.low > 0 or self.high < 0


def bootstrap_interval(
    values: ArrayLike, *, samples: int = SAMPLES, level: float = LEVEL, seed: int = 0
) -> Interval:
    """Return the mean of values (n,), one a query, with its percentile bootstrap interval.

    Queries are drawn with replacement ``samples`` times; of differences between two settings on the
    same queries this is the paired bootstrap. Efron and Tibshirani, An Introduction to the
    Bootstrap (1993), chapter 13; Sakai, Evaluating evaluation metrics based on the bootstrap (SIGIR
    2006). One value alone says nothing of others: its interval has no bounds. Below some 20
    values the interval is known to be too narrow.

    Raises InputError for values that are not (n,) finite numbers, n at least 1.
    """
    given = _checked(values)
    _check_share("level", level)
    _check_samples(samples)
    mean = float(given.mean())
    if len(given) == 1:
        return Interval(mean, -math.inf, math.inf, level)
    rng = np.random.default_rng(seed)
    means = np.concatenate(
        [
            given[rng.integers(0, len(given), size=(size, len(given)))].mean(axis=1)
            for size in _blocks(samples, len(given))
        ]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high), level)


def randomisation_test(differences: ArrayLike, *, samples: int = SIGNS, seed: int = 0) -> float:
    """Return the two-sided p of a mean difference, by signs (n,) that could as well be turned.

    If two settings were equally good, each query's difference might have had the other sign. p is
    the share of all assignments of signs that give a mean as far from zero as the real one. All
    are tried where there are at most ``samples``; else that many are drawn, and the real one is
    counted among them. Fisher, The Design of Experiments (1935); Smucker, Allan and Carterette,
    A Comparison of Statistical Significance Tests for Information Retrieval (CIKM 2007).

    Raises InputError for differences that are not (n,) finite numbers, n at least 1.
    """
    given = _checked(differences)
    _check_samples(samples)
    moved = given[given != 0]  # the sign of a zero changes no sum
    # Sums that are equal on paper differ in their last bits.
    reached = abs(float(moved.sum())) - 1e-12 * float(np.abs(moved).sum())
    if len(moved) <= math.log2(samples):
        sums = np.zeros(1)
        for each in moved:
            sums = np.concatenate([sums + each, sums - each])
        return float((np.abs(sums) >= reached).mean())
    rng = np.random.default_rng(seed)
    count = sum(
        int((np.abs(_turned(moved, size, rng)) >= reached).sum())
        for size in _blocks(samples, len(moved))
    )
    return (count + 1) / (samples + 1)


def holm(values: Sequence[float]) -> tuple[float, ...]:
    """Return p values adjusted for being several, in their order.

    The chance that any of the true null hypotheses is rejected stays below the level. Holm, A
    Simple Sequentially Rejective Multiple Test Procedure (1979).
    """
    adjusted = [0.0] * len(values)
    highest = 0.0
    for place, at in enumerate(sorted(range(len(values)), key=lambda each: values[each])):
        highest = max(highest, min(1.0, (len(values) - place) * values[at]))
        adjusted[at] = highest
    return tuple(adjusted)


def queries_needed(
    differences: ArrayLike, *, power: float = 0.8, level: float = LEVEL
) -> int | None:
    """Return how many judged queries would settle a mean difference of this size and spread.

    That many, those at hand included, give an interval that excludes zero with probability
    ``power``: n = ((z(1/2 + level/2) + z(power)) * s / mean)^2, rounded up, with the sample's
    standard deviation s and the normal quantile z. None where the mean is zero, up to rounding, or
    there are fewer than two differences. A difference that was chosen for being large is settled
    later than this.

    Raises InputError for differences that are not (n,) finite numbers, n at least 1.
    """
    given = _checked(differences)
    _check_share("level", level)
    _check_share("power", power)
    most = float(np.abs(given).max())
    if len(given) < 2 or most == 0:
        return None
    given = given / most  # the square of a great number is infinite
    mean = float(given.mean())
    if abs(mean) <= _ROUNDING:
        return None
    normal = NormalDist()
    quantiles = normal.inv_cdf((1 + level) / 2) + normal.inv_cdf(power)
    return max(2, math.ceil((quantiles * float(given.std(ddof=1)) / mean) ** 2))


def _turned(moved: Scores, size: int, rng: np.random.Generator) -> Scores:
    """Return the sums (size,) of differences (n,) with signs drawn anew."""
    drawn = rng.integers(0, 256, size=(size, -(-len(moved) // 8)), dtype=np.uint8)
    bits: NDArray[np.uint8] = np.unpackbits(drawn, axis=1, count=len(moved))
    sums: Scores = 2 * (bits.astype(np.float64) @ moved) - moved.sum()
    return sums


def _blocks(samples: int, width: int) -> Iterator[int]:
    """Yield numbers of samples of this width, so that few are in memory at a time."""
    size = max(1, _BLOCK // width)
    for start in range(0, samples, size):
        yield min(size, samples - start)


def _checked(values: ArrayLike) -> Scores:
    given = np.asarray(values, np.float64)
    if given.ndim != 1 or not len(given) or not np.isfinite(given).all():
        raise InputError(
            f"finite numbers (n,), one a query, are wanted, and at least one: shape {given.shape} "
            f"came with {int(np.isfinite(given).sum())} finite ones"
        )
    return given


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise InputError(f"{name} is {value!r}: a number between 0 and 1 is wanted, such as 0.95")


def _check_samples(samples: int) -> None:
    if samples < 1:
        raise InputError(f"samples is {samples!r}: a whole number of at least 1 is wanted")


MAX_T_SAMPLES = 2_000
"""Draws of signs; a multiple of the smallest p that matters."""
_MAX_T_BLOCK = 1 << 22  # numbers drawn at a time


def max_t_p_value(differences: Scores, chosen: Scores, *, seed: int = 0) -> float:
    """Return how often the best of all settings would look as good as the chosen one by luck.

    ``differences`` (settings, queries) are those of every setting that was tried from the one in
    use, ``chosen`` (queries,) those of the one that was found. If no setting were better, each
    query's differences might have had the other sign, those of all settings together. So this is
    the share of draws of signs in which any setting has as large a mean, in standard errors: the
    adjusted p of Westfall and Young, Resampling-Based Multiple Testing (1993). Held-out queries
    alone don't show this: where all folds choose the same setting, what they measure is what they
    chose by.
    """
    own = math.sqrt(float((chosen * chosen).sum()))
    if own == 0:
        return 1.0
    reached = float(chosen.sum()) / own
    lengths = np.sqrt((differences * differences).sum(axis=1))
    scaled = (differences[lengths > 0] / lengths[lengths > 0, None]).astype(np.float32)
    rng = np.random.default_rng(seed)
    step = max(1, min(MAX_T_SAMPLES, _MAX_T_BLOCK // max(scaled.shape)))
    count = 0
    for start in range(0, MAX_T_SAMPLES, step):
        size = min(step, MAX_T_SAMPLES - start)
        signs = rng.integers(0, 2, size=(scaled.shape[1], size)).astype(np.float32) * 2 - 1
        # Sums that are equal on paper differ in their last bits.
        count += int(((scaled @ signs).max(axis=0) >= reached - 1e-5).sum())
    return (count + 1) / (MAX_T_SAMPLES + 1)
