"""What the legs say of all candidates, and what a fusion makes of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from twofold.types import Mask, Moments, Scores


def no_moments() -> Moments:
    """Return the moments of a leg that gives every passage 0."""
    return Moments(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class LegScores:
    """What a leg says of all candidates: completed scores and ranks, (n,) each.

    ``scores`` are NaN for a passage that the leg can't score. ``ranks`` are 1-based places in the
    leg's own list, 0 for a candidate that only the other leg brought. ``lowest`` bounds from below
    what the leg can give to any passage. ``moments`` are of all passages, computed when asked.
    ``quality``, between 0 and 1, tells without judgments how far the leg can be trusted: see
    ``Guarded``.
    """

    scores: Scores
    ranks: NDArray[np.int64]
    lowest: float
    moments: Callable[[], Moments] = no_moments
    quality: float = 1.0

    @property
    def completed(self) -> Scores:
        """The scores, with the least possible one in the place of NaN."""
        return np.where(np.isnan(self.scores), self.lowest, self.scores)

    @property
    def listed(self) -> Mask:
        """Which candidates the leg brought itself."""
        return self.ranks > 0


def with_candidate(leg: LegScores, score: float) -> LegScores:
    """Return what a leg says if there is one more candidate, which it does not list.

    It comes last. A score that is not finite means that the leg can't score it.
    """
    own = score if np.isfinite(score) else np.nan
    return replace(leg, scores=np.append(leg.scores, own), ranks=np.append(leg.ranks, 0))


@dataclass(frozen=True, slots=True)
class Fused:
    """Normalised scores (n,) and the weight of each leg; their products sum to the score.

    A weight is one number, or one for each candidate (n,). ``precedence`` (n,), lowest first,
    orders equal scores before ids do. ``warnings`` say what the fusion made of weak evidence.
    ``sums`` (n,) are the scores where another library's rounding is wanted.
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
        """The fused scores, float64 (n,)."""
        if self.sums is not None:
            return self.sums
        return np.asarray(self.dense_weight * self.dense + self.lexical_weight * self.lexical)


@runtime_checkable
class Fusion(Protocol):
    """A rule that turns the evidence of both legs into one score a candidate."""

    def fuse(self, dense: LegScores, lexical: LegScores) -> Fused:
        """Return normalised scores and weights."""
        ...


@runtime_checkable
class WeightedFusion(Fusion, Protocol):
    """A fusion with one weight to turn: the dense leg's share, the lexical one has the rest."""

    @property
    def dense_weight(self) -> float:
        """The dense leg's share, between 0 and 1."""
        ...

    def reweighted(self, dense_weight: float) -> "WeightedFusion":
        """Return the same rule with another share."""
        ...
