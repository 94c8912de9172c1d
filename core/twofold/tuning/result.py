"""The result of tuning, and descriptions of profiles as text."""

from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from twofold.backend import SearchProfile
from twofold.evaluation import Interval
from twofold.fusion import NORMALIZERS, GuardedFusion, ReciprocalRank, WeightedFusion
from twofold.index import profile_as_dict
from twofold.lexical import BM25
from twofold.tuning.coordinate_search import Stage

_NORMALIZER_NAMES = {normalizer: name for name, normalizer in NORMALIZERS.items()}
_ROUNDING = 1e-9  # a smaller gain is a rounding error


def describe_fusion(fusion: WeightedFusion) -> str:
    """Return a fusion's rule and weight, such as ``WeightedSum(min-max), dense weight 0.50``."""
    bare = fusion.fusion if isinstance(fusion, GuardedFusion) else fusion
    normalizer: Any = getattr(bare, "normalizer", None)
    name = type(bare).__name__
    if normalizer is not None:
        name += f"({_NORMALIZER_NAMES.get(normalizer, type(normalizer).__name__)})"
    if isinstance(bare, ReciprocalRank):
        name += f"({bare.rank_constant:g})"
    guard = ", guarded" if isinstance(fusion, GuardedFusion) else ""
    return f"{name}, dense weight {fusion.dense_weight:.2f}{guard}"


def describe_scorer(profile: SearchProfile) -> str:
    """Return a profile's scorer with its parameters, such as ``BM25 k1 1.2, b 0.75``."""
    scorer: Any = profile.scorer if profile.scorer is not None else BM25()
    if not is_dataclass(scorer):
        return repr(scorer)
    values = (f"{field.name} {getattr(scorer, field.name)}" for field in fields(scorer))
    return f"{type(scorer).__name__} {', '.join(values)}".strip()


def describe_profile(profile: SearchProfile) -> str:
    """Return a profile's fusion, depth, scorer and title weight on one line."""
    return (
        f"{describe_fusion(profile.fusion)}; depth {profile.depth}; {describe_scorer(profile)}; "
        f"title weight {profile.title_weight}"
    )


@dataclass(frozen=True, slots=True)
class Fold:
    """A fold: the held-out query ids, and the profile that the search on other queries chose.

    ``before`` and ``after`` are the held-out queries' mean measures under the active profile and
    under ``profile``.
    """

    queries: tuple[str, ...]
    profile: SearchProfile
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class TuningResult:
    """The result of tuning.

    Attributes:
        profile: The profile to use: ``found`` if ``accepted``, else ``before``.
        before: The active profile.
        found: The profile that the search over all queries chose.
        measure: The measure that was tuned.
        queries: The number of judged queries.
        gain: The held-out queries' mean gain with its interval, None with too few queries.
        folds: The folds of the cross-validation.
        p: The p value of ``found``, adjusted for the number of profiles tried (`max_t_p_value`).
        tried: The number of profiles that were measured.
        accepted: Whether the gain's interval lies above zero and ``p`` is small: at most 0.025 for
            a 95% interval.
        needed: How many judged queries would make the gain significant; None without a gain.
            If there are too few queries to tune, the least number for tuning.
        stages: The stages of the search over all queries.
    """

    profile: SearchProfile
    before: SearchProfile
    found: SearchProfile
    measure: str
    queries: int
    gain: Interval | None = None
    folds: tuple[Fold, ...] = ()
    p: float | None = None
    tried: int = 0
    accepted: bool = False
    needed: int | None = None
    stages: tuple[Stage, ...] = ()

    def __str__(self) -> str:
        if self.gain is None:
            few = f"tuning needs {self.needed:,} judged queries, got {self.queries:,}"
            return f"nothing changes: {few}"
        interval = f"[{self.gain.low:+.4f}, {self.gain.high:+.4f}]"
        gain = (
            f"{self.measure} {self.gain.mean:+.4f} {interval} on {self.queries:,} held-out queries"
        )
        if self.accepted:
            return f"{describe_profile(self.profile)}: {gain}"
        return f"nothing changes: {gain}; {self._explain_rejection(self.gain)}"

    def _explain_rejection(self, gain: Interval) -> str:
        """Return why the gain was rejected, or how many more queries would make it significant."""
        if abs(gain.mean) < _ROUNDING:
            return "no other profile is clearly better"
        if gain.low > 0 and self.p is not None:
            return (
                f"with {self.tried:,} profiles tried, the best gain may be chance (adjusted p "
                f"{self.p:.2f})"
            )
        if gain.mean < 0:
            return "profiles chosen on some queries are worse on others"
        if self.needed is None or self.needed <= self.queries:
            return "a few more judged queries may make the gain significant"
        more = self.needed - self.queries
        unit = int(10.0 ** max(len(str(more)) - 2, 0))
        more = -(-more // unit) * unit  # an estimate, so two digits, rounded up
        return f"about {more:,} more judged queries would make a gain of this size significant"

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        gain = self.gain
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        del values["needed"]
        return values | {
            "gain": None if gain is None else gain.mean,
            "interval": None if gain is None else [gain.low, gain.high],
            "level": None if gain is None else gain.level,
            "queries_needed": self.needed,
            "profile": profile_as_dict(self.profile),
            "before": profile_as_dict(self.before),
            "found": profile_as_dict(self.found),
            "folds": [_as_dict(fold) | {"queries": len(fold.queries)} for fold in self.folds],
            "stages": [_as_dict(stage) for stage in self.stages],
            "summary": str(self),
        }


def _as_dict(part: Fold | Stage) -> dict[str, Any]:
    values = {field.name: getattr(part, field.name) for field in fields(part)}
    return values | {"profile": profile_as_dict(part.profile)}
