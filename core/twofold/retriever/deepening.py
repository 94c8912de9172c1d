"""Asking the legs for more, as long as there are too few hits and there may be others."""

from collections.abc import Callable, Mapping

import numpy as np

from twofold.fusion import Fusion, is_steady
from twofold.fusion.evidence import with_candidate
from twofold.retriever.pool import Pool
from twofold.retriever.shape import Shape
from twofold.types import Leg, LegHits

_DEEPER = 4
"""Times as many candidates are asked for where groups or thresholds leave too few hits."""

Tried = Callable[[int], tuple[int, bool]]
"""Takes how many passages each leg is asked for; returns how many hits that gives, and whether
longer lists may hold others."""


def deep_enough(k: int, limit: int, tried: Tried) -> int:
    """Return how many passages each leg is asked for in the end, ``limit`` at first."""
    hits, more = tried(limit)
    while more and hits < k:
        limit *= _DEEPER
        hits, more = tried(limit)
    return limit


def may_have_more(
    pool: Pool, lists: Mapping[Leg, LegHits], shape: Shape, limit: int, fusion: Fusion
) -> bool:
    """Whether a longer list of some leg could hold a passage that reaches the thresholds.

    And whether that matters: whatever comes first otherwise is among the candidates already.
    """
    if not shape.selects or not any(len(hits.rows) >= limit for hits in lists.values()):
        return False
    most = {leg: _most_unlisted(leg, hits, limit) for leg, hits in lists.items()}
    thresholds = {"dense": shape.min_dense, "lexical": shape.min_lexical}
    for leg, score in most.items():
        least = thresholds[leg]
        if least is not None and score < least:
            return False
    return shape.min_score is None or _most_fused(pool, most, fusion) >= shape.min_score


def _most_unlisted(leg: Leg, hits: LegHits, limit: int) -> float:
    """Return the most that a leg gives to a passage that it does not list."""
    last = float(hits.scores[-1]) if len(hits.rows) >= limit else -np.inf
    return last if leg == "dense" else max(last, 0.0)  # without a word in common


def _most_fused(pool: Pool, most: Mapping[Leg, float], fusion: Fusion) -> float:
    """Return the most that a passage can score that neither leg lists, infinite if not known.

    It is the score of the corner: of a passage that has from each leg the most that is left.
    """
    if pool.fused is None:
        return max(most.values())
    # Below 0, the least lexical score is that of the candidates, which may be others further down.
    if not is_steady(fusion) or pool.evidence["lexical"].lowest < 0:
        return np.inf
    corner = {leg: with_candidate(each, most[leg]) for leg, each in pool.evidence.items()}
    return float(fusion.fuse(corner["dense"], corner["lexical"]).scores[-1])
