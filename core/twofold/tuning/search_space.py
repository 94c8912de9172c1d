"""What is tried: values of each parameter, and how far a setting is from the one in use."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

import numpy as np

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

_WEIGHTS = tuple(round(0.05 * step, 2) for step in range(21))
_RULES: tuple[WeightedFusion, ...] = (
    *(WeightedSum(each) for each in NORMALIZERS.values()),
    CombMNZ(),
    LogOdds(),
    *(ReciprocalRank(each) for each in (1.0, 2.0, 5.0, 10.0, 20.0, 60.0)),
)


@dataclass(frozen=True, slots=True)
class Space:
    """The values that tuning tries; the ones in use are always among them.

    Every fusion of ``rules`` is tried with every weight of the dense leg, with and without the
    guard. The weight of titles is left alone where no passage has one, and in collections of more
    than ``most_retitled`` passages, since trying one means analysing all of them in memory.
    """

    rules: tuple[WeightedFusion, ...] = _RULES
    dense_weights: tuple[float, ...] = _WEIGHTS
    depths: tuple[int, ...] = (50, 100, 200, 400)
    k1: tuple[float, ...] = (0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
    b: tuple[float, ...] = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9)
    title_weights: tuple[int, ...] = (1, 2, 3)
    most_retitled: int = 200_000

    def fusions(self, profile: SearchProfile) -> Iterator[SearchProfile]:
        """Yield a setting with every fusion and weight."""
        guard = profile.fusion if isinstance(profile.fusion, GuardedFusion) else GuardedFusion()
        for rule in self.rules:
            for weight in self.dense_weights:
                bare = rule.reweighted(weight)
                yield replace(profile, fusion=replace(guard, fusion=bare))
                yield replace(profile, fusion=bare)

    def lengths(self, profile: SearchProfile) -> Iterator[SearchProfile]:
        """Yield a setting with every ``b``, none where its scoring function lacks it."""
        return _with_parameter(profile, "b", self.b)

    def repeats(self, profile: SearchProfile) -> Iterator[SearchProfile]:
        """Yield a setting with every ``k1``, none where its scoring function lacks it."""
        return _with_parameter(profile, "k1", self.k1)

    def titles(self, profile: SearchProfile) -> Iterator[SearchProfile]:
        """Yield a setting with every weight of titles."""
        for weight in self.title_weights:
            yield replace(profile, title_weight=weight)

    def limits(self, profile: SearchProfile) -> Iterator[SearchProfile]:
        """Yield a setting with every depth."""
        for depth in self.depths:
            yield replace(profile, depth=depth)


def distance(profile: SearchProfile, home: SearchProfile) -> float:
    """Return how much of a setting differs from ``home``: 0 for nothing, about 1 a parameter.

    Another rule of fusion counts 1, having or lacking the guard 0.5; a doubled k1 or depth counts
    log 2; weights and b their difference, and a title's weight as k1.
    """
    near, far = _rule(profile.fusion), _rule(home.fusion)
    own, other = profile.scorer, home.scorer
    return (
        float(near != far)
        + 0.5
        * (isinstance(profile.fusion, GuardedFusion) != isinstance(home.fusion, GuardedFusion))
        + abs(profile.fusion.dense_weight - home.fusion.dense_weight)
        + abs(math.log(profile.depth / home.depth))
        + abs(math.log((1 + profile.title_weight) / (1 + home.title_weight)))
        + abs(math.log(max(_parameter(own, "k1"), 0.01) / max(_parameter(other, "k1"), 0.01)))
        + abs(_parameter(own, "b") - _parameter(other, "b"))
    )


def _rule(fusion: WeightedFusion) -> WeightedFusion:
    """Return a fusion without its guard, at a weight that makes rules comparable."""
    bare = fusion.fusion if isinstance(fusion, GuardedFusion) else fusion
    return bare.reweighted(0.5)


def _with_parameter(
    profile: SearchProfile, name: str, values: tuple[float, ...]
) -> Iterator[SearchProfile]:
    scorer: Any = profile.scorer if profile.scorer is not None else BM25()
    if not is_dataclass(scorer) or name not in {each.name for each in fields(scorer)}:
        return
    for value in values:
        if value != getattr(scorer, name):
            changed: Any = replace(scorer, **{name: value})  # type: ignore[type-var]
            yield replace(profile, scorer=changed)


def _parameter(scorer: Scorer | None, name: str) -> float:
    return float(getattr(scorer if scorer is not None else BM25(), name, 1.0))


@dataclass(frozen=True, slots=True)
class Plan:
    """How to tune.

    ``measure`` is one of ir_measures', and nDCG is by far the quickest. Queries are dealt to
    ``folds`` by ``seed``. A change must be better on held-out queries at this ``level`` of
    confidence. With fewer than ``fewest`` judged queries, nothing is ever changed.
    """

    measure: str = "nDCG@10"
    folds: int = 5
    seed: int = 0
    level: float = 0.95
    fewest: int = 20
    space: Space = field(default_factory=Space)

    def __post_init__(self) -> None:
        for name, least in (("folds", 2), ("seed", 0), ("fewest", 1)):
            value: object = getattr(self, name)
            if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
                raise InputError(
                    f"{name} is {value!r}: a whole number of at least {least} is wanted"
                )
        level: object = self.level
        if not isinstance(level, int | float) or isinstance(level, bool) or not 0 < level < 1:
            raise InputError(f"level is {level!r}: a number between 0 and 1 is wanted")
        parse_measure(self.measure)
        if self.fewest < 2 * self.folds:
            raise InputError(
                f"fewest is {self.fewest!r}: at least {2 * self.folds} queries are wanted for "
                f"{self.folds} folds"
            )
