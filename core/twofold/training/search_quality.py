"""Search quality of an index for given query vectors."""

from dataclasses import dataclass

from twofold.backend import SearchProfile, SearchScope
from twofold.evaluation.measures import measure_rankings
from twofold.fusion import WeightedSum
from twofold.training.acceptance import QueryMeasures
from twofold.training.data.examples import TrainingSet
from twofold.tuning import TuningObjective
from twofold.types import Mode, Vectors

_HITS = 100
_DENSE_ONLY = WeightedSum(dense_weight=1.0)


@dataclass(frozen=True, slots=True)
class SearchQuality:
    """Measures judged queries on one open search, under one search profile.

    Attributes:
        scope: The open search.
        training_set: The queries, with their relevant passages.
        measure: The measure, in the syntax of ir_measures.
        profile: The search profile of the hybrid mode.
    """

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
        """Search with query vectors, and measure each query.

        Args:
            vectors: The queries' vectors (n, dim), in the order of the training set.

        Returns:
            The measure of each query (n,) by mode: hybrid and dense, or dense alone.
        """
        if self.mode == "dense":
            found = self.scope.session.search_dense(vectors, _HITS, None, 1.0)
            ids = [self.scope.ids(hits.rows) for hits in found]
            rankings = dict(zip(self.training_set.queries, ids, strict=True))
            return {"dense": measure_rankings(rankings, self.training_set.qrels, self.measure)}
        objective = self.objective(vectors)
        dense = SearchProfile(_DENSE_ONLY, self.profile.depth, None, self.profile.title_weight)
        return {"hybrid": objective.values(self.profile), "dense": objective.values(dense)}
