import json
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.oracles import normalized

from twofold.errors import InputError
from twofold.fusion import (
    DENSE_DOUBT,
    FUSIONS,
    L2,
    LEXICAL_DOUBT,
    NORMALIZERS,
    PRESETS,
    CombMNZ,
    DistributionBased,
    EnsembleFusion,
    GuardedFusion,
    LegScores,
    LogOdds,
    MinMax,
    QueryFusion,
    Rank,
    ReciprocalRank,
    TheoreticalMinMax,
    WeightedSum,
    ZScore,
    fusion_as_dict,
    fusion_from_dict,
    fusion_from_name,
)
from twofold.types import Moments

ALL = pytest.mark.parametrize("name", FUSIONS)
WEIGHTS = st.integers(0, 64).map(lambda n: n / 64)


def leg(scores, lowest=0.0, ranks=None, moments=(0.0, 0.0), quality=1.0):
    """Return evidence; without ranks all are listed, by score and then by place."""
    scores = np.array(scores, np.float64)
    if ranks is None:
        ranks = placed(scores, len(scores))
    return LegScores(scores, np.array(ranks, np.int64), lowest, lambda: Moments(*moments), quality)


def placed(scores, depth):
    """Return ranks of the best ``depth``, ties by place, 0 for the others."""
    ranks = np.zeros(len(scores), np.int64)
    filled = [place for place in range(len(scores)) if not math.isnan(scores[place])]
    order = sorted(filled, key=lambda place: (-scores[place], place))[:depth]
    ranks[order] = np.arange(1, len(order) + 1)
    return ranks


DENSE = st.integers(-64, 64).map(lambda n: n / 64)
LEXICAL = st.integers(0, 200).map(lambda n: n / 8)


@st.composite
def both(draw, least=1):
    """Evidence of candidates that at least one leg lists, with completed scores in both."""
    n = draw(st.integers(least, 10))
    dense = draw(st.lists(st.one_of(DENSE, st.just(math.nan)), min_size=n, max_size=n))
    lexical = draw(st.lists(LEXICAL, min_size=n, max_size=n))
    depths = draw(st.tuples(st.integers(0, n), st.integers(0, n)))
    ranks = placed(dense, depths[0]), placed(lexical, depths[1])
    kept = (ranks[0] > 0) | (ranks[1] > 0)
    assume(kept.sum() >= least)
    moments = (draw(DENSE), 0.25), (draw(LEXICAL), 1.5)
    return (
        leg(np.array(dense)[kept], -1.0, ranks[0][kept], moments[0]),
        leg(np.array(lexical)[kept], 0.0, ranks[1][kept], moments[1]),
    )


@pytest.mark.parametrize("name", NORMALIZERS)
@given(scores=st.lists(DENSE, min_size=2, max_size=12), mean=DENSE)
def test_normalisers_are_their_formulas(name, scores, mean):
    assume(len(set(scores)) > 1)
    found = NORMALIZERS[name].normalize(leg(scores, -1.5, moments=(mean, 0.3)))
    wanted = normalized(name, scores, lowest=-1.5, moments=(mean, 0.3))
    np.testing.assert_allclose(found, wanted, atol=1e-9)
    order = np.argsort(scores, kind="stable")
    assert (np.diff(found[order]) >= 0).all()


@given(legs=both(), weight=WEIGHTS)
def test_weighted_sums_combmnz_and_log_odds_are_their_formulas(legs, weight):
    dense, lexical = legs
    theoretical, min_max = (
        [NORMALIZERS[name].normalize(each) for each in legs]
        for name in ("theoretical-min-max", "min-max")
    )
    summed = WeightedSum(dense_weight=weight).fuse(dense, lexical).scores
    multiplied = CombMNZ(dense_weight=weight).fuse(dense, lexical).scores
    pooled = LogOdds(dense_weight=weight, margin=0.1).fuse(dense, lexical).scores
    for place in range(len(summed)):
        x, y = theoretical[0][place], theoretical[1][place]
        assert math.isclose(summed[place], weight * x + (1 - weight) * y, abs_tol=1e-12)
        p, q = 0.1 + 0.8 * x, 0.1 + 0.8 * y
        odds = (p / (1 - p)) ** weight * (q / (1 - q)) ** (1 - weight)
        assert math.isclose(pooled[place], math.log(odds), abs_tol=1e-9)
        x, y = min_max[0][place], min_max[1][place]
        times = int(dense.ranks[place] > 0) + int(lexical.ranks[place] > 0)
        wanted = times * (weight * x + (1 - weight) * y)
        assert math.isclose(multiplied[place], wanted, abs_tol=1e-12)


