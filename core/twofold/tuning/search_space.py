"""The parameter values that tuning tries, and the options of tuning."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal

from twofold.backend import SearchProfile
from twofold.errors import InputError
from twofold.evaluation.measures import parse_measure
from twofold.fusion import (
    NORMALIZERS,
    CombMNZ,
    GuardedFusion,
    LogOdds,
    ReciprocalRank,
    WeightedFusion,
    WeightedSum,
)
from twofold.lexical import BM25
from twofold.protocols import Scorer
from twofold.validation import check_integer, check_number

_WEIGHTS = tuple(round(0.05 * step, 2) for step in range(21))
_RULES: tuple[WeightedFusion, ...] = (
    *(WeightedSum(normalizer) for normalizer in NORMALIZERS.values()),
    CombMNZ(),
    LogOdds(),
    *(ReciprocalRank(constant) for constant in (1.0, 2.0, 5.0, 10.0, 20.0, 60.0)),
)


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """The values that tuning tries, in addition to those of the active profile.

    Attributes:
        rules: Fusion rules, each tried with every dense weight, with and without `GuardedFusion`.
        dense_weights: Weights of the dense leg in the fusion.
        depths: Numbers of candidates of each leg.
        k1: BM25's term frequency saturation.
        b: BM25's length normalization.
        title_weights: How many times a title counts. Tried only if passages have titles.
        max_passages_for_titles: The largest collection in which title weights are tried, since
            each of them analyzes all passages in memory.
    """

    rules: tuple[WeightedFusion, ...] = _RULES
    dense_weights: tuple[float, ...] = _WEIGHTS
    depths: tuple[int, ...] = (50, 100, 200, 400)
    k1: tuple[float, ...] = (0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
    b: tuple[float, ...] = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9)
    title_weights: tuple[int, ...] = (1, 2, 3)
    max_passages_for_titles: int = 200_000

    def vary_fusion(self, profile: SearchProfile) -> Iterator[SearchProfile]:
        """Yield the profile with every fusion rule and dense weight, guarded and not."""
        guard = profile.fusion if isinstance(profile.fusion, GuardedFusion) else GuardedFusion()
        for rule in self.rules:
            for weight in self.dense_weights:
                bare = rule.with_dense_weight(weight)
                yield replace(profile, fusion=replace(guard, fusion=bare))
                yield replace(profile, fusion=bare)

    def vary_scorer(self, name: Literal["b", "k1"], profile: SearchProfile) -> list[SearchProfile]:
        """Return the profile with every other value of the scorer's parameter, if there is one."""
        scorer: Any = profile.scorer if profile.scorer is not None else BM25()
        names = [parameter.name for parameter in fields(scorer)] if is_dataclass(scorer) else []
        if name not in names:
            return []
        values = self.b if name == "b" else self.k1
        return [
            replace(profile, scorer=replace(scorer, **{name: value}))
            for value in values
            if value != getattr(scorer, name)
        ]

    def vary_title_weight(self, profile: SearchProfile) -> list[SearchProfile]:
        """Return the profile with every title weight."""
        return [replace(profile, title_weight=weight) for weight in self.title_weights]

    def vary_depth(self, profile: SearchProfile) -> list[SearchProfile]:
        """Return the profile with every depth."""
        return [replace(profile, depth=depth) for depth in self.depths]


@dataclass(frozen=True, slots=True)
class TuningPlan:
    """The options of tuning.

    Args:
        measure: The measure to raise, in the syntax of ir_measures. nDCG is by far the fastest.
        folds: The folds of the cross-validation, at least 2.
        seed: Seeds the assignment of queries to folds.
        confidence: The level of confidence at which held-out queries must gain.
        min_queries: Least number of judged queries to tune on. At least twice ``folds``.
        space: The values to try.

    Raises:
        InputError: A value is out of range, or the measure is unknown.
    """

    measure: str = "nDCG@10"
    folds: int = 5
    seed: int = 0
    confidence: float = 0.95
    min_queries: int = 20
    space: SearchSpace = field(default_factory=SearchSpace)

    def __post_init__(self) -> None:
        check_integer("folds", self.folds, 2)
        check_integer("seed", self.seed, 0)
        check_integer("min_queries", self.min_queries)
        check_number("confidence", self.confidence, 0, 1, exclusive=True)
        parse_measure(self.measure)
        if self.min_queries < 2 * self.folds:
            raise InputError(
                f"min_queries must be >= {2 * self.folds}, twice the folds, got {self.min_queries}"
            )


def profile_distance(profile: SearchProfile, start: SearchProfile) -> float:
    """Return how far a profile is from ``start``: 0 if they are equal, about 1 per parameter.

    Another fusion rule counts 1, and a guard in only one of the two 0.5. k1, depth and title
    weight count the logarithm of their ratio; b and the dense weight count their difference.
    """
    fusion, start_fusion = profile.fusion, start.fusion
    scorer, start_scorer = profile.scorer, start.scorer
    k1, start_k1 = (max(_parameter(s, "k1"), 0.01) for s in (scorer, start_scorer))
    return (
        float(_strip_guard_and_weight(fusion) != _strip_guard_and_weight(start_fusion))
        + 0.5 * (isinstance(fusion, GuardedFusion) != isinstance(start_fusion, GuardedFusion))
        + abs(fusion.dense_weight - start_fusion.dense_weight)
        + abs(math.log(profile.depth / start.depth))
        + abs(math.log((1 + profile.title_weight) / (1 + start.title_weight)))
        + abs(math.log(k1 / start_k1))
        + abs(_parameter(scorer, "b") - _parameter(start_scorer, "b"))
    )


def _strip_guard_and_weight(fusion: WeightedFusion) -> WeightedFusion:
    """Return a fusion without its guard, at a fixed weight, so that rules compare equal."""
    bare = fusion.fusion if isinstance(fusion, GuardedFusion) else fusion
    return bare.with_dense_weight(0.5)


def _parameter(scorer: Scorer | None, name: str) -> float:
    return float(getattr(scorer if scorer is not None else BM25(), name, 1.0))
