"""The guard: a leg that shows, without judgments, that it knows nothing here counts for less."""

from dataclasses import dataclass, field, replace

from twofold.errors import InputError
from twofold.fusion.base import Fused, Fusion, LegScores, WeightedFusion
from twofold.fusion.normalizers import TheoreticalMinMax, ZScore
from twofold.fusion.rules import LogOdds, WeightedSum
from twofold.validation import check_number

DENSE_DOUBT = (0.55, 0.70)
"""Agreement at or below the first: no trust in the dense leg; from the second on: full trust."""
LEXICAL_DOUBT = (0.3, 0.7)
"""The same for the share of a query's words that the collection has."""
_SAID = 0.5  # trust below which a hit's warnings say so


@dataclass(frozen=True, slots=True)
class GuardedFusion:
    """A weighted fusion that shifts weight away from a weak leg.

    The dense leg's ``quality`` is its agreement with the lexical one where that is beyond doubt:
    for sentences of stored passages, how near the dense leg puts the passages that share their
    words. An encoder that doesn't know the language puts them anywhere. It is a property of the
    index. The lexical leg's is the share of this query's words that any passage has. At full trust
    in both, the fusion is unchanged; without trust in the dense leg its weight falls to
    ``weak_dense``, without trust in the lexical leg the dense one's rises to ``weak_lexical``.
    docs/decisions/0010 has the evidence.
    """

    fusion: WeightedFusion = field(default_factory=WeightedSum)
    weak_dense: float = 0.3
    weak_lexical: float = 0.95

    def __post_init__(self) -> None:
        if isinstance(self.fusion, type) or not isinstance(self.fusion, WeightedFusion):
            raise InputError(
                f"Guarded shifts the weight of a fusion, and {self.fusion!r:.80} is none that has "
                "one to shift: give WeightedSum(), ReciprocalRank() or another of its kind"
            )
        check_number("weak_dense", self.weak_dense, 0, 1)
        check_number("weak_lexical", self.weak_lexical, 0, 1)

    @property
    def dense_weight(self) -> float:
        """The dense leg's share at full trust."""
        return self.fusion.dense_weight

    def reweighted(self, dense_weight: float) -> "GuardedFusion":
        """Return the same rule with another share of the dense leg."""
        return replace(self, fusion=self.fusion.reweighted(dense_weight))

    def fuse(self, dense: LegScores, lexical: LegScores) -> Fused:
        """Return what the fusion gives with the weight that the legs deserve."""
        dense_trust = _trust(dense.quality, DENSE_DOUBT)
        lexical_trust = _trust(lexical.quality, LEXICAL_DOUBT)
        weight = self.dense_weight
        weight += (min(weight, self.weak_dense) - weight) * (1 - dense_trust)
        trusted = weight  # a property of the index, as the warning of it is
        # Doubt in the lexical leg helps the dense one as far as that one is trusted.
        shift = (1 - lexical_trust) * dense_trust
        weight += (max(weight, self.weak_lexical) - weight) * shift
        if weight == self.dense_weight:
            return self.fusion.fuse(dense, lexical)
        said: list[str] = []
        # A leg that found nothing is said to have found nothing, by the retriever.
        if dense_trust < _SAID and dense.listed.any():
            said.append(
                f"the dense leg is weak here: its agreement with words is {dense.quality:.2f} "
                f"({DENSE_DOUBT[1]:.2f} is healthy), so it counts {trusted:.2f} instead of "
                f"{self.dense_weight:.2f}; does the encoder know this language?"
            )
        elif lexical_trust < _SAID and lexical.listed.any():
            said.append(
                "the lexical leg is weak here: no passage has most of the query's words, so it "
                f"counts for less than {1 - self.dense_weight:.2f}"
            )
        fused = self.fusion.reweighted(weight).fuse(dense, lexical)
        return replace(fused, warnings=(*fused.warnings, *said))


def is_steady(fusion: Fusion) -> bool:
    """Whether what a passage scores stays as it is when the legs list more passages.

    It does for sums over normalisers that look at the best candidate or at the whole corpus alone;
    then more of either leg's score is never less of the sum. A fusion of the user's own is not
    known to be so.
    """
    bare = fusion.fusion if isinstance(fusion, GuardedFusion) else fusion
    if not isinstance(bare, WeightedSum | LogOdds):
        return False
    return bare.normalizer in (TheoreticalMinMax(), ZScore())


def _trust(quality: float, doubt: tuple[float, float]) -> float:
    low, high = doubt
    return min(max((quality - low) / (high - low), 0.0), 1.0)
