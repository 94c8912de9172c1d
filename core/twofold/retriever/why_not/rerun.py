"""Trying out one query again, with one passage in mind, under other settings."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from twofold.backend import View
from twofold.fusion import Fused, Fusion, LegScores
from twofold.retriever.candidates import CandidateSet
from twofold.retriever.query_context import QueryContext
from twofold.retriever.search_plan import LegResults
from twofold.retriever.selection import CandidateFeatures, Places, ResultSelection
from twofold.types import Leg, LegHits, Rows

if TYPE_CHECKING:
    from twofold.retriever.retriever import Retriever

EVERYTHING = 1 << 31
"""Passages asked of a leg where all are wanted."""


@dataclass(frozen=True, slots=True)
class Rerun:
    """The whole lists of the legs for one query, and the ``row`` that is asked about.

    ``view`` is of the query's generation, and open where passages have to be read.
    """

    view: View
    inquiry: QueryContext
    lists: Mapping[Leg, LegHits]
    row: int

    @classmethod
    def of(cls, view: View, inquiry: QueryContext, row: int) -> "Rerun":
        """Let the legs list everything that the filter lets through, exactly."""
        mode, question, allowed = inquiry.retriever.mode, inquiry.question, inquiry.allowed
        lists: dict[Leg, LegHits] = {}
        if mode != "lexical" and question.vector is not None:
            vectors = question.vector[None, :]
            (lists["dense"],) = view.dense(vectors, EVERYTHING, allowed, math.inf)
        if mode != "dense" and question.text is not None:
            words = [question.text]
            (lists["lexical"],) = view.lexical(words, EVERYTHING, allowed, question.scorer)
        return cls(view, inquiry, lists, row)

    @property
    def ranks(self) -> dict[Leg, int]:
        """The passage's rank in each leg that lists it."""
        found = {leg: np.flatnonzero(hits.rows == self.row) for leg, hits in self.lists.items()}
        return {leg: int(at[0]) + 1 for leg, at in found.items() if len(at)}

    def first(self, limit: int) -> dict[Leg, LegHits]:
        """Return the lists of the legs where each is asked for ``limit``."""
        return {
            leg: LegHits(hits.rows[:limit], hits.scores[:limit]) for leg, hits in self.lists.items()
        }

    def pool(self, limit: int, fusion: Fusion) -> CandidateSet:
        """Return the candidates where each leg brings ``limit``."""
        first, completed = self.first(limit), None
        vector = self.inquiry.question.vector
        if len(first) == 2 and vector is not None:
            completed = self.view.dense_scores(vector, first["lexical"].rows)
        return CandidateSet.of(
            self.view, self.inquiry.question, LegResults(first, completed), fusion
        )

    def joined(self, pool: CandidateSet, fusion: Fusion) -> CandidateSet:
        """Return the pool with the passage in it, as a candidate that no leg lists."""
        if self.row in pool.rows:
            return pool
        rows: Rows = np.append(pool.rows, self.row)
        evidence: dict[Leg, LegScores] = {
            leg: replace(
                each,
                scores=np.append(each.scores, self.score(leg)),
                ranks=np.append(each.ranks, 0),
            )
            for leg, each in pool.evidence.items()
        }
        if pool.fused is None:
            ((only),) = evidence.values()
            return CandidateSet(rows, evidence, None, only.completed)
        fused = fusion.fuse(evidence["dense"], evidence["lexical"])
        return CandidateSet(rows, evidence, fused, fused.scores)

    def score(self, leg: Leg) -> float:
        """Return the passage's raw score in a leg, NaN where it can't be scored."""
        question, row = self.inquiry.question, np.array([self.row])
        if leg == "dense" and question.vector is not None:
            return float(self.view.dense_scores(question.vector, row)[0])
        if leg == "lexical" and question.text is not None:
            return float(self.view.lexical_scores(question.text, row, question.scorer)[0])
        return math.nan

    def misses(self, leg: Leg, limit: int) -> bool:
        """Whether the query's own search did not find the passage among a leg's ``limit`` best."""
        retriever, vector = self.inquiry.retriever, self.inquiry.question.vector
        within = self.ranks.get(leg, EVERYTHING) <= limit
        if leg == "lexical" or retriever.exact or vector is None or not within:
            return False  # exact by itself, or not to be found anyway
        allowed, effort = self.inquiry.allowed, retriever.effort
        (found,) = self.view.dense(vector[None, :], limit, allowed, effort)
        return self.row not in found.rows

    def brings(self, changed: "Retriever") -> bool:
        """Whether a retriever with other settings gives the passage for the same question."""
        question = self.inquiry.question
        (own,) = self.view.ids(np.array([self.row]))
        return own in changed.retrieve(question.text, vector=question.vector).ids

    def order(self, pool: CandidateSet, shape: ResultSelection, limit: int) -> Places:
        """Return the candidates in the order in which they would be hits, without a reranker.

        ``limit`` is how many passages each leg is asked for.
        """
        vector = self.inquiry.question.vector
        return shape.hits(self.view, pool, limit, len(pool.rows), vector)[0]

    def place(
        self,
        pool: CandidateSet,
        shape: ResultSelection,
        limit: int,
        count: int,
        looks: CandidateFeatures | None = None,
    ) -> tuple[int | None, int]:
        """Return the passage's place from 1 among the first ``count`` hits, and how many there are.

        The place is None if it is not among them. Where hits don't depend on one another, all are
        looked at, since that costs little; ``looks`` are the shape's.
        """
        count = count if shape.compares else len(pool.rows)
        vector = self.inquiry.question.vector
        order, _ = shape.hits(self.view, pool, limit, count, vector, looks)
        found = np.flatnonzero(pool.rows[order] == self.row)
        return (int(found[0]) + 1 if len(found) else None), len(order)


def fused_by(pool: CandidateSet, fusion: Fusion) -> CandidateSet:
    """Return the pool's candidates fused by another rule."""
    fused: Fused = fusion.fuse(pool.evidence["dense"], pool.evidence["lexical"])
    return CandidateSet(pool.rows, pool.evidence, fused, fused.scores)
