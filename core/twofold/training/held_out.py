"""Queries that a model learns from, those that choose its epoch, and those that judge it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from twofold import __version__
from twofold.evaluation import queries_needed
from twofold.training.fine_tuned import FineTuned
from twofold.training.fine_tuning_plan import FineTuningPlan
from twofold.training.gain import Gain, Values, gains_of
from twofold.training.record import OTHERS, Marks, Record
from twofold.training.splitting import split
from twofold.training.training_set import TrainingSet
from twofold.training.verdict import verdict
from twofold.types import Mask, Mode, Scores

_CHOOSING = 0.1  # of the queries that don't judge


@dataclass(frozen=True, slots=True)
class HeldOut:
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
    ) -> "HeldOut":
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
        self, before: Marks, after: Marks, record: Record, plan: FineTuningPlan, count: int
    ) -> FineTuned:
        """Return the outcome of a run by those of ``count`` queries that neither taught nor chose.

        The number of queries that would settle the gain is one of all queries, too.
        """
        first, last = self._judging(before), self._judging(after)
        mode = next(iter(first))
        gains = gains_of(first, last, self.unseen[self.judges], level=plan.level)
        forgotten = _forgotten(mode, before.get(OTHERS), after.get(OTHERS), plan.level)
        kept, reason = verdict(gains, forgotten, mode, plan)
        if record.best == 0:
            kept, reason = False, "the base stays: no epoch was better for the queries that chose"
        differences = last[mode] - first[mode]
        needed = queries_needed(differences, level=plan.level) if differences.mean() > 0 else None
        if needed is not None:  # of those that judge; of each of them come others along
            needed = round(needed * count / self.judges.sum())
        return FineTuned(
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

    def _judging(self, marks: Marks) -> Values:
        modes = {name: each[self.judges] for name, each in marks.items() if name != OTHERS}
        return cast("Mapping[Mode, Scores]", modes)


def _forgotten(
    mode: Mode, before: Scores | None, after: Scores | None, level: float
) -> Gain | None:
    """Return what becomes of queries of another kind, in the mode that the index serves."""
    if before is None or after is None:
        return None
    flags = np.zeros(len(before), np.bool_)
    return gains_of({mode: before}, {mode: after}, flags, level=level)[0]


def carded(card: Mapping[str, Any] | None, **more: object) -> dict[str, Any]:
    """Return a card with more on it, the gains last."""
    values = dict(card or {})
    gains = values.pop("gains", [])
    return {**values, **more, "gains": gains}
