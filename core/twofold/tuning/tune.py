"""Tuning: a search on all judged queries, believed only as far as held-out ones bear it out."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from twofold.backend import SearchProfile
from twofold.evaluation import bootstrap_interval, queries_needed
from twofold.evaluation.significance import max_t_p_value
from twofold.index import Index
from twofold.tuning.coordinate_search import Stage, search
from twofold.tuning.objective import TuningObjective, in_use
from twofold.tuning.result import Fold, TuningResult
from twofold.tuning.search_space import Plan
from twofold.types import Vectors

_STAGES = 5  # of a search, at most: for progress alone


def tune(
    index: Index,
    queries: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
    *,
    plan: Plan | None = None,
    vectors: Vectors | None = None,
    progress: Callable[[int], None] | None = None,
) -> TuningResult:
    """Look for a better setting than the one in use; nothing is written.

    Nested cross-validation: for each fold, the whole search runs on the queries of the others, and
    what it chose is measured on the fold. The differences of all queries, each held out once, give
    the gain and its paired bootstrap interval: Cawley and Talbot, On Over-fitting in Model
    Selection and Subsequent Selection Bias in Performance Evaluation (JMLR 11, 2010). What was
    found is adopted if that interval lies above zero, and if the best of so many settings would
    seldom look as good by luck: see ``Tuned``. To keep it, give ``tuned.setting`` to
    ``index.profiles.save(index.profiles.new_name(), ..., use=True)``, which overwrites no other.

    ``queries`` and ``qrels`` are as ``evaluate`` takes them; ``vectors`` (n, dim) are those of all
    queries in their order, as the encoder gives them. ``progress`` is called with per cent.

    Warns (DegradedWarning) where passages that were judged relevant are not in the index, and where
    judged queries have no text. Raises QueryError for an index that is empty or lacks a leg,
    InputError for judgments or a measure that can't be used, and if no query is judged.
    """
    plan = plan if plan is not None else Plan()
    with index.view() as view:
        own = view.adapted(vectors) if vectors is not None else None
        bench = TuningObjective.of(view, queries, qrels, plan.measure, own)
        home = in_use(view)
        if len(bench.queries) < plan.fewest:
            return _unchanged(home, plan, len(bench.queries))
        return tune_on(bench, plan, home, progress)


def tune_on(
    bench: TuningObjective, plan: Plan, home: SearchProfile, progress: Callable[[int], None] | None
) -> TuningResult:
    """Return what ``tune`` does, from a bench that may hold any queries' vectors."""
    done = 0

    def searched(places: NDArray[np.int64]) -> tuple[Stage, ...]:
        nonlocal done
        stages: list[Stage] = []
        for stage in search(bench, plan.space, home, places):
            stages.append(stage)
            if progress is not None:
                progress(100 * (done * _STAGES + len(stages)) // ((plan.folds + 1) * _STAGES))
        done += 1
        return tuple(stages)

    count = len(bench.queries)
    every = np.arange(count)
    stages = searched(every)
    found = stages[-1].profile
    before = bench.values(home)
    after = np.empty(count)
    folds: list[Fold] = []
    dealt = np.random.default_rng(plan.seed).permutation(count)
    for place in range(plan.folds):
        held = np.sort(dealt[place :: plan.folds])
        setting = searched(np.setdiff1d(every, held))[-1].profile
        after[held] = bench.values(setting)[held]
        folds.append(
            Fold(
                tuple(bench.queries[each] for each in held),
                setting,
                float(before[held].mean()),
                float(after[held].mean()),
            )
        )
    gain = bootstrap_interval(after - before, level=plan.level, seed=plan.seed)
    tried = bench.all_values()
    p = max_t_p_value(tried - before, bench.values(found) - before, seed=plan.seed)
    adopted = gain.low > 0 and found != home and p <= (1 - plan.level) / 2
    return TuningResult(
        profile=found if adopted else home,
        before=home,
        found=found,
        measure=plan.measure,
        queries=count,
        gain=gain,
        folds=tuple(folds),
        p=p,
        tried=len(tried),
        adopted=adopted,
        needed=queries_needed(after - before, level=plan.level) if gain.mean > 0 else None,
        stages=stages,
    )


def _unchanged(home: SearchProfile, plan: Plan, queries: int) -> TuningResult:
    """Return the outcome for too few queries."""
    return TuningResult(
        profile=home,
        before=home,
        found=home,
        measure=plan.measure,
        queries=queries,
        gain=None,
        folds=(),
        p=None,
        tried=0,
        adopted=False,
        needed=plan.fewest,
        stages=(),
    )
