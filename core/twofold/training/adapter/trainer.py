"""Trains a query adapter, and accepts it only if held-out queries gain."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from twofold import __version__
from twofold.backend import Searchable, SearchProfile, SearchScope
from twofold.encoders import QueryAdapter
from twofold.errors import InputError
from twofold.storage import content_hash
from twofold.training.acceptance import (
    Gain,
    QueryMeasures,
    compute_gain,
    compute_gains,
    judge,
    no_regression,
    too_few_queries,
)
from twofold.training.adapter.fit import Epoch, FitResult, TrainingArrays, fit_adapter
from twofold.training.adapter.plan import AdapterPlan
from twofold.training.adapter.result import TrainedAdapter
from twofold.training.data.alignment import (
    drop_known_queries,
    examples_in_index,
    find_positions,
    select_query_vectors,
)
from twofold.training.data.examples import TrainingSet
from twofold.training.data.splitting import (
    Split,
    normalize_query,
    split,
    split_folds,
    unseen_queries,
)
from twofold.training.search_quality import SearchQuality, control_queries_from_passages
from twofold.tuning import SearchSpace, TuningPlan, tune_objective
from twofold.tuning.objective import active_profile
from twofold.types import Mask, Mode, Vectors

_LEARNED = "learned"  # key of the training queries' hashes in an adapter's metadata
_FIT_SHARE = 0.8  # of the work, for progress
_VALIDATION_SHARE = 0.2  # of a fold's training queries, for early stopping


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """Progress of a training: the stage's name, the share done (0 to 1), and the last epoch."""

    stage: str
    done: float
    epoch: Epoch | None = None


ProgressCallback = Callable[[TrainingProgress], None]


def train_adapter(
    index: Searchable,
    training_set: TrainingSet,
    *,
    plan: AdapterPlan | None = None,
    vectors: Vectors | None = None,
    extra: TrainingSet | None = None,
    regression_set: TrainingSet | None = None,
    progress: ProgressCallback | None = None,
) -> TrainedAdapter:
    """Train a query adapter, a linear map of query vectors, on judged queries; nothing is written.

    Passages are not encoded again, so any encoder will do. Cross-validation measures each query
    with a matrix that was fitted without it. Gains are over the active adapter, if there is one;
    queries that it was trained on don't count. The returned adapter is fitted on all queries, for
    the mean of the folds' best epochs, and interpolated with the identity. With two legs, the
    fusion is then tuned to the adapter, and that change is accepted or rejected by itself.

    Args:
        index: An `Index`, or an `EncodedBackend` over another engine.
        training_set: Judged queries, to train on and to measure gains by.
        plan: The hyperparameters.
        vectors: Unadapted query vectors, float32 (n, dim). Default: the encoder's.
        extra: More examples, such as synthetic ones, to train on in every fold.
        regression_set: Judged control queries, which must not lose. Default: titles or first
            sentences of passages that are relevant to no judged query.
        progress: Called after each epoch and at each stage.

    Raises:
        InputError: No positive is in the index, all examples are alike, or ``vectors`` don't fit.
        QueryError: The index is empty or has no vectors, or lacks an encoder that is needed.

    Warns:
        DegradedWarning: Examples have no relevant passage in the index, and are skipped.
    """
    plan = plan if plan is not None else AdapterPlan()
    with index.open_search() as scope:
        judged = examples_in_index(scope, training_set)
        if len(judged) < plan.min_queries:
            return TrainedAdapter(adapter=None, plan=plan, **too_few_queries(len(judged), plan))
        encoded = select_query_vectors(scope, training_set, judged, vectors)
        more = drop_known_queries(scope, judged, extra)
        if len(more):
            vectors = scope.encode_queries(list(more.queries.values()), adapt=False)
            encoded = np.concatenate([encoded, vectors])
        return _AdapterTraining(scope, judged, more, plan, encoded, regression_set, progress).run()


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """A temperature and the result of training an adapter with it."""

    temperature: float
    trained: TrainedAdapter

    @property
    def gain(self) -> Gain:
        """The gain of all held-out queries: in hybrid mode, or dense without a lexical leg."""
        return self.trained.gains[0]

    def __str__(self) -> str:
        return f"temperature {self.temperature:g}: {self.gain}"


