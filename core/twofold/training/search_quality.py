"""Measures the search quality of an index by query vectors, and makes control queries for it.

Control queries are of another kind than the training queries: they show whether other searches get
worse.
"""

from dataclasses import dataclass

import numpy as np

from twofold.backend import SearchProfile, SearchScope
from twofold.errors import InputError
from twofold.evaluation.measures import measure_rankings
from twofold.fusion import WeightedSum
from twofold.training.acceptance import QueryMeasures
from twofold.training.data.examples import TrainingSet
from twofold.training.data.splitting import normalize_query
from twofold.training.data.synthetic import FirstSentences, Titles, generate_examples
from twofold.tuning import TuningObjective
from twofold.types import Mode, Vectors

_HITS = 100
_DENSE_ONLY = WeightedSum(dense_weight=1.0)
_MAX_CONTROL = 300  # passages that control queries are made of
_MIN_CONTROL = 20  # control queries


@dataclass(frozen=True, slots=True)
class SearchQuality:
    """Measures judged queries on one open search; hybrid searches use ``profile``."""

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
        """Return each query's measure (n,) by mode: hybrid and dense, or only dense.

        ``vectors`` (n, dim) are the query vectors, in the order of the training set.
        """
        if self.mode == "dense":
            found = self.scope.session.search_dense(vectors, _HITS, None, 1.0)
            ids = [self.scope.ids(hits.keys) for hits in found]
            rankings = dict(zip(self.training_set.queries, ids, strict=True))
            return {"dense": measure_rankings(rankings, self.training_set.qrels, self.measure)}
        objective = self.objective(vectors)
        dense = SearchProfile(_DENSE_ONLY, self.profile.depth, None, self.profile.title_weight)
        return {"hybrid": objective.values(self.profile), "dense": objective.values(dense)}


def control_queries_from_passages(
    scope: SearchScope, judged: TrainingSet, train: TrainingSet, seed: int
) -> TrainingSet | None:
    """Make control queries from the titles, or else the first sentences, of sampled passages.

    Passages that are relevant to a ``judged`` query are skipped, and so are ``train`` queries.
    Returns None if too few queries are left.
    """
    keys = np.random.default_rng(seed).permutation(scope.list_keys())[: 4 * _MAX_CONTROL]
    relevant = judged.positives
    passages = scope.session.fetch(keys).passages
    others = [passage for passage in passages if passage.id not in relevant][:_MAX_CONTROL]
    trained = {normalize_query(example.query) for example in train}
    for generator in (Titles(), FirstSentences()):
        try:
            made = generate_examples(others, [generator], seed=seed)
        except InputError:
            continue  # no passage has a title, or none has more than a few words
        fresh = [example for example in made if normalize_query(example.query) not in trained]
        if len(fresh) >= min(_MIN_CONTROL, len(made)):
            return TrainingSet(tuple(fresh))
    return None