def test_reciprocal_rank_is_its_formula():
    rule = ReciprocalRank(rank_constant=60, dense_weight=0.25)
    fused = rule.fuse(leg([1, 2, 3], -1, [3, 0, 1]), leg([1, 2, 3], 0, [1, 2, 0]))
    wanted = [0.25 / 63 + 0.75 / 61, 0.75 / 62, 0.25 / 61]
    np.testing.assert_allclose(fused.scores, wanted, rtol=1e-12)
    first = ReciprocalRank(rank_constant=0, dense_weight=1).fuse(
        leg([2, 1], ranks=[1, 0]), leg([0, 0], ranks=[0, 1])
    )
    assert first.scores.tolist() == [1.0, 0.0]


def test_a_passage_without_a_vector_counts_as_least():
    fused = WeightedSum().fuse(leg([0.5, np.nan], -1.0), leg([1.0, 2.0]))
    assert fused.dense.tolist() == [1.0, 0.0]


def test_the_least_possible_score_is_a_fixed_point_of_the_theoretical_scale():
    assert TheoreticalMinMax().normalize(leg([1.0, 0.0, 0.5], -1.0)).tolist() == [1, 0.5, 0.75]
    assert MinMax().normalize(leg([1.0, 0.0, 0.5], -1.0)).tolist() == [1, 0, 0.5]
    assert MinMax().normalize(leg([3.0, 3.0], ranks=[1, 0])).tolist() == [1, 0]


