"""The bench: what any setting gives on judged queries, each thing computed once."""

import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from twofold.backend import SearchProfile
from twofold.errors import DegradedWarning, InputError, QueryError
from twofold.evaluation.measures import (
    check_judgments,
    compute_measures,
    judged_queries,
    parse_measure,
)
from twofold.fusion import FUSIONS, GuardedFusion, LegScores, WeightedFusion, WeightedSum
from twofold.index import IndexView
from twofold.index.saved_records import default_title_weight
from twofold.retriever import DEPTH
from twofold.tuning.candidate_matrix import Candidates, QueryBatch
from twofold.types import LegHits, Rows, Run, Scores, Vectors

_Value = TypeVar("_Value")


class ByteLRU(Generic[_Value]):
    """Values by key, those asked for last; together at most ``room`` bytes, or one value."""

    def __init__(self, room: int, size: Callable[[_Value], int]) -> None:
        self._room = room
        self._size = size
        self._used = 0
        self._values: OrderedDict[Hashable, _Value] = OrderedDict()

    def get(self, key: Hashable, made: Callable[[], _Value]) -> _Value:
        """Return the value of a key, made anew where it isn't kept."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        value = made()
        self._values[key] = value
        self._used += self._size(value)
        while self._used > self._room and len(self._values) > 1:
            _, gone = self._values.popitem(last=False)
            self._used -= self._size(gone)
        return value


@dataclass(frozen=True, slots=True)
class Relevant:
    """The relevant candidates of all queries, one after the other, and what is found at best.

    ``queries`` and ``places`` (r,) say where each stands in arrays (queries, candidates),
    ``grades`` (r,) are above 0, and ``ideal`` (queries,) is the discounted gain of the best order
    of all passages judged relevant, candidates or not.
    """

    queries: NDArray[np.int64]
    places: NDArray[np.int64]
    grades: Scores
    ideal: Scores

    @classmethod
    def among(cls, rows: Rows, judged: Sequence[Mapping[int, int]], k: int) -> "Relevant":
        """Find them among rows (queries, candidates) by the grades above 0 of each query."""
        found: list[tuple[int, int, int]] = []
        for query, grades in enumerate(judged):
            places = np.flatnonzero(np.isin(rows[query], [each for each in grades if each >= 0]))
            found += [(query, place, grades[int(rows[query, place])]) for place in places.tolist()]
        columns = np.array(found, np.int64).reshape(-1, 3)
        ideal = np.array([_ideal_gain(list(grades.values()), k) for grades in judged])
        return cls(columns[:, 0], columns[:, 1], columns[:, 2].astype(np.float64), ideal)


def ndcg(scores: Scores, relevant: Relevant, k: int) -> Scores:
    """Return nDCG@k (queries,) of scores (queries, candidates), equal ones in their order.

    Gains are grades, discounted by log2(rank + 1), as trec_eval has it: Jarvelin and Kekalainen,
    Cumulated Gain-Based Evaluation of IR Techniques (TOIS 20, 2002). Only the ranks of relevant
    candidates are found, which is quicker than sorting. 0 for a query without anything relevant.
    """
    rows = scores[relevant.queries]
    own = rows[np.arange(len(rows)), relevant.places][:, None]
    before = np.arange(scores.shape[1]) < relevant.places[:, None]
    ranks = 1 + (rows > own).sum(axis=1) + ((rows == own) & before).sum(axis=1)
    gains = np.where(ranks <= k, relevant.grades / np.log2(ranks + 1), 0.0)
    totals = np.bincount(relevant.queries, gains, minlength=len(scores))
    return np.divide(totals, relevant.ideal, out=np.zeros(len(scores)), where=relevant.ideal > 0)


def _ideal_gain(grades: Sequence[int], k: int) -> float:
    """Return the discounted cumulative gain of the best order of grades, cut at ``k``."""
    best = np.sort(np.array(grades, np.float64))[::-1][:k]
    return float((best / np.log2(np.arange(2, len(best) + 2))).sum())


HITS = 100
"""Hits that a measure without a cutoff sees."""
_ROOM = 1 << 29  # bytes of candidates, and of fused scores, that are kept
_Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class _Gathered:
    """Candidates, which of them are relevant, and what they depend on."""

    key: _Key
    candidates: Candidates
    relevant: Relevant


class TuningObjective:
    """Measures settings on the judged queries of one view of an index.

    What it gives for a setting is what a retriever with it gives: the same legs are asked and the
    same fusions, but each (weight of titles, scoring function, depth) only once, and each fusion
    only with all the weight on either leg, since scores are linear in the weight.
    """

    def __init__(
        self,
        view: IndexView,
        queries: Mapping[str, str],
        qrels: Mapping[str, Mapping[str, int]],
        vectors: Vectors,
        measure: str,
    ) -> None:
        self.queries = tuple(queries)
        self.title_weight = view.snapshot.settings.title_weight
        self._view = view
        self._qrels = {query_id: dict(qrels[query_id]) for query_id in queries}
        self._grades = [_grades(view, each) for each in self._qrels.values()]
        _warn_of_unknown(self._grades)
        self._measure = parse_measure(measure)
        self._k = int(self._measure.params.get("cutoff", HITS))
        self._asked = {self.title_weight: QueryBatch.of(view, tuple(queries.values()), vectors)}
        self._dense: dict[int, list[LegHits]] = {}
        self._guards: dict[GuardedFusion, Scores] = {}
        self._values: dict[SearchProfile, Scores] = {}
        self._gathered: ByteLRU[_Gathered] = ByteLRU(_ROOM, lambda each: each.candidates.nbytes)
        self._poles: ByteLRU[tuple[Scores, Scores]] = ByteLRU(
            _ROOM, lambda each: 2 * each[0].nbytes
        )

    @classmethod
    def of(
        cls,
        view: IndexView,
        queries: Mapping[str, str],
        qrels: Mapping[str, Mapping[str, int]],
        measure: str,
        vectors: Vectors | None = None,
    ) -> "TuningObjective":
        """Return a bench for those of the queries that are judged and not blank.

        ``vectors`` (n, dim) are those of all queries in their order, if not the encoder's.

        Warns (DegradedWarning) of relevant passages that are not in the index, and of judged
        queries without a text. Raises QueryError for an index that is empty or lacks a leg,
        InputError where nothing can be measured.
        """
        if not view.count:
            raise QueryError("the index is empty: upsert passages before tuning")
        if view.snapshot.lexical is None or view.snapshot.dense is None:
            raise QueryError(
                "tuning weighs two legs, and this index lacks one: give it vectors by upsert or "
                "reencode, or words by reanalyze"
            )
        check_judgments(qrels)
        judged = judged_queries(queries, qrels, stacklevel=3)
        judged = {query_id: text for query_id, text in judged.items() if text.strip()}
        if not judged:
            raise InputError("all judged queries are blank: a text is wanted")
        if vectors is not None and len(vectors) != len(queries):
            raise InputError(f"{len(queries):,} queries came with {len(vectors):,} vectors")
        if vectors is None:
            vectors = view.encode_queries(list(judged.values()))
        else:
            vectors = vectors[[place for place, each in enumerate(queries) if each in judged]]
        return cls(view, judged, qrels, vectors, measure)

    @property
    def has_titles(self) -> bool:
        """Whether any passage has a title."""
        view = self._view
        return any(each.title for each in view.reader.passages_between(0, view.snapshot.state.next_row))

    @property
    def passages(self) -> int:
        """The number of passages."""
        return self._view.snapshot.state.passages

    def values(self, profile: SearchProfile) -> Scores:
        """Return the measure of each query (queries,) under a setting."""
        if profile not in self._values:
            gathered = self._of(profile)
            self._values[profile] = self._measured(gathered, self._fused(gathered, profile.fusion))
        return self._values[profile]

    def all_values(self) -> Scores:
        """Return the values (settings, queries) of every setting that was measured so far."""
        return np.stack(list(self._values.values()))

    def _of(self, profile: SearchProfile) -> _Gathered:
        """Return the candidates of a setting."""
        limit = max(profile.depth, self._k)
        key = (profile.title_weight, profile.scorer, limit)

        def made() -> _Gathered:
            asked = self._asked_of(profile.title_weight)
            if limit not in self._dense:
                self._dense[limit] = asked.dense(limit)
            candidates = Candidates.gathered(asked, self._dense[limit], limit, profile.scorer)
            relevant = Relevant.among(candidates.rows, self._grades, self._k)
            return _Gathered(key, candidates, relevant)

        return self._gathered.get(key, made)

    def _asked_of(self, title_weight: int) -> QueryBatch:
        if title_weight not in self._asked:
            own = self._asked[self.title_weight]
            self._asked[title_weight] = replace(own, view=self._view.retitled(title_weight))
        return self._asked[title_weight]

    def _fused(self, gathered: _Gathered, fusion: WeightedFusion) -> Scores:
        """Return fused scores (queries, width)."""
        bare = fusion.fusion if isinstance(fusion, GuardedFusion) else fusion
        lexical_only, dense_only = bare.with_dense_weight(0.0), bare.with_dense_weight(1.0)
        candidates = gathered.candidates
        dense, lexical = self._poles.get(
            (gathered.key, dense_only),
            lambda: (candidates.fused(dense_only), candidates.fused(lexical_only)),
        )
        weight = self._guarded(fusion) if isinstance(fusion, GuardedFusion) else fusion.dense_weight
        return np.asarray(weight * dense + (1 - weight) * lexical)

    def _guarded(self, fusion: GuardedFusion) -> Scores:
        """Return the weight (queries, 1) that a guard leaves the dense leg, query by query."""
        probe = replace(fusion, fusion=WeightedSum(dense_weight=fusion.dense_weight))
        if probe not in self._guards:
            qualities, of_query = np.unique(
                self._asked[self.title_weight].qualities, return_inverse=True
            )
            dense = _no_evidence(self._view.dense_quality)
            weights = [
                float(probe.fuse(dense, _no_evidence(each)).dense_weight)
                for each in qualities.tolist()
            ]
            self._guards[probe] = np.array(weights)[of_query][:, None]
        return self._guards[probe]

    def _measured(self, gathered: _Gathered, scores: Scores) -> Scores:
        """Return the measure of each query's best ``k``."""
        if self._measure.NAME == "nDCG" and set(self._measure.params) <= {"cutoff"}:
            return ndcg(scores, gathered.relevant, self._k)
        run: Run = {}
        for place, query_id in enumerate(self.queries):
            size = int(gathered.candidates.sizes[place])
            best = np.argsort(-scores[place, :size], kind="stable")[: self._k]
            found = self._view.ids(gathered.candidates.rows[place, best])
            # Ranks instead of scores, since trec_eval would put the later id first in a tie.
            run[query_id] = {each: float(-rank) for rank, each in enumerate(found)}
        _, by_query = compute_measures([self._measure], self._qrels, run)
        return np.array([by_query[each][str(self._measure)] for each in self.queries])


