import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from twofold.errors import InputError
from twofold.evaluation import bootstrap_interval, holm, queries_needed, randomisation_test

numbers = st.floats(-1, 1, allow_nan=False).map(lambda value: round(value, 3))


def skewed(rng, size):
    """Values as nDCG has them: many zeros, many ones, some between."""
    drawn = rng.random(size)
    return np.where(rng.random(size) < 0.6, np.round(drawn), drawn)


def test_the_interval_covers_the_true_mean_as_often_as_it_says():
    rng = np.random.default_rng(7)
    for level in (0.8, 0.95):
        covered = 0
        for seed in range(600):
            found = bootstrap_interval(skewed(rng, 80), samples=1000, level=level, seed=seed)
            assert found.low < found.mean < found.high
            covered += found.low <= 0.5 <= found.high
        # Four standard errors of a share, and the percentile bootstrap's own lack at 80 values.
        assert abs(covered / 600 - level) < 4 * math.sqrt(level * (1 - level) / 600) + 0.01


def test_the_interval_is_scipys():
    values = skewed(np.random.default_rng(3), 150)
    found = bootstrap_interval(values, samples=40_000)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=40_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(theirs.low, abs=0.03 * width)
    assert found.high == pytest.approx(theirs.high, abs=0.03 * width)
    assert width > 0.05


def test_the_interval_of_few_values_is_that_of_all_resamples():
    values = [0.0, 0.25, 1.0, 0.5]
    means = [np.mean(drawn) for drawn in itertools.product(values, repeat=4)]
    found = bootstrap_interval(values, samples=50_000, level=0.9)
    # Steps of 1/16: the quantiles themselves are hit, or the step beside them.
    assert found.low == pytest.approx(np.quantile(means, 0.05), abs=1 / 16)
    assert found.high == pytest.approx(np.quantile(means, 0.95), abs=1 / 16)


@settings(deadline=None)
@given(st.lists(numbers, min_size=1, max_size=40), st.floats(-2, 2), st.integers(0, 5))
def test_the_interval_moves_with_its_values(values, shift, seed):
    found = bootstrap_interval(values, samples=200, seed=seed)
    moved = bootstrap_interval(np.array(values) + shift, samples=200, seed=seed)
    turned = bootstrap_interval(-np.array(values), samples=200, seed=seed)
    assert found == bootstrap_interval(values, samples=200, seed=seed)
    assert min(values) - 1e-12 <= found.mean <= max(values) + 1e-12
    assert found.low <= found.high
    assert moved.low == pytest.approx(found.low + shift, abs=1e-9)
    assert turned.high == pytest.approx(-found.low, abs=1e-9)
    if len(values) == 1:
        assert (found.low, found.high) == (-math.inf, math.inf)
    elif len(set(values)) == 1:
        assert found.low == pytest.approx(found.high) == pytest.approx(found.mean)


def test_large_inputs_are_drawn_in_blocks_and_equal_in_all_of_them():
    values = skewed(np.random.default_rng(0), 20_000)
    found = bootstrap_interval(values, samples=2_000)
    spread = 1.96 * values.std() / math.sqrt(len(values))
    assert found.high - found.low == pytest.approx(2 * spread, rel=0.1)
    differences = values - skewed(np.random.default_rng(1), 20_000)
    drawn = randomisation_test(differences, samples=3_000)
    normal = 2 * stats.norm.sf(abs(differences.sum()) / math.sqrt((differences**2).sum()))
    assert drawn == pytest.approx(normal, abs=0.05)
    assert 0.01 < drawn < 0.99  # else the line above would say little


