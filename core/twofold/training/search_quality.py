"""Search quality of an index for given query vectors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twofold.backend import SearchProfile, SearchScope
from twofold.evaluation.measures import compute_measures, parse_measure
from twofold.fusion import WeightedSum
from twofold.training.acceptance import QueryMeasures
from twofold.training.data.examples import TrainingSet
from twofold.tuning import TuningObjective
from twofold.types import Mode, Run, Scores, Vectors

_HITS = 100
_DENSE_ONLY = WeightedSum(dense_weight=1.0)


@dataclass(frozen=True, slots=True)
class SearchQuality:
    """Measures judged queries on one open search, under one search profile."""

    scope: SearchScope
    training_set: TrainingSet
    measure: str
    profile: SearchProfile

    @property
    def mode(self) -> Mode:
        """``"hybrid"``, or ``"dense"`` if the index has no lexical leg."""
        return "hybrid" if self.scope.has_lexical else "dense"

    def objective(self, vectors: Vectors) -> TuningObjective:
        """Return the tuning objective for query vectors of shape (n, dim)."""
        judged = self.training_set
        return TuningObjective.from_qrels(
            self.scope, judged.queries, judged.qrels, self.measure, vectors
        )

    def evaluate(self, vectors: Vectors) -> QueryMeasures:
        """Return the measure of each query by mode, for query vectors of shape (n, dim)."""
        if self.mode == "dense":
            found = self.scope.session.search_dense(vectors, _HITS, None, 1.0)
            rankings = [self.scope.ids(hits.rows) for hits in found]
            return {"dense": measure_rankings(self.training_set, rankings, self.measure)}
        objective = self.objective(vectors)
        dense = SearchProfile(_DENSE_ONLY, self.profile.depth, None, self.profile.title_weight)
        return {"hybrid": objective.values(self.profile), "dense": objective.values(dense)}


def measure_rankings(
    training_set: TrainingSet, rankings: Sequence[Sequence[str]], measure: str
) -> Scores:
    """Return the measure of each query (n,), given the ids of its hits, best first."""
    # Negative ranks stand for scores, because trec_eval breaks ties by the later id.
    run: Run = {
        example.query_id: {passage_id: float(-rank) for rank, passage_id in enumerate(ids)}
        for example, ids in zip(training_set, rankings, strict=True)
    }
    parsed = parse_measure(measure)
    _, by_query = compute_measures([parsed], training_set.qrels, run)
    return np.array([by_query[example.query_id][str(parsed)] for example in training_set])
