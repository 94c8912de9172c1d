"""Training of a query adapter that is kept only if held-out queries are better for it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from twofold import __version__
from twofold.backend import SearchProfile
from twofold.encoders import QueryAdapter
from twofold.errors import InputError
from twofold.evaluation import queries_needed
from twofold.index import Index, IndexView
from twofold.training.acceptance import (
    Gain,
    Values,
    compute_gains,
    no_forgetting,
    no_regression,
    too_few,
    verdict,
)
from twofold.training.adapter.arrays import TrainingArrays
from twofold.training.adapter.cross_validation import (
    CrossValidated,
    InterpolationChoice,
    interpolate,
)
from twofold.training.adapter.fit import Epoch, FitResult, fit_map
from twofold.training.adapter.plan import AdapterPlan
from twofold.training.adapter.result import TrainedAdapter
from twofold.training.control_queries import (
    LEARNED,
    control_queries_from_passages,
    query_hashes,
    unseen_by_adapter,
)
from twofold.training.data.alignment import (
    drop_known_queries,
    examples_in_index,
    positions_in,
    vectors_by_id,
)
from twofold.training.data.examples import TrainingSet
from twofold.training.data.splitting import Split, folds, split, unseen
from twofold.training.search_quality import SearchQuality
from twofold.tuning import Plan, Space, TuningObjective, TuningResult, tune_on
from twofold.tuning.objective import in_use
from twofold.types import Mask, Vectors

_FITTING = 0.8  # of the work, for progress alone
_REMEMBERED = (
    "compared with the adapter in use, which learned from these very queries and looks better than "
    "it is: to compare with the encoder alone, put the defaults to use first"
)
_CHECKED = 0.2  # of the queries that a fold learns from, those that say when to stop


@dataclass(frozen=True, slots=True)
class Step:
    """Where training is: the ``stage`` in words, the share ``done``, and the epoch, if any."""

    stage: str
    done: float
    epoch: Epoch | None = None


Report = Callable[[Step], None]


def train_adapter(
    index: Index,
    training_set: TrainingSet,
    *,
    plan: AdapterPlan | None = None,
    vectors: Vectors | None = None,
    extra: TrainingSet | None = None,
    forgetting: TrainingSet | None = None,
    progress: Report | None = None,
) -> TrainedAdapter:
    """Learn a linear map of query vectors from judged queries; nothing is written.

    Passages are neither encoded nor indexed again, so any encoder will do. What is learned is
    judged by cross-validation: each query is measured by a map that was learned without it, stopped
    early by others still. Where an adapter is in use, it is compared with that one, and queries
    that that one learned from don't judge. The map that is given was learned from all queries, for
    as many epochs as was best for the folds, and mixed with the identity (``blend``) as those found
    best. With two legs, fusion and weights are tuned to it by ``twofold.tuning``, behind a gate of
    its own.

    ``vectors`` (n, dim) are those of the queries, if not the encoder's. ``extra`` examples, such as
    ``synthetic`` ones, are learned from in every fold, and judge nothing. ``forgetting`` are judged
    queries of another kind, which must not lose more than ``plan.most_lost`` either; left out,
    they are made of the titles and first sentences of passages that answer no query.

    Warns (DegradedWarning) of examples without a positive in the index. Raises InputError and
    QueryError for what can't be learned from.
    """
    plan = plan if plan is not None else AdapterPlan()
    with index.view() as view:
        known = examples_in_index(view, training_set)
        if len(known) < plan.fewest:
            return TrainedAdapter(
                adapter=None,
                kept=False,
                reason=too_few(len(known), plan.fewest),
                plan=plan,
                queries=len(known),
                needed=plan.fewest,
            )
        asked = vectors_by_id(view, training_set, known, vectors)
        more = drop_known_queries(view, known, extra)
        if len(more):
            own = view.encode_queries([each.query for each in more], adapted=False)
            asked = np.concatenate([asked, own])
        return _Training(view, known, more, plan, asked, forgetting, progress).run()


class _Training:
    """One run: folds, the choice of the blend, tuning, the final fit, and the verdict.

    What is ``known`` judges, too; what is there ``more`` is only learned from. ``vectors`` (known
    and more, dim) are those of all.
    """

    def __init__(
        self,
        view: IndexView,
        known: TrainingSet,
        more: TrainingSet,
        plan: AdapterPlan,
        vectors: Vectors,
        forgetting: TrainingSet | None,
        progress: Report | None,
    ) -> None:
        self._view = view
        self._known = known
        self._more = more
        self._taught = known.joined(more)
        self._plan = plan
        self._vectors = vectors
        self._home = in_use(view)
        self._served = SearchQuality(view, known, plan.measure, self._home)
        self._progress = progress
        self._fits = 0
        self._others = self._probes(forgetting)

    def run(self) -> TrainedAdapter:
        started = time.perf_counter()
        plan, view = self._plan, self._view
        count = len(self._known)
        lesson = TrainingArrays.of(view, self._taught, self._vectors, plan, checked=count)
        held = self._held_out(lesson)
        self._say("measuring", _FITTING * plan.folds / (plan.folds + 1))
        judges, compared = self._judges()
        before = self._served.values(view.adapted(held.plain))
        tried = {blend: self._served.values(held.blended(blend)) for blend in plan.blends}
        final = self._final(lesson, held)
        remembering = self._remembering(final)
        choice = InterpolationChoice(
            plan, self._served.mode, before, tried, held.folds, held.unseen, judges, remembering
        )
        blend = choice.blend()
        after = choice.without_each_fold()
        setting, tuned = self._home, None
        if self._served.mode == "hybrid":
            self._say("tuning the fusion", 0.9)
            bench = self._served.bench(held.blended(blend))
            tuned = self._tuned(bench)
            changed: Values = {**after, "hybrid": bench.values(tuned.profile)}
            if no_regression(choice.gains(changed), plan):
                setting = tuned.profile
        gains = choice.gains(after)
        matrix = interpolate(final.matrix, blend)
        forgotten = self._forgotten(matrix, setting)
        mode = self._served.mode
        kept, reason = verdict(gains, forgotten, mode, plan)
        if final.best == 0:
            kept, reason = False, "the base stays: no epoch was better for the queries that chose"
        reason += compared
        self._say("done", 1.0)
        identity = view.snapshot.vector_set.to_identity() if view.snapshot.vector_set else None
        card = {
            "twofold": __version__,
            "data": self._taught.digest,
            "queries": len(self._known),
            "pairs": sum(len(each.positives) for each in self._taught),
            "extra": len(self._taught) - len(self._known),
            "model": identity.name if identity is not None else None,
            "temperature": plan.temperature,
            "pull": plan.pull,
            "rank": plan.rank,
            "blend": blend,
            "epochs": final.best,
            "seed": plan.seed,
            "seconds": round(time.perf_counter() - started, 1),
            "gains": [each.to_dict() for each in gains],
        }
        differences = (after[mode] - before[mode])[judges]
        needed = queries_needed(differences, level=plan.level) if differences.mean() > 0 else None
        if needed is not None:  # those that don't judge are there already
            needed += len(judges) - len(differences)
        return TrainedAdapter(
            adapter=QueryAdapter(
                matrix,
                identity.fingerprint if identity is not None else "",
                {**card, LEARNED: query_hashes(self._taught)},
            ),
            kept=kept,
            reason=reason,
            plan=plan,
            queries=len(self._known),
            gains=gains,
            forgotten=forgotten,
            blend=blend,
            epochs=final.best,
            curves=tuple(each.curve for each in held.fits),
            profile=setting,
            tuned=tuned,
            needed=needed,
            card=card,
            vector_set=view.snapshot.vector_set.number if view.snapshot.vector_set else None,
        )

    def _judges(self) -> tuple[Mask, str]:
        """Return the queries that judge, and in words what they compare with, if that is news.

        An adapter in use would be judged by what it remembers, and so only the others judge, if
        they are enough.
        """
        if self._view.snapshot.adapting.adapter is None:
            return np.ones(len(self._known), np.bool_), ""
        new = unseen_by_adapter(self._view, self._known)
        if new.sum() >= self._plan.fewest:
            return new, (
                f"; compared with the adapter in use, by the {new.sum():,} queries that it didn't "
                "learn from"
            )
        return np.ones(len(self._known), np.bool_), f"; {_REMEMBERED}"

    def _held_out(self, lesson: TrainingArrays) -> CrossValidated:
        """Learn without each fold, and take its queries through what was learned."""
        plan = self._plan
        plain = self._vectors[: len(self._known)]
        learned = np.empty_like(plain)
        flags = np.zeros(len(self._known), np.bool_)
        of_fold = np.zeros(len(self._known), np.int64)
        fits: list[FitResult] = []
        for number, fold in enumerate(folds(self._known, plan.folds, seed=plan.seed), start=1):
            inner = self._inner(fold.fit)
            fits.append(self._fit(lesson, inner, plan, f"fold {number} of {plan.folds}"))
            own = positions_in(self._known, fold.held)
            of_fold[own] = number
            asked = plain[own].astype(np.float64)
            learned[own] = asked @ fits[-1].matrix.astype(np.float64).T
            new = unseen(fold.held, fold.fit.joined(self._more))
            flags[own] = [each.query_id in new for each in fold.held]
        return CrossValidated(plain, learned, flags, of_fold, tuple(fits))

    def _inner(self, fit: TrainingSet) -> Split:
        return split(fit, _CHECKED, seed=self._plan.seed)

    def _final(self, lesson: TrainingArrays, held: CrossValidated) -> FitResult:
        """Learn from all queries, for as long as was best for the folds on average."""
        best = round(float(np.mean([each.best for each in held.fits])))
        if best == 0:
            dim = lesson.passages.shape[1]
            return FitResult(np.eye(dim, dtype=np.float32), 0, ())
        plan = replace(self._plan, epochs=best)
        return self._fit(lesson, Split(self._known, TrainingSet(())), plan, "all queries")

    def _fit(
        self, lesson: TrainingArrays, given: Split, plan: AdapterPlan, stage: str
    ) -> FitResult:
        extra = np.arange(len(self._known), len(self._taught))
        own = np.concatenate([positions_in(self._known, given.fit), extra])
        learned = lesson.asking.part(own, worded=False)
        checked = lesson.asking.part(positions_in(self._known, given.held))
        share = _FITTING / (self._plan.folds + 1)

        def report(epoch: Epoch) -> None:
            done = share * (self._fits + epoch.number / plan.epochs)
            self._say(stage, done, epoch)

        found = fit_map(
            lesson.passages, lesson.metric, learned, checked if len(checked) else None, plan, report
        )
        self._fits += 1
        return found

    def _remembering(self, final: FitResult) -> tuple[float, ...]:
        """Return the blends by which queries of another kind lose no more than allowed."""
        found = {
            blend: self._forgotten(interpolate(final.matrix, blend), self._home)
            for blend in self._plan.blends
        }
        return tuple(blend for blend, each in found.items() if no_forgetting(each, self._plan))

    def _tuned(self, bench: TuningObjective) -> TuningResult:
        """Tune fusion and weight to the learned vectors."""
        plan = self._plan
        space = Space(depths=(), k1=(), b=(), title_weights=())
        fewest = max(plan.fewest, 2 * plan.folds)
        own = Plan(plan.measure, plan.folds, plan.seed, plan.level, fewest, space)
        return tune_on(bench, own, self._home, None)

    def _probes(self, forgetting: TrainingSet | None) -> tuple[SearchQuality, Vectors] | None:
        """Return queries of another kind and their vectors; None where none can be made."""
        if forgetting is not None:
            if not len(forgetting):
                raise InputError("forgetting has no queries: leave it out, or give some")
            forgetting = examples_in_index(self._view, forgetting)
        elif self._view.encodes:
            forgetting = control_queries_from_passages(
                self._view, self._known, self._taught, self._plan.seed
            )
        if forgetting is None:
            return None
        served = SearchQuality(self._view, forgetting, self._plan.measure, self._home)
        return served, self._view.encode_queries([each.query for each in forgetting], adapted=False)

    def _forgotten(self, matrix: Vectors, profile: SearchProfile) -> Gain | None:
        """Return what becomes of queries of another kind."""
        if self._others is None:
            return None
        served, vectors = self._others
        mode = served.mode
        before = served.values(self._view.adapted(vectors))[mode]
        now = replace(served, profile=profile).values(QueryAdapter(matrix)(vectors))[mode]
        flags = np.zeros(len(vectors), np.bool_)
        return compute_gains({mode: before}, {mode: now}, flags, level=self._plan.level)[0]

    def _say(self, stage: str, done: float, epoch: Epoch | None = None) -> None:
        if self._progress is not None:
            self._progress(Step(stage, done, epoch))