def sweep_temperatures(
    index: Searchable,
    training_set: TrainingSet,
    temperatures: Sequence[float] = (0.01, 0.02, 0.05, 0.1, 0.2),
    *,
    plan: AdapterPlan | None = None,
    vectors: Vectors | None = None,
    progress: ProgressCallback | None = None,
) -> tuple[SweepPoint, ...]:
    """Train an adapter at each temperature; nothing is written.

    The best gain of several is biased upward: for an unbiased one, train again at that temperature
    with another seed. The other arguments are those of ``train_adapter``.

    Raises:
        InputError: There are no temperatures, one is out of range, or there are too few queries.
    """
    if not temperatures:
        raise InputError("temperatures must not be empty: pass some, such as (0.02, 0.05)")
    base = plan if plan is not None else AdapterPlan()
    plans = [replace(base, temperature=temperature) for temperature in temperatures]
    points: list[SweepPoint] = []
    for plan in plans:
        trained = train_adapter(index, training_set, plan=plan, vectors=vectors, progress=progress)
        if not trained.gains:
            raise InputError(trained.reason)
        points.append(SweepPoint(plan.temperature, trained))
    return tuple(points)


@dataclass(frozen=True, slots=True)
class CrossValidated:
    """Query vectors (n, dim): ``base`` ones, and ``adapted`` ones by a fit without that query.

    ``folds`` (n,) has the number of the fold that held out each query, ``fits`` each fold's result.
    ``unseen`` (n,) flags queries that share no relevant passage with the other folds.
    """

    base: Vectors
    adapted: Vectors
    unseen: Mask
    folds: NDArray[np.int64]
    fits: tuple[FitResult, ...]

    def interpolate(self, weight: float) -> Vectors:
        """Return query vectors (n, dim) between ``base`` (weight 0) and ``adapted`` (weight 1)."""
        return np.asarray(self.base + weight * (self.adapted - self.base), np.float32)


def interpolate_matrix(matrix: Vectors, weight: float) -> Vectors:
    """Return a matrix (dim, dim) between the identity (weight 0) and ``matrix`` (weight 1)."""
    eye = np.eye(len(matrix), dtype=np.float32)
    return np.asarray(eye + np.float32(weight) * (matrix - eye), np.float32)


@dataclass(frozen=True, slots=True)
class InterpolationChoice:
    """Chooses the interpolation weight by the held-out queries' measures in one search mode.

    ``before`` has the measures before training, ``candidates`` the cross-validated ones by weight.
    ``counted`` (n,) flags queries whose gains count. ``safe`` has the weights at which control
    queries lose at most ``max_regression``.
    """

    plan: AdapterPlan
    mode: Mode
    before: QueryMeasures
    candidates: Mapping[float, QueryMeasures]
    cross_validated: CrossValidated
    counted: Mask
    safe: tuple[float, ...]

    def regresses(self, after: QueryMeasures, among: Mask) -> bool:
        """Return whether counted, unseen queries flagged by ``among`` (n,) lose too much."""
        unseen, confidence = self.cross_validated.unseen, self.plan.confidence
        counted = self.counted & among
        gains = compute_gains(self.before, after, unseen, confidence=confidence, among=counted)
        return not no_regression(gains, self.plan)

    def best_weight(self, among: Mask) -> float:
        """Return the weight that is best for the queries in ``among`` (n,), without regression."""
        allowed = [
            weight for weight in self.safe if not self.regresses(self.candidates[weight], among)
        ]
        scores = {
            weight: float(self.candidates[weight][self.mode][among].mean())
            for weight in allowed or self.plan.interpolations[-1:]
        }
        return max(scores, key=scores.__getitem__)

    def measure_folds(self) -> QueryMeasures:
        """Return all queries' measures, each fold's at the weight that the other folds choose."""
        after = {mode: np.empty_like(scores) for mode, scores in self.before.items()}
        folds = self.cross_validated.folds
        for number in np.unique(folds):
            fold = folds == number
            chosen = self.candidates[self.best_weight(~fold)]
            for mode, scores in after.items():
                scores[fold] = chosen[mode][fold]
        return after


