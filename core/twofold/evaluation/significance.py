"""Bootstrap intervals, significance tests and sample sizes for means over queries."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twofold.errors import InputError
from twofold.types import Scores
from twofold.validation import check_integer, check_number

BOOTSTRAP_SAMPLES = 10_000
RANDOMISATION_SAMPLES = 100_000
MAX_SAMPLES = 10_000_000
MAX_T_SAMPLES = 2_000
LEVEL = 0.95
_BLOCK = 2**22  # numbers drawn at a time: 32 MiB
_MIN_RELATIVE_MEAN = 1e-9  # a mean below this share of the greatest value counts as zero


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with the bounds of its confidence interval."""

    mean: float
    low: float
    high: float
    level: float = LEVEL


def bootstrap_interval(
    values: ArrayLike, *, samples: int = BOOTSTRAP_SAMPLES, level: float = LEVEL, seed: int = 0
) -> Interval:
    """Return the mean of per-query values (n,) with its percentile bootstrap interval.

    For differences between two systems, this is the paired bootstrap. The interval is too narrow
    for fewer than about 20 values, infinite for one. Efron and Tibshirani, An Introduction to the
    Bootstrap (1993), chapter 13; Sakai, Evaluating evaluation metrics based on the bootstrap
    (SIGIR 2006).

    Raises:
        InputError: The values are empty or not finite, or an option is out of range.
    """
    given = _as_values(values)
    check_number("level", level, 0, 1, exclusive=True)
    check_integer("samples", samples, 1, MAX_SAMPLES)
    mean = float(given.mean())
    if len(given) == 1:
        return Interval(mean, -math.inf, math.inf, level)
    rng = np.random.default_rng(seed)
    means = np.concatenate(
        [
            given[rng.integers(0, len(given), size=(size, len(given)))].mean(axis=1)
            for size in _block_sizes(samples, len(given))
        ]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high), level)


def randomisation_test(
    differences: ArrayLike, *, samples: int = RANDOMISATION_SAMPLES, seed: int = 0
) -> float:
    """Return the two-sided p value of a mean difference by a paired randomisation test.

    If two systems are equally good, each query's difference could have had the other sign. p is the
    share of sign assignments whose mean is at least as far from zero as the observed one. Fisher,
    The Design of Experiments (1935); Smucker, Allan and Carterette, A Comparison of Statistical
    Significance Tests for Information Retrieval (CIKM 2007).

    All assignments of the differences (n,) are enumerated if there are at most ``samples``;
    otherwise that many are drawn.

    Raises:
        InputError: The differences are empty or not finite, or ``samples`` is below 1.
    """
    given = _as_values(differences)
    check_integer("samples", samples, 1, MAX_SAMPLES)
    nonzero = given[given != 0]  # the sign of a zero changes no sum
    # Sums that are equal in exact arithmetic differ in their last bits.
    observed = abs(float(nonzero.sum())) - 1e-12 * float(np.abs(nonzero).sum())
    if len(nonzero) <= math.log2(samples):
        sums = np.zeros(1)
        for difference in nonzero:
            sums = np.concatenate([sums + difference, sums - difference])
        return float((np.abs(sums) >= observed).mean())
    rng = np.random.default_rng(seed)
    count = sum(
        int((np.abs(_draw_signed_sums(nonzero, size, rng)) >= observed).sum())
        for size in _block_sizes(samples, len(nonzero))
    )
    return (count + 1) / (samples + 1)


def max_t_p_value(differences: Scores, chosen: Scores, *, seed: int = 0) -> float:
    """Return the p value of the best of several systems, adjusted for choosing it among them.

    Randomises the sign of each query's differences for all systems together. p is the share of
    draws in which any system's mean, in standard errors, reaches that of the chosen one: Westfall
    and Young, Resampling-Based Multiple Testing (1993). Cross-validation alone misses this
    selection bias if all folds choose the same system.

    ``differences`` (systems, queries) are each system's values minus the baseline's, and ``chosen``
    (queries,) are those of the chosen system.
    """
    norm = math.sqrt(float((chosen * chosen).sum()))
    if norm == 0:
        return 1.0
    observed = float(chosen.sum()) / norm
    norms = np.sqrt((differences * differences).sum(axis=1))
    scaled = (differences[norms > 0] / norms[norms > 0, None]).astype(np.float32)
    rng = np.random.default_rng(seed)
    count = 0
    for size in _block_sizes(MAX_T_SAMPLES, max(scaled.shape)):
        signs = rng.integers(0, 2, size=(scaled.shape[1], size)).astype(np.float32) * 2 - 1
        # Sums that are equal in exact arithmetic differ in their last bits.
        count += int(((scaled @ signs).max(axis=0) >= observed - 1e-5).sum())
    return (count + 1) / (MAX_T_SAMPLES + 1)


