"""Measures search profiles on judged queries, and caches the intermediate results."""

import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from twofold.backend import Keys, SearchProfile, SearchScope
from twofold.errors import DegradedWarning, InputError, QueryError
from twofold.evaluation.measures import (
    Qrels,
    check_qrels,
    judged_queries,
    measure_rankings,
    parse_measure,
)
from twofold.fusion import FUSIONS, GuardedFusion, LegScores, WeightedFusion, WeightedSum
from twofold.retriever import DEPTH
from twofold.retriever.candidates import LegResults, QueryInput
from twofold.tuning.candidate_matrix import CandidateMatrix
from twofold.types import LegHits, Scores, Vectors

_HITS = 100  # seen by a measure without a cutoff
_CACHE_BYTES = 1 << 29  # of candidates, and of fused scores
_Value = TypeVar("_Value")


class ByteLRU(Generic[_Value]):
    """A least-recently-used cache of at most ``_CACHE_BYTES`` by ``size``, or of one value."""

    def __init__(self, size: Callable[[_Value], int]) -> None:
        self._size = size
        self._used = 0
        self._values: OrderedDict[Hashable, _Value] = OrderedDict()

    def get_or_create(self, key: Hashable, create: Callable[[], _Value]) -> _Value:
        """Return the cached value of a key, or create and cache it."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        value = create()
        self._values[key] = value
        self._used += self._size(value)
        while self._used > _CACHE_BYTES and len(self._values) > 1:
            _, evicted = self._values.popitem(last=False)
            self._used -= self._size(evicted)
        return value


@dataclass(frozen=True, slots=True)
class RelevantCandidates:
    """The relevant candidates of all queries, concatenated.

    ``queries`` and ``columns`` (r,) are their indices in arrays of shape (queries, candidates),
    ``grades`` (r,) are above 0, and ``ideal`` (queries,) is the DCG of the best possible ranking.
    """

    queries: NDArray[np.int64]
    columns: NDArray[np.int64]
    grades: Scores
    ideal: Scores

    @classmethod
    def from_keys(
        cls, keys: Keys, judged: Sequence[Mapping[int, int]], k: int
    ) -> "RelevantCandidates":
        """Find the relevant candidates among keys (queries, candidates).

        ``judged`` has grades by key for each query, with negative keys for passages that the index
        lacks. ``k`` is the cutoff of the ideal DCG.
        """
        found: list[tuple[int, int, int]] = []
        for query, grades in enumerate(judged):
            columns = np.flatnonzero(np.isin(keys[query], [key for key in grades if key >= 0]))
            found += [(query, at, grades[int(keys[query, at])]) for at in columns.tolist()]
        table = np.array(found, np.int64).reshape(-1, 3)
        ideal = np.array([_ideal_dcg(list(grades.values()), k) for grades in judged])
        return cls(table[:, 0], table[:, 1], table[:, 2].astype(np.float64), ideal)


def ndcg(scores: Scores, relevant: RelevantCandidates, k: int) -> Scores:
    """Return nDCG@k of each query (queries,) for scores (queries, candidates).

    Equal scores keep their order. Gains are the grades, discounted by log2(rank + 1), as in
    trec_eval: Jarvelin and Kekalainen, Cumulated Gain-Based Evaluation of IR Techniques (TOIS 20,
    2002). Only relevant candidates are ranked, which is faster than sorting. A query without
    relevant passages counts as 0.
    """
    rows = scores[relevant.queries]
    relevant_scores = rows[np.arange(len(rows)), relevant.columns][:, None]
    earlier = np.arange(scores.shape[1]) < relevant.columns[:, None]
    ranks = 1 + (rows > relevant_scores).sum(axis=1)
    ranks += ((rows == relevant_scores) & earlier).sum(axis=1)
    gains = np.where(ranks <= k, relevant.grades / np.log2(ranks + 1), 0.0)
    totals = np.bincount(relevant.queries, gains, minlength=len(scores))
    return np.divide(totals, relevant.ideal, out=np.zeros(len(scores)), where=relevant.ideal > 0)


def _ideal_dcg(grades: Sequence[int], k: int) -> float:
    """Return the discounted cumulative gain of the best order of grades, cut at ``k``."""
    best = np.sort(np.array(grades, np.float64))[::-1][:k]
    return float((best / np.log2(np.arange(2, len(best) + 2))).sum())


@dataclass(frozen=True, slots=True)
class _JudgedCandidates:
    """Candidates and the relevant ones among them, with a cache key of the settings used."""

    key: Hashable
    candidates: CandidateMatrix
    relevant: RelevantCandidates


class TuningObjective:
    """Measures search profiles on judged queries, by the rankings that retrievers would return.

    Each combination of title weight, scorer and depth is searched only once. Each fusion rule is
    computed only for dense weights 0 and 1, because fused scores are linear in the weight.

    Args:
        scope: The open search.
        queries: Query id to text; all are judged, and none is blank.
        qrels: Query id to passage id to grade.
        vectors: The queries' vectors (n, dim).
        measure: The measure, in the syntax of ir_measures.
    """

    def __init__(
        self,
        scope: SearchScope,
        queries: Mapping[str, str],
        qrels: Qrels,
        vectors: Vectors,
        measure: str,
    ) -> None:
        self.queries = tuple(queries)
        self.title_weight = scope.session.corpus.title_weight
        self._scope = scope
        self._qrels = {query_id: dict(qrels[query_id]) for query_id in queries}
        self._grades = [_grades_by_key(scope, grades) for grades in self._qrels.values()]
        _warn_of_missing(self._grades)
        self._measure = measure
        parsed = parse_measure(measure)
        self._k = int(parsed.params.get("cutoff", _HITS))
        self._is_ndcg = parsed.NAME == "nDCG" and set(parsed.params) <= {"cutoff"}
        self._texts, self._vectors = list(queries.values()), vectors
        self._inputs = [QueryInput(t, v) for t, v in zip(self._texts, vectors, strict=True)]
        statistics = scope.statistics
        coverage = statistics.term_coverage if statistics is not None else lambda _: 1.0
        self._coverages = np.array([coverage(text) for text in self._texts], np.float64)
        self._scopes = {self.title_weight: scope}
        self._dense: dict[int, list[LegHits]] = {}
        self._guard_weights: dict[GuardedFusion, Scores] = {}
        self._values: dict[SearchProfile, Scores] = {}
        self._candidates = ByteLRU[_JudgedCandidates](lambda judged: judged.candidates.nbytes)
        self._leg_fusions = ByteLRU[tuple[Scores, Scores]](lambda pair: 2 * pair[0].nbytes)

    @classmethod
    def from_qrels(
        cls,
        scope: SearchScope,
        queries: Mapping[str, str],
        qrels: Qrels,
        measure: str,
        vectors: Vectors | None = None,
    ) -> "TuningObjective":
        """Return the objective for those queries that are judged and not blank.

        ``vectors`` (n, dim) are those of all ``queries``. Without them the queries are encoded.

        Raises:
            QueryError: The index is empty or lacks a leg.
            InputError: The judgments can't be used, or no query is judged.
        """
        if not scope.session.corpus.passages:
            raise QueryError("the index is empty: upsert passages before tuning")
        if "hybrid" not in scope.capabilities.modes or scope.session.corpus.metric is None:
            raise QueryError(
                "tuning needs both legs, and this index lacks one: add vectors by upsert or "
                "reencode, or postings by reanalyze"
            )
        check_qrels(qrels)
        judged = judged_queries(queries, qrels, stacklevel=3)
        judged = {query_id: text for query_id, text in judged.items() if text.strip()}
        if not judged:
            raise InputError("all judged queries are blank: pass queries with a text")
        if vectors is None:
            vectors = scope.encode_queries(list(judged.values()))
        elif len(vectors) != len(queries):
            raise InputError(f"pass {len(queries):,} vectors, one per query, not {len(vectors):,}")
        else:
            vectors = vectors[[at for at, query_id in enumerate(queries) if query_id in judged]]
        return cls(scope, judged, qrels, vectors, measure)

    @property
    def takes_scorers(self) -> bool:
        """Whether the search engine takes a lexical scorer, such as BM25(b=0.5), per query."""
        return self._scope.capabilities.scorers

    @property
    def has_titles(self) -> bool:
        """Whether titles can be weighted, and any passage has a title."""
        statistics = self._scope.statistics
        if self._scope.weigh_titles is None or statistics is None:
            return False
        passages = self._scope.session.fetch(statistics.list_keys()).passages
        return any(passage.title for passage in passages)

    @property
    def passages(self) -> int:
        """The number of passages in the index."""
        return self._scope.session.corpus.passages

    def values(self, profile: SearchProfile) -> Scores:
        """Return the measure of each query (queries,) under a profile."""
        if profile not in self._values:
            judged = self._gather(profile)
            self._values[profile] = self._compute(judged, self._fuse(judged, profile.fusion))
        return self._values[profile]

    def all_values(self) -> Scores:
        """Return the values (profiles, queries) of every profile measured so far."""
        return np.stack(list(self._values.values()))

    def _gather(self, profile: SearchProfile) -> _JudgedCandidates:
        """Return the candidates that a profile's fusion would rank."""
        limit = max(profile.depth, self._k)
        key = (profile.title_weight, profile.scorer, limit)

        def search() -> _JudgedCandidates:
            scope = self._weigh_titles(profile.title_weight)
            if limit not in self._dense:
                self._dense[limit] = scope.session.search_dense(self._vectors, limit, None, 1.0)
            lexical = scope.session.search_lexical(self._texts, limit, None, profile.scorer)
            lists: list[LegResults] = [
                {"dense": dense_hits, "lexical": lexical_hits}
                for dense_hits, lexical_hits in zip(self._dense[limit], lexical, strict=True)
            ]
            candidates = CandidateMatrix.from_lists(scope, self._inputs, lists, profile.scorer)
            relevant = RelevantCandidates.from_keys(candidates.keys, self._grades, self._k)
            return _JudgedCandidates(key, candidates, relevant)

        return self._candidates.get_or_create(key, search)

    def _weigh_titles(self, title_weight: int) -> SearchScope:
        """Return an open search in which titles have this weight."""
        if title_weight not in self._scopes:
            assert self._scope.weigh_titles is not None  # another weight is tried only then
            self._scopes[title_weight] = self._scope.weigh_titles(title_weight)
        return self._scopes[title_weight]

    def _fuse(self, judged: _JudgedCandidates, fusion: WeightedFusion) -> Scores:
        """Return the fused scores (queries, width) of the candidates."""
        bare = fusion.fusion if isinstance(fusion, GuardedFusion) else fusion
        lexical_only, dense_only = bare.with_dense_weight(0.0), bare.with_dense_weight(1.0)
        candidates = judged.candidates
        dense, lexical = self._leg_fusions.get_or_create(
            (judged.key, dense_only),
            lambda: (candidates.fuse(dense_only), candidates.fuse(lexical_only)),
        )
        weight: float | Scores = fusion.dense_weight
        if isinstance(fusion, GuardedFusion):
            weight = self._guarded_weights(fusion)
        return np.asarray(weight * dense + (1 - weight) * lexical)

    def _guarded_weights(self, fusion: GuardedFusion) -> Scores:
        """Return each query's dense weight (queries, 1) as the guard adjusts it."""
        probe = replace(fusion, fusion=WeightedSum(dense_weight=fusion.dense_weight))
        if probe not in self._guard_weights:
            coverages, inverse = np.unique(self._coverages, return_inverse=True)
            statistics = self._scope.statistics
            agreement = statistics.leg_agreement if statistics is not None else None
            dense = _empty_scores(agreement if agreement is not None else 1.0)
            weights = [
                float(probe.fuse(dense, _empty_scores(coverage)).dense_weight)
                for coverage in coverages.tolist()
            ]
            self._guard_weights[probe] = np.array(weights)[inverse][:, None]
        return self._guard_weights[probe]

    def _compute(self, judged: _JudgedCandidates, scores: Scores) -> Scores:
        """Return the measure of each query (queries,) for fused scores (queries, width)."""
        if self._is_ndcg:
            return ndcg(scores, judged.relevant, self._k)
        rankings: dict[str, Sequence[str]] = {}
        for query, query_id in enumerate(self.queries):
            size = len(judged.candidates.legs[query]["dense"].scores)
            best = np.argsort(-scores[query, :size], kind="stable")[: self._k]
            rankings[query_id] = self._scope.ids(judged.candidates.keys[query, best])
        return measure_rankings(rankings, self._qrels, self._measure)


