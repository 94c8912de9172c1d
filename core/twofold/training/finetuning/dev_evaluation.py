"""Queries that a model learns from, those that choose its epoch, and those that judge it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from twofold import __version__
from twofold.backend import SearchProfile
from twofold.evaluation import queries_needed
from twofold.index import Index, IndexView
from twofold.protocols import Analyzer, Encoder
from twofold.retriever import Retriever
from twofold.similarity import Metric
from twofold.training.acceptance import Gain, Values, compute_gains, verdict
from twofold.training.control_queries import control_queries_from_passages
from twofold.training.data.examples import TrainingSet
from twofold.training.data.splitting import split
from twofold.training.finetuning.loop import OTHERS, QueryMeasures, RunState
from twofold.training.finetuning.plans import FineTuningPlan
from twofold.training.finetuning.result import FineTunedModel
from twofold.training.search_quality import SearchQuality
from twofold.tuning.objective import in_use
from twofold.types import Mask, Mode, Passage, Scores

_CHOOSING = 0.1  # of the queries that don't judge


@dataclass(frozen=True, slots=True)
class DataSplit:
    """``learned`` examples, and those ``asked`` after each epoch, which nothing is learned from.

    Of the asked ones (n,), ``judges`` flags those that say in the end whether the model is worth
    keeping; the others choose the epoch.
    """

    learned: TrainingSet
    asked: TrainingSet
    judges: Mask

    @classmethod
    def of(
        cls, known: TrainingSet, plan: FineTuningPlan, extra: TrainingSet | None = None
    ) -> "DataSplit":
        """Part a training set as a plan says; ``extra`` examples are learned from."""
        outer = split(known, plan.held_out, seed=plan.seed)
        inner = split(outer.fit, _CHOOSING, seed=plan.seed)
        asked = outer.held.joined(inner.held)
        judging = outer.held.queries
        judges = np.array([each.query_id in judging for each in asked], np.bool_)
        learned = inner.fit.joined(extra) if extra is not None else inner.fit
        return cls(learned, asked, judges)

    @property
    def unseen(self) -> Mask:
        """Which of the asked queries (n,) have no answer that others were learned from."""
        known = self.learned.positives
        return np.array([known.isdisjoint(each.positives) for each in self.asked], np.bool_)

    def judged(
        self,
        before: QueryMeasures,
        after: QueryMeasures,
        record: RunState,
        plan: FineTuningPlan,
        count: int,
    ) -> FineTunedModel:
        """Return the outcome of a run by those of ``count`` queries that neither taught nor chose.

        The number of queries that would settle the gain is one of all queries, too.
        """
        first, last = self._judging(before), self._judging(after)
        mode = next(iter(first))
        gains = compute_gains(first, last, self.unseen[self.judges], level=plan.level)
        forgotten = _forgotten(mode, before.get(OTHERS), after.get(OTHERS), plan.level)
        kept, reason = verdict(gains, forgotten, mode, plan)
        if record.best == 0:
            kept, reason = False, "the base stays: no epoch was better for the queries that chose"
        differences = last[mode] - first[mode]
        needed = queries_needed(differences, level=plan.level) if differences.mean() > 0 else None
        if needed is not None:  # of those that judge; of each of them come others along
            needed = round(needed * count / self.judges.sum())
        return FineTunedModel(
            folder=None,
            kept=kept,
            reason=reason,
            queries=count,
            measure=plan.measure,
            gains=gains,
            forgotten=forgotten,
            curve=tuple(record.curve),
            epoch=record.best,
            turnover=tuple(record.turnover),
            needed=needed,
            card={
                "twofold": __version__,
                "data": self.learned.digest,
                "queries": len(self.learned),
                "judges": int(self.judges.sum()),
                "batch": plan.batch,
                "learning_rate": plan.learning_rate,
                "epoch": record.best,
                "seed": plan.seed,
                "gains": [each.to_dict() for each in gains],
            },
        )

    def _judging(self, marks: QueryMeasures) -> Values:
        modes = {name: each[self.judges] for name, each in marks.items() if name != OTHERS}
        return cast("Mapping[Mode, Scores]", modes)


def _forgotten(
    mode: Mode, before: Scores | None, after: Scores | None, level: float
) -> Gain | None:
    """Return what becomes of queries of another kind, in the mode that the index serves."""
    if before is None or after is None:
        return None
    flags = np.zeros(len(before), np.bool_)
    return compute_gains({mode: before}, {mode: after}, flags, level=level)[0]


def with_metadata(card: Mapping[str, Any] | None, **more: object) -> dict[str, Any]:
    """Return a card with more on it, the gains last."""
    values = dict(card or {})
    gains = values.pop("gains", [])
    return {**values, **more, "gains": gains}


_NEAR = 20  # of each query's hits are among the passages


@dataclass(frozen=True, slots=True)
class DevEvaluator:
    """Held-out queries, queries of another kind, and passages that both are looked for among."""

    passages: tuple[Passage, ...]
    held: TrainingSet
    others: TrainingSet | None
    metric: Metric
    analyzer: Analyzer | None
    title_weight: int
    measure: str
    profile: SearchProfile

    @classmethod
    def of(
        cls,
        index: Index,
        held: TrainingSet,
        known: TrainingSet,
        taught: TrainingSet,
        most: int,
        measure: str,
    ) -> "DevEvaluator":
        """Choose passages: all answers, what has words of the held-out queries, a seeded sample.

        What is near by the base's vectors isn't chosen: the base alone would meet all that it takes
        for an answer, and lose by it. ``known`` are all judged queries, ``taught`` what is learned.
        """
        with index.view() as view:
            metric = view.metric
            assert metric is not None  # checked before
            others = control_queries_from_passages(view, known, taught, 0)
            answers = [own for each in held for own in each.positives]
            probes = [own for each in others or () for own in each.positives]
            chosen = dict.fromkeys([*answers, *probes])
            if "lexical" in index.modes:
                worded = Retriever(index, mode="lexical")
                for hits in worded.retrieve_many([each.query for each in held], k=_NEAR):
                    chosen |= dict.fromkeys(hits.ids)
            rows = np.random.default_rng(0).permutation(_rows(view))[:most]
            for own in view.ids(rows):
                if len(chosen) >= most:
                    break
                chosen[own] = None
            lexical = view.snapshot.lexical
            return cls(
                tuple(index.get(list(chosen))),
                held,
                others,
                metric,
                lexical.analyzer if lexical is not None else None,
                view.snapshot.settings.title_weight,
                measure,
                in_use(view),
            )

    def values(self, encoder: Encoder) -> QueryMeasures:
        """Return the measure of the held-out queries by mode, and of the others in the first."""
        with self.trial(encoder) as trial:
            trial.upsert(self.passages)
            with trial.view() as view:
                marks = dict(self._asked(view, self.held))
                if self.others is not None:
                    others = self._asked(view, self.others)
                    marks |= {OTHERS: next(iter(others.values()))}
                return marks

    def trial(self, encoder: Encoder) -> Index:
        """Return an empty index in memory that is like the one to be served."""
        return Index.open(
            None,
            encoder=encoder,
            metric=self.metric,
            analyzer=self.analyzer,
            title_weight=self.title_weight if self.analyzer is not None else None,
        )

    def _asked(self, view: IndexView, asked: TrainingSet) -> dict[str, Scores]:
        served = SearchQuality(view, asked, self.measure, self.profile)
        values = served.values(view.encode_queries([each.query for each in asked]))
        return {str(mode): each for mode, each in values.items()}


def _rows(view: IndexView) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    dense = view.snapshot.dense
    assert dense is not None  # checked before
    return dense.live_rows
