"""What tuning found, and whether it may be believed."""

from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from twofold.backend import SearchProfile
from twofold.evaluation import Interval
from twofold.fusion import NORMALIZERS, GuardedFusion, ReciprocalRank, WeightedFusion
from twofold.index import profile_as_dict
from twofold.lexical import BM25
from twofold.tuning.coordinate_search import Stage

_NAMES = {each: name for name, each in NORMALIZERS.items()}


def fusion_in_words(fusion: WeightedFusion) -> str:
    """Return a fusion's rule and weight, such as ``WeightedSum(min-max), dense weight 0.50``."""
    bare = fusion.fusion if isinstance(fusion, GuardedFusion) else fusion
    inner: Any = getattr(bare, "normalizer", None)
    name = type(bare).__name__
    if inner is not None:
        name += f"({_NAMES.get(inner, type(inner).__name__)})"
    if isinstance(bare, ReciprocalRank):
        name += f"({bare.rank_constant:g})"
    guard = ", guarded" if isinstance(fusion, GuardedFusion) else ""
    return f"{name}, dense weight {fusion.dense_weight:.2f}{guard}"


def scorer_in_words(profile: SearchProfile) -> str:
    """Return a setting's scoring function with its parameters."""
    scorer: Any = profile.scorer if profile.scorer is not None else BM25()
    if not is_dataclass(scorer):
        return repr(scorer)
    values = (f"{each.name} {getattr(scorer, each.name)}" for each in fields(scorer))
    return f"{type(scorer).__name__} {', '.join(values)}".strip()


def setting_in_words(profile: SearchProfile) -> str:
    """Return a setting on one line."""
    return (
        f"{fusion_in_words(profile.fusion)}; depth {profile.depth}; {scorer_in_words(profile)}; "
        f"titles weigh {profile.title_weight}"
    )


_ROUNDING = 1e-9  # a gain below it is none


@dataclass(frozen=True, slots=True)
class Fold:
    """Queries that were held out, and what the others chose without them.

    ``before`` and ``after`` are means over the held-out ones, of the setting in use and of
    ``setting``.
    """

    queries: tuple[str, ...]
    profile: SearchProfile
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class TuningResult:
    """The outcome of tuning.

    ``setting`` is the one to use: ``found``, which all queries together chose, if ``adopted``, else
    ``before``, the one in use. ``gain`` is what a search without a query gained for it, over all
    queries, None where there were too few. ``p`` is how often the best of all settings ``tried``
    would look as good as ``found`` if none were better: see ``luck``. Adopted means that the gain's
    interval lies above zero, and that ``p`` is below what it leaves on that side, 0.025 of 95%.
    ``needed`` is how many judged queries would settle a gain of this size, those at hand included,
    None where there is none to settle; where there were too few, the least. ``stages`` are the
    steps of the search over all queries.
    """

    profile: SearchProfile
    before: SearchProfile
    found: SearchProfile
    measure: str
    queries: int
    gain: Interval | None
    folds: tuple[Fold, ...]
    p: float | None
    tried: int
    adopted: bool
    needed: int | None
    stages: tuple[Stage, ...]

    def __str__(self) -> str:
        if self.gain is None:
            return (
                f"nothing changes: {self.queries:,} judged queries are too few to tell a gain from "
                f"luck, {self.needed:,} are the least"
            )
        gain = f"{self.measure} {self.gain.mean:+.4f} {_bounds(self.gain)} on held-out queries"
        if self.adopted:
            return f"{setting_in_words(self.profile)}: {gain} ({self.queries:,})"
        return f"nothing changes: {gain} ({self.queries:,}); {self._hope()}"

    def _hope(self) -> str:
        """Return what it would take to adopt something."""
        if self.gain is None or abs(self.gain.mean) < _ROUNDING:
            return "no other setting is clearly better"
        if self.gain.low > 0 and self.p is not None:
            return (
                f"the best of {self.tried:,} settings looks as good by luck with probability "
                f"{self.p:.2f}"
            )
        if self.gain.mean < 0:
            return "what looks better on some queries is worse on others"
        if self.needed is None or self.needed <= self.queries:
            return "a few more judged queries may settle it"
        more = _rounded(self.needed - self.queries)
        return f"about {more:,} more judged queries would settle a gain of this size"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        gain = self.gain
        return {
            "adopted": self.adopted,
            "measure": self.measure,
            "queries": self.queries,
            "gain": None if gain is None else gain.mean,
            "interval": None if gain is None else [gain.low, gain.high],
            "level": None if gain is None else gain.level,
            "p": self.p,
            "tried": self.tried,
            "queries_needed": self.needed,
            "setting": profile_as_dict(self.profile),
            "before": profile_as_dict(self.before),
            "found": profile_as_dict(self.found),
            "folds": [
                {
                    "queries": len(each.queries),
                    "before": each.before,
                    "after": each.after,
                    "setting": profile_as_dict(each.profile),
                }
                for each in self.folds
            ],
            "stages": [
                {
                    "name": each.name,
                    "tried": each.tried,
                    "best": each.best,
                    "kept": each.kept,
                    "setting": profile_as_dict(each.profile),
                }
                for each in self.stages
            ],
            "words": str(self),
        }


def _bounds(gain: Interval) -> str:
    return f"[{gain.low:+.4f}, {gain.high:+.4f}]"


def _rounded(number: int) -> int:
    """Return a number to two digits, upwards: it is an estimate."""
    unit = int(10.0 ** max(len(str(number)) - 2, 0))
    return -(-number // unit) * unit
