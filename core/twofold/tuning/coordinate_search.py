"""Coordinate search for the best profile, with a rule against overfitting to few queries."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from twofold.backend import SearchProfile
from twofold.tuning.objective import TuningObjective
from twofold.tuning.search_space import SearchSpace, profile_distance
from twofold.types import Scores

_Vary = Callable[[SearchProfile], Iterable[SearchProfile]]
MAX_STAGES = 5


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of the search: the number of profiles ``tried``, and the ``profile`` it chose.

    ``best`` is the highest mean measure of a profile tried, ``chosen`` that of the chosen profile.
    """

    name: str
    tried: int
    best: float
    chosen: float
    profile: SearchProfile


def search(
    objective: TuningObjective,
    space: SearchSpace,
    start: SearchProfile,
    queries: NDArray[np.int64],
) -> Iterator[Stage]:
    """Yield the stages of a coordinate search from ``start``; the last stage has the result.

    Only the queries at the positions ``queries`` (n,) are used.
    """
    profile = start
    for name, steps in _stages(objective, space):
        tried, best, chosen = 0, -math.inf, math.nan
        for vary in steps:
            profiles = list(dict.fromkeys([profile, *vary(profile)]))
            values = np.stack([objective.values(candidate)[queries] for candidate in profiles])
            distances = [profile_distance(candidate, start) for candidate in profiles]
            profile = profiles[choose_best(values, distances)]
            tried += len(profiles) - 1
            best = max(best, float(values.mean(axis=1).max()))
            chosen = float(objective.values(profile)[queries].mean())
        yield Stage(name, tried, best, chosen, profile)


def choose_best(values: Scores, distances: list[float]) -> int:
    """Return the position of the profile to choose, by the one-standard-error rule.

    Of the profiles that are at most one paired standard error worse than the best, the rule chooses
    the one with the lowest of ``distances`` from the start, because the best of many is partly
    luck. Breiman, Friedman, Olshen and Stone, Classification and Regression Trees (1984), section
    3.4. ``values`` has shape (profiles, queries).
    """
    means = values.mean(axis=1)
    losses = values[int(np.argmax(means))] - values
    errors = losses.std(axis=1, ddof=1) / math.sqrt(values.shape[1])
    # Means that are equal in exact arithmetic differ in their last bits.
    eligible = np.flatnonzero(losses.mean(axis=1) <= errors + 1e-12)
    return int(min(eligible, key=lambda position: (distances[position], -means[position])))


def _stages(
    objective: TuningObjective, space: SearchSpace
) -> Iterator[tuple[str, tuple[_Vary, ...]]]:
    yield "fusion and weight", (space.vary_fusion,)
    if objective.takes_scorers:
        vary_b, vary_k1 = partial(space.vary_scorer, "b"), partial(space.vary_scorer, "k1")
        yield "BM25's b and k1", (vary_b, vary_k1, vary_b)
    if objective.passages <= space.max_passages_for_titles and objective.has_titles:
        yield "title weight", (space.vary_title_weight,)
    yield "depth", (space.vary_depth,)
    yield "fusion and weight again", (space.vary_fusion,)