@dataclass
class _AdapterTraining:
    """One run of ``train_adapter``; ``vectors`` has the ``judged``, then the ``extra`` queries."""

    scope: SearchScope
    judged: TrainingSet
    extra: TrainingSet
    plan: AdapterPlan
    vectors: Vectors
    regression_set: TrainingSet | None
    progress: ProgressCallback | None

    def __post_init__(self) -> None:
        scope, judged, plan = self.scope, self.judged, self.plan
        self.train = judged.join(self.extra)
        self.profile = active_profile(scope)
        self.quality = SearchQuality(scope, judged, plan.measure, self.profile)
        self.fits = 0
        self.control = self._control_queries()
        self.arrays = TrainingArrays.from_scope(
            scope, self.train, self.vectors, plan, judged=len(judged)
        )

    def run(self) -> TrainedAdapter:
        started = time.perf_counter()
        plan, scope, quality, mode = self.plan, self.scope, self.quality, self.quality.mode
        validated = self._cross_validate()
        self._report("evaluating", _FIT_SHARE * plan.folds / (plan.folds + 1))
        counted, note = self._counted_queries()
        before = quality.evaluate(scope.adapt(validated.base))
        candidates = {
            weight: quality.evaluate(validated.interpolate(weight))
            for weight in plan.interpolations
        }
        final = self._fit_all(validated)
        safe = tuple(
            weight
            for weight in plan.interpolations
            if (gain := self._measure_control(final, weight, self.profile)) is None
            or gain.lost <= plan.max_regression
        )
        every = np.ones_like(counted)
        choice = InterpolationChoice(plan, mode, before, candidates, validated, counted, safe)
        weight = choice.best_weight(every)
        after = choice.measure_folds()
        profile, tuned = self.profile, None
        if mode == "hybrid":
            self._report("tuning the fusion", 0.9)
            objective = quality.objective(validated.interpolate(weight))
            space = SearchSpace(depths=(), k1=(), b=(), title_weights=())
            tuning = TuningPlan(
                plan.measure, plan.folds, plan.seed, plan.confidence, plan.min_queries, space
            )
            tuned = tune_objective(objective, tuning, self.profile, None)
            changed = {**after, "hybrid": objective.values(tuned.profile)}
            if not choice.regresses(changed, every):
                profile = tuned.profile
        forgotten = self._measure_control(final, weight, profile)
        fields = judge(before, after, validated.unseen, counted, forgotten, plan, final.best)
        fields["reason"] += note
        if fields["needed"] is not None:  # queries that are not counted are judged, too
            fields["needed"] += len(counted) - int(counted.sum())
        self._report("done", 1.0)
        identity = scope.identity
        metadata = {
            "twofold": __version__,
            "data": self.train.digest,
            "queries": len(self.judged),
            "pairs": sum(len(example.positives) for example in self.train),
            "extra": len(self.extra),
            "model": identity.name if identity is not None else None,
            **{
                name: getattr(plan, name) for name in ("temperature", "identity_l2", "rank", "seed")
            },
            "interpolation": weight,
            "epochs": final.best,
            "seconds": round(time.perf_counter() - started, 1),
            "gains": [gain.to_dict() for gain in fields["gains"]],
        }
        return TrainedAdapter(
            adapter=QueryAdapter(
                interpolate_matrix(final.matrix, weight),
                identity.fingerprint if identity is not None else "",
                {**metadata, _LEARNED: _query_hashes(self.train)},
            ),
            **fields,
            plan=plan,
            queries=len(self.judged),
            interpolation=weight,
            epochs=final.best,
            curves=tuple(fit.curve for fit in validated.fits),
            profile=profile,
            tuned=tuned,
            metadata=metadata,
            vector_set=scope.session.corpus.vector_set,
        )

    def _counted_queries(self) -> tuple[Mask, str]:
        """Return a mask of the queries whose gains count, and a note to append to the reason.

        Queries that the active adapter was trained on don't count, unless too few are left.
        """
        every = np.ones(len(self.judged), np.bool_)
        adapter = self.scope.query_adapter
        if adapter is None:
            return every, ""
        hashes: Sequence[str] | None = getattr(adapter, "metadata", {}).get(_LEARNED)
        if hashes is not None:  # otherwise the adapter may have been trained on any query
            trained = frozenset(hashes)
            new = np.array([one not in trained for one in _query_hashes(self.judged)], np.bool_)
            if new.sum() >= self.plan.min_queries:
                return new, (
                    f"; compared with the active adapter on the {new.sum():,} queries that it was "
                    "not trained on"
                )
        return every, (
            "; compared with the active adapter, which was trained on these queries: for a fair "
            "comparison with the encoder alone, run index.profiles.use(None) first"
        )

    def _cross_validate(self) -> CrossValidated:
        """Fit a matrix without each fold, and adapt the fold's queries by it."""
        plan, judged = self.plan, self.judged
        base = self.vectors[: len(judged)]
        adapted = np.empty_like(base)
        flags = np.zeros(len(judged), np.bool_)
        numbers = np.zeros(len(judged), np.int64)
        fits: list[FitResult] = []
        for number, fold in enumerate(split_folds(judged, plan.folds, seed=plan.seed), start=1):
            inner = split(fold.train, _VALIDATION_SHARE, seed=plan.seed)
            fits.append(self._fit(inner, plan.epochs, f"fold {number} of {plan.folds}"))
            held_out = find_positions(judged, fold.test)
            numbers[held_out] = number
            matrix = fits[-1].matrix.astype(np.float64)
            adapted[held_out] = base[held_out].astype(np.float64) @ matrix.T
            new = unseen_queries(fold.test, fold.train.join(self.extra))
            flags[held_out] = [example.query_id in new for example in fold.test]
        return CrossValidated(base, adapted, flags, numbers, tuple(fits))

    def _fit_all(self, validated: CrossValidated) -> FitResult:
        """Fit on all queries, for as many epochs as the folds' best ones on average."""
        epochs = round(float(np.mean([fit.best for fit in validated.fits])))
        if epochs == 0:
            return FitResult(np.eye(self.vectors.shape[1], dtype=np.float32), 0, ())
        return self._fit(Split(self.judged, TrainingSet(())), epochs, "all queries")

    def _fit(self, parts: Split, epochs: int, stage: str) -> FitResult:
        """Fit on ``parts.train`` and all extra queries; stop early by ``parts.test``."""
        extra = np.arange(len(self.judged), len(self.train))
        positions = np.concatenate([find_positions(self.judged, parts.train), extra])
        validation = self.arrays.select(find_positions(self.judged, parts.test))
        share = _FIT_SHARE / (self.plan.folds + 1)

        def on_epoch(epoch: Epoch) -> None:
            self._report(stage, share * (self.fits + epoch.number / epochs), epoch)

        train = self.arrays.select(positions, lexical=False)
        found = fit_adapter(train, validation, replace(self.plan, epochs=epochs), on_epoch)
        self.fits += 1
        return found

    def _control_queries(self) -> tuple[SearchQuality, Vectors] | None:
        """Return the control queries and their vectors, or None if there are too few."""
        scope, regression_set = self.scope, self.regression_set
        if regression_set is not None:
            if not len(regression_set):
                raise InputError("regression_set has no queries: pass some, or leave it out")
            regression_set = examples_in_index(scope, regression_set)
        elif scope.can_encode:
            regression_set = control_queries_from_passages(
                scope, self.judged, self.train, self.plan.seed
            )
        if regression_set is None:
            return None
        quality = replace(self.quality, training_set=regression_set)
        queries = list(regression_set.queries.values())
        return quality, scope.encode_queries(queries, adapt=False)

    def _measure_control(
        self, fit: FitResult, weight: float, profile: SearchProfile
    ) -> Gain | None:
        """Return the control queries' gain by a fit at some weight, with a profile."""
        if self.control is None:
            return None
        quality, vectors = self.control
        adapter = QueryAdapter(interpolate_matrix(fit.matrix, weight))
        before = quality.evaluate(self.scope.adapt(vectors))[quality.mode]
        after = replace(quality, profile=profile).evaluate(adapter(vectors))[quality.mode]
        return compute_gain(quality.mode, before, after, self.plan.confidence)

    def _report(self, stage: str, done: float, epoch: Epoch | None = None) -> None:
        if self.progress is not None:
            self.progress(TrainingProgress(stage, done, epoch))


def _query_hashes(training_set: TrainingSet) -> list[str]:
    """Return a hash of each query, 16 hex digits; case and white space don't change it."""
    folded = (normalize_query(example.query) for example in training_set)
    return [content_hash(query.encode())[:8].hex() for query in folded]
