"""A fusion that lowers the weight of an unreliable leg."""

from dataclasses import dataclass, field, replace

from twofold.errors import InputError
from twofold.fusion.base import FusedScores, Fusion, LegScores, WeightedFusion
from twofold.fusion.normalizers import TheoreticalMinMax, ZScore
from twofold.fusion.rules import LogOdds, WeightedSum
from twofold.validation import check_number

DENSE_DOUBT = (0.55, 0.70)
"""The dense leg's quality up to which trust in it is 0, and from which it is 1."""
LEXICAL_DOUBT = (0.3, 0.7)
"""The lexical leg's quality up to which trust in it is 0, and from which it is 1."""
_WARN_BELOW = 0.5  # trust
_MAX_WEIGHTS = 64  # fusions with an adjusted weight that are kept


@dataclass(frozen=True, slots=True)
class GuardedFusion:
    """A weighted fusion that shifts weight away from an unreliable leg.

    The dense leg's quality is how well its ranking agrees with the lexical one. An index measures
    it with stored sentences: how high does the dense leg rank the passages that share their words?
    An encoder that doesn't know the language ranks them at random. The lexical leg's quality is the
    share of the query's words that occur in any passage. Trust is the quality scaled to 0 to 1.

    At full trust in both legs, scores are those of ``fusion``. Without trust in the dense leg, its
    weight falls to ``weak_dense``. Without trust in the lexical leg, the dense weight rises to
    ``weak_lexical``. See docs/decisions/0010.

    Example:
        >>> from twofold import GuardedFusion, HashingEncoder, Index, Retriever
        >>> index = Index.open(None, encoder=HashingEncoder())
        >>> _ = index.upsert([{"id": "1", "text": "plants make food"}, "a garden"])
        >>> hits = Retriever(index, fusion=GuardedFusion()).retrieve("food for unknown animals")
        >>> hits.warnings[0].partition(":")[0]
        'the lexical leg is weak here'
    """

    fusion: WeightedFusion = field(default_factory=WeightedSum)
    weak_dense: float = 0.3
    weak_lexical: float = 0.95
    _at_weights: dict[float, WeightedFusion] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if isinstance(self.fusion, type) or not isinstance(self.fusion, WeightedFusion):
            raise InputError(
                "fusion must be a fusion with a weight, such as WeightedSum() or ReciprocalRank(), "
                f"got {self.fusion!r:.80}"
            )
        check_number("weak_dense", self.weak_dense, 0, 1)
        check_number("weak_lexical", self.weak_lexical, 0, 1)

    @property
    def dense_weight(self) -> float:
        """The weight of the dense leg at full trust."""
        return self.fusion.dense_weight

    def with_dense_weight(self, dense_weight: float) -> "GuardedFusion":
        """Return the same fusion with another weight of the dense leg."""
        return replace(self, fusion=self.fusion.with_dense_weight(dense_weight))

    def fuse(self, dense: LegScores, lexical: LegScores) -> FusedScores:
        """Fuse with the dense weight adjusted to the trust in both legs."""
        dense_trust = _trust(dense.quality, DENSE_DOUBT)
        lexical_trust = _trust(lexical.quality, LEXICAL_DOUBT)
        full = weight = self.fusion.dense_weight
        weight += (min(weight, self.weak_dense) - weight) * (1 - dense_trust)
        index_weight = weight  # depends on the index only; the warning reports it
        # Doubt in the lexical leg helps the dense one only as far as that one is trusted.
        weight += (max(weight, self.weak_lexical) - weight) * ((1 - lexical_trust) * dense_trust)
        if weight == full:
            return self.fusion.fuse(dense, lexical)
        warnings: list[str] = []
        # The retriever itself reports a leg without hits.
        if dense_trust < _WARN_BELOW and dense.listed.any():
            warnings.append(
                "the dense leg is weak here: its agreement with the lexical leg is "
                f"{dense.quality:.2f} ({DENSE_DOUBT[1]:.2f} is healthy), so its weight is "
                f"{index_weight:.2f} instead of {full:.2f}; does the encoder know this language?"
            )
        elif lexical_trust < _WARN_BELOW and lexical.listed.any():
            warnings.append(
                "the lexical leg is weak here: most of the query's words occur in no passage, so "
                f"its weight is below {1 - full:.2f}"
            )
        fusion = self._at_weights.get(weight)
        if fusion is None:
            if len(self._at_weights) >= _MAX_WEIGHTS:
                self._at_weights.clear()
            fusion = self._at_weights[weight] = self.fusion.with_dense_weight(weight)
        fused = fusion.fuse(dense, lexical)
        return replace(fused, warnings=(*fused.warnings, *warnings))


def is_depth_invariant(fusion: Fusion) -> bool:
    """Return whether a passage's score stays the same when the legs list more passages.

    True for sums whose normalizer depends only on the best candidate or the whole corpus. In these
    a higher score of either leg never lowers the sum. False for user-defined fusions.
    """
    bare = fusion.fusion if isinstance(fusion, GuardedFusion) else fusion
    if not isinstance(bare, WeightedSum | LogOdds):
        return False
    return bare.normalizer in (TheoreticalMinMax(), ZScore())


def _trust(quality: float, doubt: tuple[float, float]) -> float:
    low, high = doubt
    return min(max((quality - low) / (high - low), 0.0), 1.0)
