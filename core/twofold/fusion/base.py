"""The input and output of a fusion, and the protocols that fusions implement."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from twofold.types import Mask, Moments, Scores

_zero_moments = partial(Moments, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class LegScores:
    """Scores and ranks of all n candidates in one leg.

    Attributes:
        scores: Scores (n,), NaN for a passage that the leg can't score.
        ranks: Ranks (n,) in the leg's results, from 1; 0 if only the other leg has the candidate.
        lowest: Lower bound of the leg's score for any passage.
        moments: Returns the moments of the scores of all passages; called only if needed.
        quality: Estimated reliability of the leg, from 0 to 1 (see ``GuardedFusion``).
    """

    scores: Scores
    ranks: NDArray[np.int64]
    lowest: float
    moments: Callable[[], Moments] = _zero_moments
    quality: float = 1.0

    @property
    def completed(self) -> Scores:
        """The scores, with NaN replaced by ``lowest``."""
        return np.where(np.isnan(self.scores), self.lowest, self.scores)

    @property
    def listed(self) -> Mask:
        """Which candidates are in the leg's own results."""
        return self.ranks > 0


def add_candidate(leg: LegScores, score: float) -> LegScores:
    """Return ``leg`` with one more candidate, which comes last and is not in its result list.

    A score that is not finite means that the leg can't score the candidate.
    """
    added = score if np.isfinite(score) else np.nan
    return replace(leg, scores=np.append(leg.scores, added), ranks=np.append(leg.ranks, 0))


@dataclass(frozen=True, slots=True)
class FusedScores:
    """Result of a fusion: normalized scores (n,) of each leg, and the weights of the legs.

    A weight is one number or one per candidate (n,). ``precedence`` (n,) orders equal scores
    instead of ids, lowest first. ``warnings`` report unreliable legs. ``sums`` (n,) replace the
    weighted sum to reproduce another library's rounding.
    """

    dense: Scores
    lexical: Scores
    dense_weight: float | Scores
    lexical_weight: float | Scores
    precedence: NDArray[np.int64] | None = None
    warnings: tuple[str, ...] = ()
    sums: Scores | None = None

    @property
    def scores(self) -> Scores:
        """The fused scores (n,)."""
        if self.sums is not None:
            return self.sums
        return np.asarray(self.dense_weight * self.dense + self.lexical_weight * self.lexical)


@runtime_checkable
class Fusion(Protocol):
    """Combines the scores of both legs into one score per candidate."""

    def fuse(self, dense: LegScores, lexical: LegScores) -> FusedScores:
        """Return normalized scores and weights."""
        ...


@runtime_checkable
class WeightedFusion(Fusion, Protocol):
    """A fusion whose dense leg has the weight ``dense_weight``, and the lexical leg the rest."""

    @property
    def dense_weight(self) -> float:
        """The weight of the dense leg, from 0 to 1."""
        ...

    def with_dense_weight(self, dense_weight: float) -> "WeightedFusion":
        """Return the same fusion with another weight of the dense leg."""
        ...
