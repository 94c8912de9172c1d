"""The search: one kind of parameter after another, and no step that a few queries alone want."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twofold.backend import SearchProfile
from twofold.tuning.objective import TuningObjective
from twofold.tuning.search_space import Space, distance
from twofold.types import Scores

Step = Callable[[SearchProfile], Iterable[SearchProfile]]


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a search: what was tried, how good the best of it is, and what was kept.

    ``best`` and ``kept`` are means over the queries that the search saw.
    """

    name: str
    tried: int
    best: float
    kept: float
    profile: SearchProfile


def search(
    bench: TuningObjective, space: Space, home: SearchProfile, queries: NDArray[np.int64]
) -> Iterator[Stage]:
    """Yield the stages of a search that starts at ``home`` and sees only these queries (n,).

    Coordinate descent: fusion and weight, BM25's b and k1, the weight of titles, the depth, and
    fusion and weight again. The last stage's setting is what was found.
    """
    at = home
    for name, steps in _stages(bench, space):
        tried, best, kept = 0, -math.inf, math.nan
        for step in steps:
            settings = list(dict.fromkeys([at, *step(at)]))
            values = np.stack([bench.values(each)[queries] for each in settings])
            at = settings[choose_best(values, [distance(each, home) for each in settings])]
            tried += len(settings) - 1
            best = max(best, float(values.mean(axis=1).max()))
            kept = float(bench.values(at)[queries].mean())
        yield Stage(name, tried, best, kept, at)


def choose_best(values: Scores, distances: list[float]) -> int:
    """Return which of several settings to keep, from values (settings, queries).

    Of those that are no more than one standard error of the difference worse than the best, the
    nearest to home: the best of many is partly luck, and luck doesn't last. The one standard error
    rule of Breiman, Friedman, Olshen and Stone, Classification and Regression Trees (1984),
    section 3.4, with paired errors. A setting has nothing fitted to queries but itself, so its mean
    over inner folds is its mean over all queries.
    """
    means = values.mean(axis=1)
    best = int(np.argmax(means))
    lost = values[best] - values
    errors = lost.std(axis=1, ddof=1) / math.sqrt(values.shape[1])
    # Means that are equal on paper differ in their last bits.
    near = np.flatnonzero(lost.mean(axis=1) <= errors + 1e-12)
    return int(min(near, key=lambda each: (distances[each], -means[each])))


def _stages(bench: TuningObjective, space: Space) -> Iterator[tuple[str, tuple[Step, ...]]]:
    yield "fusion and weight", (space.fusions,)
    yield "BM25's b and k1", (space.lengths, space.repeats, space.lengths)
    if bench.passages <= space.most_retitled and bench.has_titles:
        yield "weight of titles", (space.titles,)
    yield "depth", (space.limits,)
    yield "fusion and weight again", (space.fusions,)
