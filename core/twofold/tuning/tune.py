"""Tunes the search profile by nested cross-validation."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from twofold.backend import Searchable, SearchProfile
from twofold.evaluation import bootstrap_interval, queries_needed
from twofold.evaluation.measures import Qrels
from twofold.evaluation.significance import max_t_p_value
from twofold.tuning.coordinate_search import MAX_STAGES, Stage, search
from twofold.tuning.objective import TuningObjective, active_profile
from twofold.tuning.result import Fold, TuningResult
from twofold.tuning.search_space import TuningPlan
from twofold.types import Vectors


def tune(
    index: Searchable,
    queries: Mapping[str, str],
    qrels: Qrels,
    *,
    plan: TuningPlan | None = None,
    vectors: Vectors | None = None,
    progress: Callable[[int], None] | None = None,
) -> TuningResult:
    """Search for a better profile than the active one; nothing is written.

    Uses nested cross-validation: for each fold, the search runs on the other queries, and the
    profile that it chooses is measured on the fold. The held-out differences of all queries give
    the gain and its paired bootstrap interval. Cawley and Talbot, On Over-fitting in Model
    Selection and Subsequent Selection Bias in Performance Evaluation (JMLR 11, 2010).

    To keep an accepted profile, pass ``result.profile`` to
    ``index.profiles.save(index.profiles.new_name(), ..., use=True)``.

    Args:
        index: An `Index` or `EncodedBackend` with both legs.
        queries: Query id to text.
        qrels: Query id to passage id to relevance grade.
        plan: The options of tuning.
        vectors: The encoder's vectors of all ``queries`` (n, dim), before any query adapter.
            Default: the index's encoder encodes the queries.
        progress: Called with the percentage done.

    Raises:
        QueryError: The index is empty or lacks a leg.
        InputError: The judgments or the measure can't be used, or no query is judged.

    Warns:
        DegradedWarning: Relevant passages are not in the index, or judged queries have no text.

    Example:
        >>> from twofold import HashingEncoder, Index, tune
        >>> index = Index.open(None, encoder=HashingEncoder())
        >>> _ = index.upsert([{"id": "1", "text": "plants make food"}, "a garden"])
        >>> result = tune(index, {"q": "food"}, {"q": {"1": 1}})
        >>> result.accepted, result.needed  # too few judged queries
        (False, 20)
    """
    plan = plan if plan is not None else TuningPlan()
    with index.open_search() as scope:
        adapted = scope.adapt(vectors) if vectors is not None else None
        objective = TuningObjective.from_qrels(scope, queries, qrels, plan.measure, adapted)
        start, count = active_profile(scope), len(objective.queries)
        if count < plan.min_queries:
            needed = plan.min_queries
            return TuningResult(start, start, start, plan.measure, count, needed=needed)
        return tune_objective(objective, plan, start, progress)


def tune_objective(
    objective: TuningObjective,
    plan: TuningPlan,
    start: SearchProfile,
    progress: Callable[[int], None] | None,
) -> TuningResult:
    """Search for a better profile than ``start`` by an objective, as ``tune`` does."""
    searches = 0

    def run_search(positions: NDArray[np.int64]) -> tuple[Stage, ...]:
        nonlocal searches
        stages: list[Stage] = []
        for stage in search(objective, plan.space, start, positions):
            stages.append(stage)
            if progress is not None:
                done = searches * MAX_STAGES + len(stages)
                progress(100 * done // ((plan.folds + 1) * MAX_STAGES))
        searches += 1
        return tuple(stages)

    count = len(objective.queries)
    positions = np.arange(count)
    stages = run_search(positions)
    found = stages[-1].profile
    before = objective.values(start)
    after = np.empty(count)
    folds: list[Fold] = []
    shuffled = np.random.default_rng(plan.seed).permutation(count)
    for number in range(plan.folds):
        held_out = np.sort(shuffled[number :: plan.folds])
        profile = run_search(np.setdiff1d(positions, held_out))[-1].profile
        after[held_out] = objective.values(profile)[held_out]
        query_ids = tuple(objective.queries[position] for position in held_out)
        means = float(before[held_out].mean()), float(after[held_out].mean())
        folds.append(Fold(query_ids, profile, *means))
    gain = bootstrap_interval(after - before, level=plan.confidence, seed=plan.seed)
    values = objective.all_values()
    p = max_t_p_value(values - before, objective.values(found) - before, seed=plan.seed)
    accepted = gain.low > 0 and found != start and p <= (1 - plan.confidence) / 2
    return TuningResult(
        profile=found if accepted else start,
        before=start,
        found=found,
        measure=plan.measure,
        queries=count,
        gain=gain,
        folds=tuple(folds),
        p=p,
        tried=len(values),
        accepted=accepted,
        needed=queries_needed(after - before, level=plan.confidence) if gain.mean > 0 else None,
        stages=stages,
    )