def _grades_by_key(scope: SearchScope, judged: Mapping[str, int]) -> dict[int, int]:
    """Return the grades above 0 by key; missing passages get distinct negative keys."""
    relevant = {passage_id: grade for passage_id, grade in judged.items() if grade > 0}
    keys = scope.find_keys(list(relevant))
    grades: dict[int, int] = {}
    for passage_id, grade in relevant.items():
        grades[keys.get(passage_id, -1 - len(grades))] = grade
    return grades


def _warn_of_missing(judged: Sequence[Mapping[int, int]]) -> None:
    """Warn if relevant passages are not in the index."""
    missing = sum(key < 0 for grades in judged for key in grades)
    if missing:
        total = sum(map(len, judged))
        warnings.warn(
            f"{missing:,} of {total:,} relevant passages are not in the index, so no profile finds "
            "them: are these qrels of this corpus?",
            DegradedWarning,
            stacklevel=5,
        )


def _empty_scores(quality: float) -> LegScores:
    return LegScores(np.empty(0), np.empty(0, np.int64), 0.0, quality=quality)


def default_profile(scope: SearchScope) -> SearchProfile:
    """Return the profile of the library's defaults."""
    weight = scope.session.corpus.default_title_weight
    return SearchProfile(FUSIONS["guarded"], DEPTH, None, weight)


def active_profile(scope: SearchScope) -> SearchProfile:
    """Return the profile that searches use now, without its calibration, which others lack."""
    if scope.profile is None:
        return default_profile(scope)
    weight = scope.session.corpus.title_weight
    return replace(scope.profile, title_weight=weight, calibration=None)
