"""The options of a search, and the plan that they make over one generation."""

import math
from dataclasses import dataclass, field

from twofold.backend import SearchScope
from twofold.errors import QueryError
from twofold.filters import Filter, parse_filter
from twofold.fusion import Fusion, GuardedFusion, WeightedFusion, preset_from_name
from twofold.protocols import Observer, Reranker, Scorer
from twofold.retriever.selection import ResultSelection
from twofold.types import MODES, Mode, Where
from twofold.validation import (
    check_choice,
    check_effort,
    check_fusion,
    check_integer,
    check_number,
    check_scorer,
)

DEPTH = 100
"""Candidates that each leg brings to the fusion, or k where that is more."""
DEFAULT_FUSION: Fusion = GuardedFusion()


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """Every option of a search; `Retriever` documents them.

    Raises:
        QueryError: An option is invalid, or two contradict each other.
    """

    mode: Mode = "hybrid"
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
    observer: Observer | None = None
    selection: ResultSelection = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_choice("mode", self.mode, MODES, error=QueryError)
        check_integer("k", self.k, error=QueryError)
        if self.depth is not None:
            check_integer("depth", self.depth, error=QueryError)
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
        other = {"dense": "min_lexical", "lexical": "min_dense"}.get(self.mode)
        if other is not None and getattr(self, other) is not None:
            raise QueryError(f"{other} needs the other leg, and mode is {self.mode!r}: drop it")
        selection = ResultSelection(
            self.min_score,
            self.min_dense,
            self.min_lexical,
            self.diversity,
            self.dedup_threshold,
            self.group_by,
            self.per_group,
        )
        object.__setattr__(self, "selection", selection)


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """How one call is answered in one generation.

    Attributes:
        options: The options of the call.
        fusion: The fusion in use.
        depth: Candidates that each leg brings to the fusion.
        scorer: The lexical scoring function, None for the engine's own.
        where: The parsed filter.
        limit: How many passages each leg is asked for at first.
    """

    options: SearchOptions
    fusion: Fusion
    depth: int
    scorer: Scorer | None
    where: Filter | None
    limit: int

    @property
    def effort(self) -> float:
        """The effort of the dense search; ``math.inf`` compares all vectors."""
        return math.inf if self.options.exact else self.options.effort


def plan_search(scope: SearchScope, options: SearchOptions) -> SearchPlan:
    """Resolve options that are left out by the active profile, then by the defaults.

    Raises:
        QueryError: The engine can't do what the options ask for.
        FilterError: The filter is invalid.
    """
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
            raise QueryError(f"{fusion!r} has no dense_weight: leave it out")
        fusion = fusion.with_dense_weight(options.dense_weight)
    if scorer is not None and not scope.capabilities.scorers:
        raise QueryError(f"this backend scores words by itself: leave out scorer={scorer!r}")
    where = parse_filter(options.where) if options.where is not None else None
    limit = int(options.k)
    if options.mode == "hybrid" or options.reranker is not None or options.selection.selects:
        limit = max(limit, int(depth))
        if options.reranker is not None:
            limit = max(limit, int(options.reranker.candidates))
    return SearchPlan(options, fusion, int(depth), scorer, where, cap_limit(scope, limit))


def cap_limit(scope: SearchScope, limit: int) -> int:
    """Return how many passages a leg can be asked for, at most ``limit``."""
    most = scope.capabilities.max_k
    return limit if most is None else min(limit, most)
