"""Training of a query adapter that is kept only if held-out queries are better for it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from twofold import __version__
from twofold.encoders import QueryAdapter
from twofold.errors import InputError
from twofold.evaluation import queries_needed
from twofold.index import Index, IndexView
from twofold.metrics import Metric
from twofold.protocols import Setting
from twofold.training.adapter_plan import AdapterPlan
from twofold.training.fitting import Epoch, Fitted, fitted
from twofold.training.gain import Gain, Values, gains_of
from twofold.training.in_use import LEARNED, fresh, marks_of
from twofold.training.lesson import Lesson, places_in, usable
from twofold.training.probes import made_of_passages
from twofold.training.served import Served
from twofold.training.splitting import Split, folds, split, unseen
from twofold.training.trained import Trained
from twofold.training.training_set import TrainingSet
from twofold.training.verdict import harmless, remembers, too_few, verdict
from twofold.tuning import Bench, Plan, Space, Tuned, tuned_on
from twofold.tuning.defaults import in_use
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
    forgetting: TrainingSet | None = None,
    progress: Report | None = None,
) -> Trained:
    """Learn a linear map of query vectors from judged queries; nothing is written.

    Passages are neither encoded nor indexed again, so any encoder will do. What is learned is
    judged by cross-validation: each query is measured by a map that was learned without it, stopped
    early by others still. Where an adapter is in use, it is compared with that one, and queries
    that that one learned from don't judge. The map that is given was learned from all queries, for
    as many epochs as was best for the folds, and mixed with the identity (``blend``) as those found
    best. With two legs, fusion and weights are tuned to it by ``twofold.tuning``, behind a gate of
    its own.

    ``vectors`` (n, dim) are those of the queries, if not the encoder's. ``forgetting`` are judged
    queries of another kind, which must not lose more than ``plan.most_lost`` either; left out,
    they are made of the titles and first sentences of passages that answer no query.

    Warns (DegradedWarning) of examples without a positive in the index. Raises InputError and
    QueryError for what can't be learned from.
    """
    plan = plan if plan is not None else AdapterPlan()
    with index.view() as view:
        known = usable(view, training_set)
        if len(known) < plan.fewest:
            return Trained(
                adapter=None,
                kept=False,
                reason=too_few(len(known), plan.fewest),
                plan=plan,
                queries=len(known),
                needed=plan.fewest,
            )
        asked = _vectors(view, training_set, known, vectors)
        return _Training(view, known, plan, asked, forgetting, progress).run()


@dataclass(frozen=True, slots=True)
class _HeldOut:
    """What was learned without each query, and which of them ask for passages never learned from.

    ``plain`` and ``learned`` (n, dim) are the encoder's vectors and what the folds' maps make of
    them, unmixed; ``folds`` (n,) tells which fold held each out.
    """

    plain: Vectors
    learned: Vectors
    unseen: Mask
    folds: NDArray[np.int64]
    fits: tuple[Fitted, ...]

    def blended(self, blend: float) -> Vectors:
        """Return vectors between the encoder's own and the learned ones."""
        return np.asarray(self.plain + blend * (self.learned - self.plain), np.float32)


