"""One query searched again, deeper, with one passage in mind."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from twofold.backend import SearchScope
from twofold.fusion import Fusion, LegScores
from twofold.results import Hits
from twofold.retriever.candidates import CandidateSet
from twofold.retriever.leg_search import complete_legs
from twofold.retriever.pipeline import AnsweredQuery, run_search
from twofold.retriever.search_plan import SearchOptions, SearchPlan, cap_limit
from twofold.types import Leg, LegHits

SEARCHED = 10_000
"""Passages of each leg that are looked through for the passage's rank."""


@dataclass(frozen=True, slots=True)
class Rerun:
    """The deep lists of the legs for one query, and the passage that is asked about.

    Attributes:
        scope: An open search of the query's generation.
        answered: The query, and how it was answered.
        options: Its options.
        lists: The best passages of each leg by an exact search.
        key: The passage's key.
        passage_id: The passage's id.
    """

    scope: SearchScope
    answered: AnsweredQuery
    options: SearchOptions
    lists: Mapping[Leg, LegHits]
    key: int
    passage_id: str

    @classmethod
    def from_query(
        cls, scope: SearchScope, answered: AnsweredQuery, key: int, passage_id: str
    ) -> "Rerun":
        """Search the legs of a query deeply."""
        options = replace(answered.plan.options, observer=None)
        query, plan = answered.query, answered.plan
        limit = cap_limit(scope, max(SEARCHED, answered.limit))
        lists: dict[Leg, LegHits] = {}
        if options.mode != "lexical" and query.vector is not None:
            vectors = query.vector[None, :]
            (lists["dense"],) = scope.session.search_dense(vectors, limit, plan.where, math.inf)
        if options.mode != "dense" and query.text is not None:
            texts = [query.text]
            (lists["lexical"],) = scope.session.search_lexical(
                texts, limit, plan.where, plan.scorer
            )
        return cls(scope, answered, options, lists, key, passage_id)

    @property
    def searched(self) -> int:
        """How many passages of each leg were looked through."""
        return cap_limit(self.scope, max(SEARCHED, self.answered.limit))

    @property
    def ranks(self) -> dict[Leg, int]:
        """The passage's rank in each leg that lists it."""
        found = {leg: np.flatnonzero(hits.rows == self.key) for leg, hits in self.lists.items()}
        return {leg: int(at[0]) + 1 for leg, at in found.items() if len(at)}

    def score(self, leg: Leg) -> float:
        """Return the passage's raw score in a leg, NaN where it can't be scored."""
        query, key = self.answered.query, np.array([self.key])
        if not self.scope.capabilities.completes:
            rank = self.ranks.get(leg)
            return float(self.lists[leg].scores[rank - 1]) if rank is not None else math.nan
        if leg == "dense" and query.vector is not None:
            return float(self.scope.dense_scores(query.vector, key)[0])
        if leg == "lexical" and query.text is not None:
            return float(self.scope.lexical_scores(query.text, key, self.answered.plan.scorer)[0])
        return math.nan

    def candidates(self, limit: int, fusion: Fusion) -> CandidateSet:
        """Return the candidates where each leg brings ``limit``, and the passage among them."""
        lists = {
            leg: LegHits(hits.rows[:limit], hits.scores[:limit]) for leg, hits in self.lists.items()
        }
        plan = replace(self.answered.plan, fusion=fusion)
        (found,) = complete_legs(self.scope, plan, [self.answered.query], [lists])
        if self.key in found.keys:
            return found
        keys = np.append(found.keys, self.key)
        legs = {leg: self._append(leg, scores) for leg, scores in found.legs.items()}
        if found.fused is None:
            ((scores),) = legs.values()
            return CandidateSet(keys, legs, None, scores.completed)
        fused = fusion.fuse(legs["dense"], legs["lexical"])
        return CandidateSet(keys, legs, fused, fused.scores)

    def misses(self, leg: Leg, limit: int) -> bool:
        """Return whether the query's approximate search missed the passage within its depth."""
        vector = self.answered.query.vector
        within = self.ranks.get(leg, self.searched + 1) <= limit
        if leg == "lexical" or self.options.exact or vector is None or not within:
            return False
        plan: SearchPlan = self.answered.plan
        (found,) = self.scope.session.search_dense(vector[None, :], limit, plan.where, plan.effort)
        return self.key not in found.rows

    def find_place(self, candidates: CandidateSet, limit: int, count: int) -> int | None:
        """Return the passage's place, from 1, among the first ``count`` hits; None if not there."""
        selection, vector = self.options.selection, self.answered.query.vector
        count = count if selection.compares else len(candidates.keys)
        selected, _ = selection.select(self.scope, candidates, limit, count, vector)
        found = np.flatnonzero(candidates.keys[selected] == self.key)
        return int(found[0]) + 1 if len(found) else None

    def returns_passage(self, changes: Mapping[str, Any]) -> bool:
        """Return whether the same query with other options has the passage among its hits."""
        target = self.answered.target()
        assert target is not None  # held by whoever asks
        query = self.answered.query
        texts = None if query.text is None else [query.text]
        vectors = None
        if query.given and query.vector is not None:
            vectors = query.vector[None, :]
        options = replace(self.options, **changes)
        (hits,) = run_search(target, options, texts, vectors, _unexplained)
        return self.passage_id in hits.ids

    def _append(self, leg: Leg, scores: LegScores) -> LegScores:
        """Return a leg's scores, with that of the passage, which it doesn't list, appended."""
        return replace(
            scores,
            scores=np.append(scores.scores, self.score(leg)),
            ranks=np.append(scores.ranks, 0),
        )


def _unexplained(answered: AnsweredQuery, passage_id: str, hits: Hits) -> Any:
    """Stand in for the explanation of hits that are only looked through."""
    raise NotImplementedError
