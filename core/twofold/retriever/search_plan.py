"""The options of a search, and the plan to which they resolve in one generation."""

import math
from dataclasses import dataclass, replace

from twofold.backend import SearchScope
from twofold.calibration import SIGNAL_DEPTH, Calibration
from twofold.errors import QueryError
from twofold.filters import Filter, parse_filter
from twofold.fusion import Fusion, GuardedFusion, WeightedFusion, preset_from_name
from twofold.protocols import Observer, Reranker, Scorer
from twofold.types import MODES, Mode, Where
from twofold.validation import (
    check_choice,
    check_effort,
    check_fusion,
    check_integer,
    check_mode,
    check_number,
    check_scorer,
    is_bool,
)

DEPTH = 100
"""The default number of candidates per leg, or k if that is more."""
DEFAULT_FUSION: Fusion = GuardedFusion()
_CHANGING = (
    *("fusion", "depth", "scorer", "preset", "dense_weight", "reranker"),
    *("min_score", "min_dense", "min_lexical", "dedup_threshold", "group_by"),
)
"""Options with which the first hits are others than those of the calibration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """Every option of a search; `Retriever` documents them.

    Raises:
        QueryError: An option is invalid, or two contradict each other.
    """

    mode: Mode | None = "hybrid"
    k: int = 10
    where: Where | None = None
    fusion: Fusion | None = None
    depth: int | None = None
    strict: bool = False
    scorer: Scorer | None = None
    exact: bool = False
    effort: float = 1.0
    preset: str | None = None
    min_score: float | None = None
    min_dense: float | None = None
    min_lexical: float | None = None
    diversity: float = 0.0
    dedup_threshold: float | None = None
    group_by: str | None = None
    per_group: int = 1
    reranker: Reranker | None = None
    dense_weight: float | None = None
    abstain: float | None = None
    observer: Observer | None = None

    def __post_init__(self) -> None:
        if self.mode is not None:
            check_choice("mode", self.mode, MODES, error=QueryError)
        check_integer("k", self.k, error=QueryError)
        if self.depth is not None:
            check_integer("depth", self.depth, error=QueryError)
        for name in ("strict", "exact"):
            if not is_bool(getattr(self, name)):
                raise QueryError(f"{name} must be True or False, got {getattr(self, name)!r:.80}")
        check_scorer(self.scorer)
        check_effort(self.effort)
        check_fusion(self.fusion)
        if self.dense_weight is not None:
            check_number("dense_weight", self.dense_weight, 0, 1)
        if self.preset is not None:
            preset_from_name(self.preset)
            for name in ("fusion", "dense_weight"):
                if getattr(self, name) is not None:
                    raise QueryError(
                        f"preset={self.preset!r} has its own fusion and weights: leave out {name}"
                    )
        if self.reranker is not None and not isinstance(self.reranker, Reranker):
            raise QueryError(
                "reranker must be an object with rerank, candidates and threshold, such as "
                f"CrossEncoderReranker(model), got {self.reranker!r:.80}"
            )
        other = {"dense": "min_lexical", "lexical": "min_dense"}.get(self.mode or "")
        if other is not None and getattr(self, other) is not None:
            raise QueryError(f"mode {self.mode!r} has no scores for {other}: leave it out")
        self._check_selection()

    def _check_selection(self) -> None:
        for name in ("min_score", "min_dense", "min_lexical"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), error=QueryError)
        check_number("diversity", self.diversity, 0, 1, error=QueryError)
        if self.dedup_threshold is not None:
            check_number("dedup_threshold", self.dedup_threshold, 1e-9, 1, error=QueryError)
        if self.group_by is not None and not (isinstance(self.group_by, str) and self.group_by):
            raise QueryError(
                f"group_by must be the name of a metadata field, got {self.group_by!r}"
            )
        check_integer("per_group", self.per_group, error=QueryError)
        if self.abstain is not None:
            check_number("abstain", self.abstain, 0, 1, exclusive=True, error=QueryError)

    @property
    def compares(self) -> bool:
        """Whether hits are compared with each other: by diversity, duplicates or groups."""
        compared = (self.diversity or None, self.dedup_threshold, self.group_by)
        return any(value is not None for value in compared)

    @property
    def selects(self) -> bool:
        """Whether options drop candidates: thresholds, diversity, duplicates or groups."""
        limits = (self.min_score, self.min_dense, self.min_lexical)
        return self.compares or any(limit is not None for limit in limits)


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """How one call searches one generation of the corpus.

    Attributes:
        options: The options of the call.
        mode: The mode of the search.
        fusion: The fusion in use.
        depth: Candidates that each leg adds to the fusion.
        scorer: The lexical scoring function, None for the engine's own.
        where: The parsed filter, None without one.
        limit: How many passages the first search takes from each leg.
        effort: The effort of the dense search; ``math.inf`` compares all vectors.
        calibration: What the scores are worth, None if unknown or not for these options.
    """

    options: SearchOptions
    mode: Mode
    fusion: Fusion
    depth: int
    scorer: Scorer | None
    where: Filter | None
    limit: int
    effort: float
    calibration: Calibration | None = None


def plan_search(scope: SearchScope, options: SearchOptions) -> SearchPlan:
    """Return the plan of a search; the active profile, then defaults, fill in missing options.

    Raises:
        QueryError: The engine can't do what the options ask for.
        FilterError: The filter is invalid.
    """
    modes = scope.capabilities.modes
    mode = options.mode if options.mode is not None else modes[0]
    if mode not in modes:
        check_mode(mode, modes)
    if options.mode is None:
        options = replace(options, mode=mode)
    fusion, depth, scorer = options.fusion, options.depth, options.scorer
    profile = scope.profile
    if options.preset is not None:
        preset = preset_from_name(options.preset)
        fusion = preset.fusion
        if depth is None and preset.depth_is_k:
            depth = options.k
    elif profile is not None:
        fusion = fusion if fusion is not None else profile.fusion
        depth = depth if depth is not None else profile.depth
        scorer = scorer if scorer is not None else profile.scorer
    fusion = fusion if fusion is not None else DEFAULT_FUSION
    depth = depth if depth is not None else DEPTH
    if options.dense_weight is not None:
        fusion = fusion.fusion if isinstance(fusion, GuardedFusion) else fusion
        if not isinstance(fusion, WeightedFusion):
            raise QueryError(f"{fusion!r} has no weights: leave out dense_weight")
        fusion = fusion.with_dense_weight(options.dense_weight)
    if scorer is not None and not scope.capabilities.scorers:
        raise QueryError(f"this backend takes no scoring function: leave out scorer={scorer!r}")
    where = parse_filter(options.where) if options.where is not None else None
    calibration = _find_calibration(scope, options, mode)
    limit = _first_limit(options, mode, int(depth), calibration)
    if options.exact and not scope.capabilities.exact:
        raise QueryError(
            "this backend can't compare all vectors with its index type: leave out exact=True, "
            "or use Flat()"
        )
    effort = math.inf if options.exact else options.effort
    limit = cap_limit(scope, limit)
    return SearchPlan(options, mode, fusion, int(depth), scorer, where, limit, effort, calibration)


def _first_limit(
    options: SearchOptions, mode: Mode, depth: int, calibration: Calibration | None
) -> int:
    """Return how many passages the first search takes from each leg."""
    limit = int(options.k)
    if mode == "hybrid" or options.reranker is not None or options.selects:
        limit = max(limit, depth)
        if options.reranker is not None:
            limit = max(limit, int(options.reranker.candidates))
    return max(limit, SIGNAL_DEPTH) if calibration is not None else limit


def _find_calibration(scope: SearchScope, options: SearchOptions, mode: Mode) -> Calibration | None:
    """Return the active profile's calibration if it is for this search; raise if one is needed."""
    profile = scope.profile
    calibration = profile.calibration if profile is not None else None
    if calibration is None and options.abstain is None:
        return None
    changed = [name for name in _CHANGING if getattr(options, name) is not None]
    changed += ["diversity"] if options.diversity else []
    problem: str | None = None
    if profile is None or calibration is None:
        problem = "the active profile has no calibration"
    elif calibration.mode != mode:
        problem = f"the calibration is for mode {calibration.mode!r}, and this search is {mode!r}"
    elif changed:
        problem = f"the calibration doesn't hold with {changed[0]}"
    elif options.k < calibration.first:
        problem = f"the calibration is for the first {calibration.first} hits, and k is {options.k}"
    elif mode == "hybrid" and options.k > profile.depth:
        problem = f"the calibration is for a depth of {profile.depth}, and k is {options.k}"
    elif calibration.settings != scope.describe_settings(profile, mode):
        problem = "the calibration is for other settings or another model"
    if problem is None:
        return calibration
    if options.abstain is not None:
        raise QueryError(
            f"abstain needs a calibration, and {problem}: call twofold.tuning.calibrate, or run "
            "`twofold calibrate`"
        )
    return None


def cap_limit(scope: SearchScope, limit: int) -> int:
    """Return ``limit``, or the most passages that one search of the engine returns if less."""
    most = scope.capabilities.max_k
    return limit if most is None else min(limit, most)