class _Training:
    """One run: folds, the choice of the blend, tuning, the final fit, and the verdict."""

    def __init__(
        self,
        view: IndexView,
        known: TrainingSet,
        plan: AdapterPlan,
        vectors: Vectors,
        forgetting: TrainingSet | None,
        progress: Report | None,
    ) -> None:
        self._view = view
        self._known = known
        self._plan = plan
        self._vectors = vectors
        self._home = in_use(view)
        self._served = Served(view, known, plan.measure, self._home)
        self._progress = progress
        self._fits = 0
        self._others = self._probes(forgetting)

    def run(self) -> Trained:
        started = time.perf_counter()
        plan, view = self._plan, self._view
        lesson = Lesson.of(view, self._known, self._vectors, plan)
        held = self._held_out(lesson)
        self._say("measuring", _FITTING * plan.folds / (plan.folds + 1))
        before = self._served.values(view.adapted(held.plain))
        tried = {blend: self._served.values(held.blended(blend)) for blend in plan.blends}
        final = self._final(lesson, held)
        remembering = self._remembering(final)
        blend = self._blend(before, tried, held.unseen, remembering)
        after = self._chosen_without_each_fold(before, tried, held, remembering)
        setting, tuned = self._home, None
        if self._served.mode == "hybrid":
            self._say("tuning the fusion", 0.9)
            bench = self._served.bench(held.blended(blend))
            tuned, setting = self._tuned(bench, before, after, held.unseen)
        judges, compared = self._judges()
        before, after = _part(before, judges), _part(after, judges)
        gains = gains_of(before, after, held.unseen[judges], level=plan.level)
        mixed = _blended(final.matrix, blend)
        forgotten = self._forgotten(mixed, setting)
        mode = self._served.mode
        kept, reason = verdict(gains, forgotten, mode, plan)
        if final.best == 0:
            kept, reason = False, "the base stays: no epoch was better for the queries that chose"
        reason += compared
        self._say("done", 1.0)
        identity = view.snapshot.vector_set.to_identity() if view.snapshot.vector_set else None
        card = {
            "twofold": __version__,
            "data": self._known.digest,
            "queries": len(self._known),
            "pairs": sum(len(each.positives) for each in self._known),
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
        differences = after[mode] - before[mode]
        return Trained(
            adapter=QueryAdapter(
                mixed,
                identity.fingerprint if identity is not None else "",
                {**card, LEARNED: marks_of(self._known)},
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
            setting=setting,
            tuned=tuned,
            needed=queries_needed(differences, level=plan.level)
            if differences.mean() > 0
            else None,
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
        new = fresh(self._view, self._known)
        if new.sum() >= self._plan.fewest:
            return new, (
                f"; compared with the adapter in use, by the {new.sum():,} queries that it didn't "
                "learn from"
            )
        return np.ones(len(self._known), np.bool_), f"; {_REMEMBERED}"

    def _held_out(self, lesson: Lesson) -> _HeldOut:
        """Learn without each fold, and take its queries through what was learned."""
        plan = self._plan
        learned = np.empty_like(lesson.asking.vectors)
        flags = np.zeros(len(self._known), np.bool_)
        of_fold = np.zeros(len(self._known), np.int64)
        fits: list[Fitted] = []
        for number, fold in enumerate(folds(self._known, plan.folds, seed=plan.seed), start=1):
            inner = self._inner(fold.fit)
            fits.append(self._fit(lesson, inner, plan, f"fold {number} of {plan.folds}"))
            own = places_in(self._known, fold.held)
            of_fold[own] = number
            asked = lesson.asking.vectors[own].astype(np.float64)
            learned[own] = asked @ fits[-1].matrix.astype(np.float64).T
            new = unseen(fold.held, fold.fit)
            flags[own] = [each.query_id in new for each in fold.held]
        return _HeldOut(lesson.asking.vectors, learned, flags, of_fold, tuple(fits))

    def _inner(self, fit: TrainingSet) -> Split:
        return split(fit, _CHECKED, seed=self._plan.seed)

    def _final(self, lesson: Lesson, held: _HeldOut) -> Fitted:
        """Learn from all queries, for as long as was best for the folds on average."""
        best = round(float(np.mean([each.best for each in held.fits])))
        if best == 0:
            dim = lesson.passages.shape[1]
            return Fitted(np.eye(dim, dtype=np.float32), 0, ())
        plan = replace(self._plan, epochs=best)
        return self._fit(lesson, Split(self._known, TrainingSet(())), plan, "all queries")

    def _fit(self, lesson: Lesson, given: Split, plan: AdapterPlan, stage: str) -> Fitted:
        learned = lesson.asking.part(places_in(self._known, given.fit), worded=False)
        checked = lesson.asking.part(places_in(self._known, given.held))
        share = _FITTING / (self._plan.folds + 1)

        def report(epoch: Epoch) -> None:
            done = share * (self._fits + epoch.number / plan.epochs)
            self._say(stage, done, epoch)

        found = fitted(
            lesson.passages, lesson.metric, learned, checked if len(checked) else None, plan, report
        )
        self._fits += 1
        return found

    def _remembering(self, final: Fitted) -> tuple[float, ...]:
        """Return the blends by which queries of another kind lose no more than allowed."""
        found = {
            blend: self._forgotten(_blended(final.matrix, blend), self._home)
            for blend in self._plan.blends
        }
        return tuple(blend for blend, each in found.items() if remembers(each, self._plan))

    def _blend(
        self,
        before: Values,
        tried: Mapping[float, Values],
        unseen_flags: Mask,
        remembering: tuple[float, ...],
    ) -> float:
        """Return the blend of the greatest gain among those that lose nothing elsewhere."""
        plan, mode = self._plan, self._served.mode
        safe = [
            blend
            for blend in remembering
            if harmless(gains_of(before, tried[blend], unseen_flags, level=plan.level), plan)
        ]
        return max(safe or plan.blends[-1:], key=lambda blend: float(tried[blend][mode].mean()))

    def _chosen_without_each_fold(
        self,
        before: Values,
        tried: Mapping[float, Values],
        held: _HeldOut,
        remembering: tuple[float, ...],
    ) -> Values:
        """Return each fold's values by the blend that the other folds' queries choose."""
        after = {mode: np.empty_like(values) for mode, values in before.items()}
        for fold in np.unique(held.folds):
            own = held.folds == fold
            rest = {blend: _part(values, ~own) for blend, values in tried.items()}
            blend = self._blend(_part(before, ~own), rest, held.unseen[~own], remembering)
            for mode, values in after.items():
                values[own] = tried[blend][mode][own]
        return after

    def _tuned(
        self, bench: Bench, before: Values, after: Values, unseen_flags: Mask
    ) -> tuple[Tuned, Setting]:
        """Tune fusion and weight to the learned vectors; keep what was in use where that harms."""
        plan = self._plan
        space = Space(depths=(), k1=(), b=(), title_weights=())
        fewest = max(plan.fewest, 2 * plan.folds)
        own = Plan(plan.measure, plan.folds, plan.seed, plan.level, fewest, space)
        tuned = tuned_on(bench, own, self._home, None)
        changed = {**after, "hybrid": bench.values(tuned.setting)}
        gains = gains_of(before, changed, unseen_flags, level=plan.level)
        return tuned, tuned.setting if harmless(gains, plan) else self._home

    def _probes(self, forgetting: TrainingSet | None) -> tuple[Served, Vectors] | None:
        """Return queries of another kind and their vectors; None where none can be made."""
        if forgetting is not None:
            if not len(forgetting):
                raise InputError("forgetting has no queries: leave it out, or give some")
            forgetting = usable(self._view, forgetting)
        elif self._view.encodes:
            forgetting = made_of_passages(self._view, self._known, self._plan.seed)
        if forgetting is None:
            return None
        served = Served(self._view, forgetting, self._plan.measure, self._home)
        return served, self._view.encode_queries([each.query for each in forgetting], adapted=False)

    def _forgotten(self, matrix: Vectors, setting: Setting) -> Gain | None:
        """Return what becomes of queries of another kind."""
        if self._others is None:
            return None
        served, vectors = self._others
        mode = served.mode
        before = served.values(self._view.adapted(vectors))[mode]
        now = replace(served, setting=setting).values(QueryAdapter(matrix)(vectors))[mode]
        flags = np.zeros(len(vectors), np.bool_)
        return gains_of({mode: before}, {mode: now}, flags, level=self._plan.level)[0]

    def _say(self, stage: str, done: float, epoch: Epoch | None = None) -> None:
        if self._progress is not None:
            self._progress(Step(stage, done, epoch))


def _part(values: Values, mask: Mask) -> Values:
    return {mode: each[mask] for mode, each in values.items()}


def _blended(matrix: Vectors, blend: float) -> Vectors:
    eye = np.eye(len(matrix), dtype=np.float32)
    return np.asarray(eye + np.float32(blend) * (matrix - eye), np.float32)


def _vectors(
    view: IndexView, given: TrainingSet, known: TrainingSet, vectors: Vectors | None
) -> Vectors:
    """Return the encoder's vectors of the known queries, or their part of the given ones."""
    if vectors is None:
        return view.encode_queries([each.query for each in known], adapted=False)
    try:
        own = np.asarray(vectors, np.float32)
    except ValueError as error:
        raise InputError(f"query vectors are no array of numbers: {error}") from error
    dim, metric = view.snapshot.settings.dim, view.metric
    if own.shape != (len(given), dim):
        raise InputError(
            f"query vectors have shape {own.shape}: ({len(given)}, {dim}) is wanted, one row an "
            "example"
        )
    for each, row in zip(given, own, strict=True):
        if not np.isfinite(row).all() or (metric is Metric.COSINE and not row.any()):
            raise InputError(
                f"the vector of query {each.query_id!r:.80} is not finite, or zero, which has no "
                "direction: leave that example out"
            )
    return own[places_in(given, known)]