@ALL
@settings(max_examples=150, deadline=None)
@given(legs=both(least=2), weight=WEIGHTS, qualities=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_what_is_better_in_both_legs_never_ranks_lower(name, legs, weight, qualities):
    dense, lexical = (
        replace(each, quality=quality) for each, quality in zip(legs, qualities, strict=True)
    )
    scores = FUSIONS[name].with_dense_weight(weight).fuse(dense, lexical).scores
    keys = [
        (each.completed, np.where(each.listed, -each.ranks, -1000)) for each in (dense, lexical)
    ]
    for one in range(len(scores)):
        for two in range(len(scores)):
            if all(values[one] >= values[two] for pair in keys for values in pair):
                assert scores[one] >= scores[two] - 1e-12


@ALL
@given(legs=both(), factor=st.sampled_from([1e-6, 0.5, 3.0, 1e5]))
def test_the_scale_of_a_leg_changes_nothing(name, legs, factor):
    dense, lexical = legs
    moments = lexical.moments()
    scaled = leg(
        lexical.scores * factor,
        lexical.lowest * factor,
        lexical.ranks,
        (moments.mean * factor, moments.deviation * factor),
    )
    fusion = FUSIONS[name].with_dense_weight(0.25)
    np.testing.assert_allclose(
        fusion.fuse(dense, scaled).scores, fusion.fuse(dense, lexical).scores, atol=1e-9
    )


@pytest.mark.parametrize("name", ["guarded", "theoretical-min-max", "z-score", "rrf", "log-odds"])
@given(legs=both())
def test_a_worse_candidate_changes_nothing_for_the_others(name, legs):
    more = [
        leg(
            [*each.scores, each.lowest if each.lowest < 0 else float(each.scores.min()) / 2],
            each.lowest,
            [*each.ranks, 0],
            (each.moments().mean, each.moments().deviation),
        )
        for each in legs
    ]
    before, after = FUSIONS[name].fuse(*legs).scores, FUSIONS[name].fuse(*more).scores
    assert after[:-1].tolist() == before.tolist()
    assert after[-1] <= before.min() + 1e-12


@ALL
@given(values=st.lists(DENSE, min_size=1, max_size=10), flip=st.booleans())
def test_beside_an_empty_leg_the_other_ones_order_stays(name, values, flip):
    full = leg(values, -1.5, moments=(0.1, 0.5))
    empty = leg([math.nan if flip else 0.0] * len(values), 0.0, [0] * len(values))
    fusion = FUSIONS[name].with_dense_weight(0.5)
    scores = (fusion.fuse(empty, full) if flip else fusion.fuse(full, empty)).scores
    for one in range(len(values)):
        for two in range(len(values)):
            if values[one] > values[two]:
                assert scores[one] > scores[two]


@ALL
@given(legs=both(), data=st.data())
def test_the_order_of_candidates_does_not_matter(name, legs, data):
    order = data.draw(st.permutations(range(len(legs[0].scores))))
    turned = [replace(each, scores=each.scores[order], ranks=each.ranks[order]) for each in legs]
    before, after = FUSIONS[name].fuse(*legs).scores, FUSIONS[name].fuse(*turned).scores
    np.testing.assert_allclose(after, before[order], atol=1e-9)


@pytest.mark.parametrize("values", [[], [0.3], [0.5] * 4, [0.0] * 3, [math.nan] * 3, [0.1] * 3])
@pytest.mark.parametrize("listed", [True, False])
def test_degenerate_lists_give_finite_values(values, listed):
    ranks = list(range(1, len(values) + 1)) if listed else [0] * len(values)
    fusions = [*FUSIONS.values(), *(each.fusion for each in PRESETS.values())]
    if math.nan in values or not listed:
        fusions = list(FUSIONS.values())  # presets know lists alone, and those have scores
    for fusion in fusions:
        for other in (leg([1.0] * len(values)), leg([0.0] * len(values), 0.0, ranks)):
            fused = fusion.fuse(leg(values, -1.0, ranks), other)
            assert fused.scores.shape == (len(values),)
            assert np.isfinite(fused.scores).all()


@given(legs=both(), weight=WEIGHTS)
def test_contributions_sum_to_the_score(legs, weight):
    for fusion in [
        *(each.with_dense_weight(weight) for each in FUSIONS.values()),
        EnsembleFusion(weight),
        QueryFusion("relative_score", weight),
    ]:
        fused = fusion.fuse(*legs)
        sums = fused.dense_weight * fused.dense + fused.lexical_weight * fused.lexical
        np.testing.assert_allclose(sums, fused.scores, atol=1e-12)


def guarded(dense_quality, lexical_quality, guard=None):
    dense = leg([0.9, 0.1], -1.0, quality=dense_quality)
    return (guard or GuardedFusion()).fuse(dense, leg([1.0, 9.0], quality=lexical_quality))


def test_the_guard_changes_nothing_where_both_legs_are_trusted():
    plain = WeightedSum().fuse(leg([0.9, 0.1], -1.0), leg([1.0, 9.0]))
    for qualities in ((1.0, 1.0), (DENSE_DOUBT[1], LEXICAL_DOUBT[1]), (0.8, 0.75)):
        fused = guarded(*qualities)
        assert fused.scores.tolist() == plain.scores.tolist()
        assert (fused.dense_weight, fused.warnings) == (plain.dense_weight, ())


@given(
    low=st.floats(0, 1),
    high=st.floats(0, 1),
    other=st.floats(0, 1),
    weight=WEIGHTS,
    weak=st.tuples(WEIGHTS, WEIGHTS),
)
def test_the_guards_weight_follows_the_quality_of_each_leg(low, high, other, weight, weak):
    low, high = sorted((low, high))
    guard = GuardedFusion(WeightedSum(dense_weight=weight), *weak)
    assert guard.dense_weight == weight
    worse, better = (guarded(each, other, guard).dense_weight for each in (low, high))
    assert worse <= better + 1e-12
    worse, better = (guarded(other, each, guard).dense_weight for each in (low, high))
    assert worse >= better - 1e-12
    assert min(weight, weak[0]) - 1e-12 <= worse <= max(weight, weak[1]) + 1e-12


def test_the_guard_says_which_leg_is_weak():
    assert guarded(0.2, 1.0).dense_weight == pytest.approx(0.3)
    assert guarded(1.0, 0.0).dense_weight == pytest.approx(0.95)
    assert guarded(0.2, 0.0).dense_weight == pytest.approx(0.3)
    (dense,) = guarded(0.2, 1.0).warnings
    assert "the dense leg is weak here: its agreement with the lexical leg is 0.20" in dense
    assert "its weight is 0.30 instead of 0.80" in dense
    (lexical,) = guarded(1.0, 0.2).warnings
    assert "the lexical leg is weak here: most of the query's words occur in no passage" in lexical
    assert "its weight is below 0.20" in lexical
    assert guarded(0.69, 0.65).warnings == ()
    assert guarded(0.69, 0.65).dense_weight != 0.8


@ALL
def test_fusions_survive_json(name):
    for fusion in (
        FUSIONS[name],
        fusion_from_name(name, 0.3),
        fusion_from_name(name, np.float32(0.5)),
    ):
        again = fusion_from_dict(json.loads(json.dumps(fusion_as_dict(fusion))))
        assert again == fusion
        assert type(again) is type(fusion)
    assert fusion_from_name(name, 0.3).dense_weight == 0.3
    assert fusion_from_name(name) is FUSIONS[name]


def test_nested_fusions_survive_json():
    fusion = GuardedFusion(CombMNZ(MinMax(), 0.6), weak_dense=0.1)
    assert fusion_from_dict(json.loads(json.dumps(fusion_as_dict(fusion)))) == fusion
    assert fusion_as_dict(ReciprocalRank(20.0, 0.25)) == {
        "name": "ReciprocalRank",
        "rank_constant": 20.0,
        "dense_weight": 0.25,
    }


@dataclass(frozen=True)
class Own:
    def normalize(self, leg):
        return leg.completed


def test_what_cannot_be_stored_is_refused():
    for fusion in (EnsembleFusion(), QueryFusion(), Own()):
        with pytest.raises(InputError, match="can't be stored: use one of WeightedSum"):
            fusion_as_dict(fusion)
    with pytest.raises(InputError, match="can't be stored: use normalizers and fusions"):
        fusion_as_dict(WeightedSum(Own()))
    with pytest.raises(KeyError, match="Better"):
        fusion_from_dict({"name": "Better"})
    with pytest.raises(InputError, match="unknown fusion 'rff'.*did you mean 'rrf'"):
        fusion_from_name("rff")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: WeightedSum(dense_weight=1.5),
            "dense_weight must be a number >= 0 and <= 1, got 1.5",
        ),
        (lambda: WeightedSum(dense_weight=True), "dense_weight must be .*got True"),
        (lambda: ReciprocalRank(-1), "rank_constant must be a number >= 0, got -1"),
        (lambda: ReciprocalRank(math.nan), "rank_constant must be .*got nan"),
        (lambda: GuardedFusion(weak_dense=2), "weak_dense must be .*got 2"),
        (lambda: LogOdds(margin=0.5), "margin must be .*got 0.5"),
        (
            lambda: ZScore("everything"),
            "over must be one of 'corpus', 'candidates', got 'everything'",
        ),
        (lambda: EnsembleFusion(c=-1), "c must be a number >= 0, got -1"),
        (lambda: fusion_from_name("rrf", -0.1), "dense_weight must be .*got -0.1"),
        (lambda: CombMNZ(ZScore()), r"CombMNZ can't use ZScore\(over='corpus'\)"),
        (lambda: CombMNZ(DistributionBased()), "below 0: use MinMax"),
        (lambda: CombMNZ(L2()), "below 0: use MinMax"),
        (lambda: LogOdds(ZScore("candidates")), r"LogOdds can't use ZScore"),
        (lambda: LogOdds(DistributionBased()), "may leave 0 to 1: use"),
        (lambda: LogOdds(L2()), "may leave 0 to 1: use"),
        (lambda: WeightedSum(0.6), "normalizer must be an object.*got 0.6; .*dense_weight=0.6"),
        (lambda: WeightedSum("min-max"), "normalizer must be .*got 'min-max'"),
        (lambda: CombMNZ(MinMax), "normalizer must be .*got <class"),
        (lambda: LogOdds(None), "normalizer must be .*got None"),
        (lambda: GuardedFusion(0.6), "fusion must be a fusion with a weight.*got 0.6"),
        (lambda: GuardedFusion(WeightedSum), "fusion must be a fusion with a weight.*got <class"),
    ],
)
def test_bad_fusion_settings_are_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()
    assert CombMNZ(Rank()).normalizer == Rank()
