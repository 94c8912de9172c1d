"""What queries with given vectors find in an index, as it would serve them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from twofold.backend import SearchProfile
from twofold.evaluation.measures import compute_measures, parse_measure
from twofold.fusion import WeightedSum
from twofold.index import IndexView
from twofold.training.acceptance import Values
from twofold.training.data.examples import TrainingSet
from twofold.tuning import TuningObjective
from twofold.types import Mode, Run, Scores, Vectors

_HITS = 100
_DENSE_ONLY = WeightedSum(dense_weight=1.0)


@dataclass(frozen=True, slots=True)
class SearchQuality:
    """Judged queries of one view, measured under one setting with any vectors."""

    view: IndexView
    training_set: TrainingSet
    measure: str
    profile: SearchProfile

    @property
    def mode(self) -> Mode:
        """The mode that the index serves at its best."""
        return "hybrid" if self.view.snapshot.lexical is not None else "dense"

    def bench(self, vectors: Vectors) -> TuningObjective:
        """Return a bench of both legs where queries have these vectors (n, dim)."""
        own = self.training_set
        return TuningObjective.of(self.view, own.queries, own.qrels, self.measure, vectors)

    def values(self, vectors: Vectors) -> Values:
        """Return the measure of each query (n,), hybrid if there are two legs, and dense."""
        if self.mode == "dense":
            return {"dense": self._dense(vectors)}
        bench = self.bench(vectors)
        alone = SearchProfile(_DENSE_ONLY, self.profile.depth, None, self.profile.title_weight)
        return {"hybrid": bench.values(self.profile), "dense": bench.values(alone)}

    def _dense(self, vectors: Vectors) -> Scores:
        """Return the measure of each query where there is no lexical leg."""
        run: Run = {}
        found = self.view.dense(vectors, _HITS, None, 1.0)
        for query_id, hits in zip(self.training_set.queries, found, strict=True):
            # Ranks instead of scores, since trec_eval would put the later id first in a tie.
            ids = self.view.ids(hits.rows)
            run[query_id] = {each: float(-rank) for rank, each in enumerate(ids)}
        measure = parse_measure(self.measure)
        qrels: Mapping[str, Mapping[str, int]] = self.training_set.qrels
        _, by_query = compute_measures([measure], qrels, run)
        return np.array([by_query[each][str(measure)] for each in self.training_set.queries])