def holm(values: Sequence[float]) -> tuple[float, ...]:
    """Return the p values adjusted for multiple comparisons, in the order of ``values``.

    Controls the family-wise error rate. Holm, A Simple Sequentially Rejective Multiple Test
    Procedure (1979).
    """
    order = np.argsort(values, kind="stable")
    scaled = np.arange(len(values), 0, -1) * np.array(values)[order]
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return tuple(adjusted.tolist())


def queries_needed(
    differences: ArrayLike, *, power: float = 0.8, level: float = LEVEL
) -> int | None:
    """Return how many judged queries would make a difference of this size significant.

    With that many queries in all, the interval of this level excludes zero with probability
    ``power``: n = ((z(1/2 + level/2) + z(power)) * s / mean)^2, rounded up, for the standard
    deviation s of the differences (n,) and the normal quantile z. None if the mean is zero or
    there are fewer than two. The number is too low for a difference chosen for its size.

    Raises:
        InputError: The differences are empty or not finite, or an option is out of range.
    """
    given = _as_values(differences)
    check_number("level", level, 0, 1, exclusive=True)
    check_number("power", power, 0, 1, exclusive=True)
    greatest = float(np.abs(given).max())
    if len(given) < 2 or greatest == 0:
        return None
    given = given / greatest  # so that squares don't overflow
    mean = float(given.mean())
    if abs(mean) <= _MIN_RELATIVE_MEAN:
        return None
    normal = NormalDist()
    quantiles = normal.inv_cdf((1 + level) / 2) + normal.inv_cdf(power)
    return max(2, math.ceil((quantiles * float(given.std(ddof=1)) / mean) ** 2))


def detectable_difference(
    differences: ArrayLike, *, power: float = 0.8, level: float = LEVEL
) -> float:
    """Return the smallest mean difference that so many queries show with probability ``power``.

    It is (z(1/2 + level/2) + z(power)) * s / sqrt(n), for the standard deviation s of the
    differences (n,); infinite for one. Sakai, Statistical reform in information retrieval?
    (SIGIR Forum 2014).

    Raises:
        InputError: The differences are empty or not finite, or an option is out of range.
    """
    given = _as_values(differences)
    check_number("level", level, 0, 1, exclusive=True)
    check_number("power", power, 0, 1, exclusive=True)
    if len(given) < 2:
        return math.inf
    normal = NormalDist()
    quantiles = normal.inv_cdf((1 + level) / 2) + normal.inv_cdf(power)
    return quantiles * float(given.std(ddof=1)) / math.sqrt(len(given))


def _draw_signed_sums(differences: Scores, size: int, rng: np.random.Generator) -> Scores:
    """Return the sums (size,) of the differences (n,) under random signs."""
    drawn = rng.integers(0, 256, size=(size, -(-len(differences) // 8)), dtype=np.uint8)
    bits: NDArray[np.uint8] = np.unpackbits(drawn, axis=1, count=len(differences))
    sums: Scores = 2 * (bits.astype(np.float64) @ differences) - differences.sum()
    return sums


def _block_sizes(samples: int, width: int) -> Iterator[int]:
    """Yield the sizes of blocks that together hold ``samples`` samples of this width."""
    size = max(1, _BLOCK // width)
    for start in range(0, samples, size):
        yield min(size, samples - start)


def _as_values(values: ArrayLike) -> Scores:
    given = np.asarray(values, np.float64)
    if given.ndim != 1 or not len(given) or not np.isfinite(given).all():
        raise InputError(
            f"values must be finite numbers of shape (n,), n >= 1, one per query, got shape "
            f"{given.shape} with {int(np.isfinite(given).sum())} finite numbers"
        )
    return given
