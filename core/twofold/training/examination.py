"""Queries that nothing is learned from, asked again and again over a part of the corpus."""

from dataclasses import dataclass

import numpy as np

from twofold.index import Index, IndexView
from twofold.metrics import Metric
from twofold.protocols import Analyzer, Encoder, Setting
from twofold.retriever import Retriever
from twofold.training.probes import made_of_passages
from twofold.training.record import OTHERS, Marks
from twofold.training.served import Served
from twofold.training.training_set import TrainingSet
from twofold.tuning.defaults import in_use
from twofold.types import Passage, Scores

_NEAR = 20  # of each query's hits are among the passages


@dataclass(frozen=True, slots=True)
class Examination:
    """Held-out queries, queries of another kind, and passages that both are looked for among."""

    passages: tuple[Passage, ...]
    held: TrainingSet
    others: TrainingSet | None
    metric: Metric
    analyzer: Analyzer | None
    title_weight: int
    measure: str
    setting: Setting

    @classmethod
    def of(
        cls,
        index: Index,
        held: TrainingSet,
        known: TrainingSet,
        taught: TrainingSet,
        most: int,
        measure: str,
    ) -> "Examination":
        """Choose passages: all answers, what has words of the held-out queries, a seeded sample.

        What is near by the base's vectors isn't chosen: the base alone would meet all that it takes
        for an answer, and lose by it. ``known`` are all judged queries, ``taught`` what is learned.
        """
        with index.view() as view:
            metric = view.metric
            assert metric is not None  # checked before
            others = made_of_passages(view, known, taught, 0)
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

    def values(self, encoder: Encoder) -> Marks:
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
        served = Served(view, asked, self.measure, self.setting)
        values = served.values(view.encode_queries([each.query for each in asked]))
        return {str(mode): each for mode, each in values.items()}


def _rows(view: IndexView) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    dense = view.snapshot.dense
    assert dense is not None  # checked before
    return dense.live_rows