@settings(deadline=None)
@given(st.lists(numbers, min_size=1, max_size=9))
def test_the_exact_test_tries_every_assignment_of_signs(differences):
    sums = [
        abs(sum(sign * each for sign, each in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    expected = sum(each >= abs(sum(differences)) - 1e-9 for each in sums) / len(sums)
    assert randomisation_test(differences) == pytest.approx(expected)
    assert randomisation_test([*differences, 0, 0.0]) == pytest.approx(expected)
    assert randomisation_test(-np.array(differences)) == pytest.approx(expected)


def test_small_cases_by_hand():
    assert randomisation_test([0.1, 0.2, 0.3, 0.4]) == 2 / 16
    assert randomisation_test([0.1, 0.2, -0.3]) == 1.0
    assert randomisation_test([0.0, 0.0]) == 1.0
    assert randomisation_test([1.0]) == 1.0
    assert randomisation_test([0.5] * 16) == 2 / 2**16


def test_the_test_is_scipys():
    rng = np.random.default_rng(11)
    for size, samples in ((12, 100_000), (60, 40_000)):
        differences = rng.normal(0.15, 0.5, size)
        theirs = stats.permutation_test(
            (differences,), np.sum, permutation_type="samples", n_resamples=samples, rng=rng
        ).pvalue
        ours = randomisation_test(differences, samples=samples)
        tolerance = 1e-12 if size == 12 else 5 * math.sqrt(theirs * (1 - theirs) / samples)
        assert ours == pytest.approx(theirs, abs=tolerance)
        assert 0 < ours < 1


def test_p_is_uniform_where_there_is_no_difference():
    rng = np.random.default_rng(5)
    drawn = [
        randomisation_test(skewed(rng, 40) - skewed(rng, 40), samples=2_000, seed=seed)
        for seed in range(800)
    ]
    assert stats.kstest(drawn, "uniform").pvalue > 0.001
    for level in (0.05, 0.2, 0.5):
        share = np.mean(np.array(drawn) <= level)
        assert abs(share - level) < 4 * math.sqrt(level * (1 - level) / 800)


def test_drawn_p_is_never_zero_and_repeats():
    differences = np.linspace(0.5, 1, 30)
    p = randomisation_test(differences, samples=999)
    assert p == 1 / 1000
    noisy = np.random.default_rng(2).normal(0.1, 1, 50)
    assert randomisation_test(noisy, seed=4) == randomisation_test(noisy, seed=4)
    assert randomisation_test(noisy, seed=4) != randomisation_test(noisy, seed=5)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_equals_its_definition(values):
    adjusted = holm(values)
    count = len(values)
    order = sorted(range(count), key=values.__getitem__)
    for place, at in enumerate(order):
        steps = [(count - i) * values[order[i]] for i in range(place + 1)]
        assert adjusted[at] == pytest.approx(min(1, max(steps)))
        assert adjusted[at] >= values[at]


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([]) == ()


def test_so_many_queries_do_settle_it():
    rng = np.random.default_rng(9)
    sample = rng.normal(0.05, 0.3, 400)
    needed = queries_needed(sample)
    centre, spread = sample.mean(), sample.std(ddof=1)
    assert needed == math.ceil(((1.959964 + 0.841621) * spread / centre) ** 2)
    settled = sum(
        bootstrap_interval(rng.normal(centre, spread, needed), samples=500, seed=seed).low > 0
        for seed in range(300)
    )
    assert settled / 300 == pytest.approx(0.8, abs=0.1)
    assert queries_needed(sample, power=0.9) > needed
    assert queries_needed(sample, level=0.99) > needed
    assert queries_needed(-sample) == needed
    assert queries_needed([0.1, -0.1]) is None
    assert queries_needed([0.1]) is None
    assert queries_needed([0.1, 0.1]) == 2


@pytest.mark.parametrize("values", [[], [[0.1]], [0.1, math.nan], [math.inf], 0.5])
def test_what_is_no_list_of_numbers_is_refused(values):
    for function in (bootstrap_interval, randomisation_test, queries_needed):
        with pytest.raises(InputError, match="finite numbers"):
            function(values)


def test_settings_are_checked():
    with pytest.raises(InputError, match="level must be a number > 0 and < 1, got 95"):
        bootstrap_interval([0.1, 0.2], level=95)
    with pytest.raises(InputError, match="power must be a number"):
        queries_needed([0.1, 0.2], power=1)
    with pytest.raises(InputError, match="samples must be an integer from 1 to 10,000,000, got 0"):
        bootstrap_interval([0.1, 0.2], samples=0)
    with pytest.raises(InputError, match="samples must be an integer from 1 to 10,000,000, got 0"):
        randomisation_test([0.1, 0.2], samples=0)


@pytest.mark.parametrize(
    "values", [[0.1, 0.2, -0.3], [0.1, -0.1] * 50 + [0.3, -0.1, -0.2], [1e-200, 1e200, -1e200]]
)
def test_no_number_of_queries_settles_what_is_equal_up_to_rounding(values):
    assert queries_needed(values) is None


def test_great_differences_are_no_reason_to_fail():
    assert queries_needed([1e-300, -1e300]) == queries_needed([0.0, -1.0])