def _grades(view: IndexView, judged: Mapping[str, int]) -> dict[int, int]:
    """Return the grades above 0 by row; by numbers below 0 for passages that are not there."""
    grades: dict[int, int] = {}
    for passage_id, grade in judged.items():
        if grade > 0:
            row = view.row_of(passage_id)
            grades[row if row is not None else -1 - len(grades)] = grade
    return grades


def _warn_of_unknown(judged: Sequence[Mapping[int, int]]) -> None:
    """Warn if relevant passages are not in the index."""
    lacking = sum(row < 0 for grades in judged for row in grades)
    if lacking:
        total = sum(map(len, judged))
        warnings.warn(
            f"{lacking:,} of {total:,} relevant passages are not in the index, and no setting can "
            "find them: are these qrels of this corpus?",
            DegradedWarning,
            stacklevel=5,
        )


def _no_evidence(quality: float) -> LegScores:
    return LegScores(np.empty(0), np.empty(0, np.int64), 0.0, quality=quality)


def defaults(view: IndexView) -> SearchProfile:
    """Return what searches of an index use while no saved setting is in use."""
    return SearchProfile(
        FUSIONS["guarded"], DEPTH, None, default_title_weight(view.snapshot.settings)
    )


def in_use(view: IndexView) -> SearchProfile:
    """Return what searches use now."""
    if view.profile is None:
        return defaults(view)
    return replace(view.profile, title_weight=view.snapshot.settings.title_weight)
