"""Sessions: searches and reads of a `MilvusBackend`, which see what the consistency promises."""

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from pymilvus import AnnSearchRequest, RRFRanker, WeightedRanker

from twofold.backend import CompletedScores, Completion, CorpusInfo, Fetched, Keys
from twofold.backends import stored_vectors
from twofold.backends.batches import count_terms
from twofold.backends.milvus.filters import FilterCompiler, has_token, hash_id, in_keys, type_token
from twofold.backends.milvus.rows import (
    FIELDS,
    KEYS_PER_QUERY,
    count_rows,
    passage_fields,
    query_all,
    query_keys,
    read_vectors,
)
from twofold.backends.milvus.schema import (
    MAX_RESULTS,
    SAMPLE,
    Collections,
    Sample,
    StoredState,
    as_score,
    is_exact,
    search_parameters,
)
from twofold.backends.milvus.server import Server
from twofold.backends.milvus.terms import encode_term, join_terms
from twofold.dense import PassageVectors
from twofold.errors import (
    ConcurrentDeleteError,
    CorruptIndexError,
    QueryError,
    VectorError,
)
from twofold.filters import Filter, type_name
from twofold.filters.values import ValueType, flatten_metadata
from twofold.index.saved_records import default_title_weight
from twofold.index.view import StoredPassages
from twofold.lexical import BM25
from twofold.lexical.query_terms import find_query_spans
from twofold.protocols import Analyzer, Scorer
from twofold.similarity import Metric
from twofold.types import LegHits, Mask, Moments, Scores, TermMatch, TermSpan, Vectors, Window
from twofold.validation import check_vectors

_SCORER = BM25()
_CONSTANT = _SCORER.k1 + 1.0
"""The factor of Milvus's BM25 that Lucene's leaves out, as the library does."""
_SPARE = 16
"""Hits asked for beyond k, so that of equal scores the ids decide which are among the k best."""
_RRF_K = 60
_BM25 = {"metric_type": "BM25", "params": {}}


class MilvusSession:
    """A session of a `MilvusBackend`. Keys are the numbers of passages, which ascend with time.

    Implements `SearchSession`, `CorpusStatistics`, `TermExplainer` and
    `WindowExplainer`.
    """

    def __init__(
        self,
        server: Server,
        collections: Collections,
        state: StoredState,
        analyzer: Analyzer | None,
        consistency: str,
    ) -> None:
        self.state = state
        self._server = server
        self._collections = collections
        self._names = collections.names
        self._analyzer = analyzer
        self._consistency = consistency
        self._exists = collections.load(self._names.passages)
        self._windows = state.has_windows and collections.load(self._names.windows)
        self._compiler = FilterCompiler(server.name, has_infix=server.has_infix)
        self._ids: dict[int, str] = {}
        self._corpus: CorpusInfo | None = None
        self._coverage: dict[str, float] = {}
        self._unfiltered: dict[str, list[dict[str, Any]]] = {}

    # SearchSession

    @property
    def corpus(self) -> CorpusInfo:
        """The corpus that this session sees."""
        if self._corpus is None:
            settings, vector_set = self.state.settings, self.state.vector_set
            self._corpus = CorpusInfo(
                self.state.generation,
                self._count(),
                settings.metric if vector_set is not None else None,
                settings.dim,
                vector_set.number if vector_set is not None else 0,
                settings.title_weight,
                default_title_weight(settings),
            )
        return self._corpus

    def search_dense(
        self, vectors: Vectors, k: int, where: Filter | None, effort: float
    ) -> list[LegHits]:
        """Return the k nearest passages of each query vector (n, dim) that match ``where``."""
        if self.state.vector_set is None or not self._exists or not len(vectors):
            return [LegHits.empty() for _ in vectors]
        kind = self.state.index_type
        if math.isinf(effort):
            if not is_exact(self._server, kind):
                raise QueryError(
                    f"{self._server.name} can't search the index type {kind!r} exactly: leave out "
                    "exact=True, or use index_type=Flat()"
                )
            effort = 1.0
        points = self._prepare_queries(vectors)
        condition = self._condition(where)
        first = self._with_vector(condition)
        limit = min(k + _SPARE, MAX_RESULTS)
        parameters = search_parameters(kind, self.state.metric, limit, effort)
        found = self._search(self._names.passages, points, "vector", limit, first, parameters)
        self._ids |= {hit["row"]: hit["id"] for hits in found for hit in hits}
        scores = [
            {hit["row"]: as_score(self.state.metric, hit["distance"]) for hit in hits}
            for hits in found
        ]
        if self._windows:
            for at, best in enumerate(self._search_windows(points, limit, condition, effort)):
                for row, score in best.items():
                    scores[at][row] = max(score, scores[at].get(row, -math.inf))
        return [self._rank(each, k) for each in scores]

    def search_lexical(
        self, texts: Sequence[str], k: int, where: Filter | None, scorer: Scorer | None
    ) -> list[LegHits]:
        """Return the k best passages of each query text by lexical score that match ``where``."""
        self._refuse_scorer(scorer)
        condition = self._condition(where)
        return [
            self._rank(scores, k)
            for scores in self._search_terms(
                [self._query_terms(text) for text in texts],
                min(k + _SPARE, MAX_RESULTS),
                condition,
            )
        ]

    def complete(self, wanted: Sequence[Completion]) -> list[CompletedScores]:
        """Return the dense and lexical scores for each `Completion`."""
        parts = [query.dense_keys for query in wanted if query.vector is not None]
        found = self._read_vectors(np.unique(np.concatenate(parts))) if parts else None
        completed: list[CompletedScores] = []
        for query in wanted:
            dense = np.full(len(query.dense_keys), np.nan)
            lexical = np.full(len(query.lexical_keys), np.nan)
            if found is not None and len(found) and query.vector is not None and len(dense):
                (point,) = self._prepare_queries(query.vector[None, :])
                dense = stored_vectors.best_scores(
                    self.state.metric, point, found, query.dense_keys
                )
            if len(query.lexical_keys) and query.text is not None:
                lexical = self._lexical_scores(query.text, query.lexical_keys)
            completed.append(CompletedScores(dense, lexical))
        return completed

    def fetch(
        self,
        keys: Keys | None = None,
        *,
        ids: Sequence[str] | None = None,
        texts: bool = True,
        vectors: bool = False,
    ) -> Fetched:
        """Return passages by key, or by id, leaving out unknown ids."""
        if not self._exists:
            return Fetched(np.empty(0, np.int64), ())
        if keys is not None and not texts:
            names = [self._ids[key] for key in keys.tolist()]
            found: dict[str, Any] = {}
        else:
            names = list(ids or ())
            if keys is not None:
                names = [self._ids[key] for key in keys.tolist()]
            fields = FIELDS if texts else ["row", "id"]
            hashes = [hash_id(name) for name in dict.fromkeys(names)]
            rows = query_keys(self._server, self._names.passages, hashes, fields, self._consistency)
            found = {row["id"]: row for row in rows}
            names = [name for name in names if name in found]
            if keys is not None and len(names) < len(keys):
                raise ConcurrentDeleteError(
                    f"{len(keys) - len(names)} passages were deleted by another client while they "
                    "were read: search again"
                )
        if keys is None:
            keys = np.array([found[name]["row"] for name in names], np.int64)
            self._ids |= dict(zip(keys.tolist(), names, strict=True))
        passages = StoredPassages([passage_fields(found[name]) for name in names]) if texts else ()
        if not vectors:
            return Fetched(keys, names, passages)
        if self.state.vector_set is None:
            empty = np.empty((len(keys), 0), np.float32)
            return Fetched(keys, names, passages, empty, np.zeros(len(keys), np.bool_))
        some = self._read_vectors(keys, windows=False)
        first = stored_vectors.first_vectors(some, keys, self.state.settings.dim or 0)
        return Fetched(keys, names, passages, *first)

    def matches(self, where: Filter, keys: Keys) -> Mask:
        """Return, for each key, whether its passage matches the filter."""
        if not len(keys):
            return np.zeros(0, np.bool_)
        condition = self._compiler.compile(where)
        rows = query_keys(
            self._server,
            self._names.passages,
            self._hashes(keys),
            ["row"],
            self._consistency,
            condition,
        )
        return np.isin(keys, np.array([row["row"] for row in rows], np.int64))

    # CorpusStatistics

    @property
    def leg_agreement(self) -> float | None:
        """How well the dense ranking agrees with the lexical one, 1.0 at best; None if unknown."""
        return self.state.settings.agreement

    def dense_moments(self, vector: Vectors) -> Moments:
        """Return the moments of the dense scores of all passages, or of 1,000 drawn at random."""
        sample = self._read_sample()
        if not len(sample.vectors):
            return Moments(0.0, 0.0)
        (point,) = self._prepare_queries(vector[None, :])
        scores = stored_vectors.best_scores(
            self.state.metric, point, sample.vectors, np.unique(sample.vectors.rows)
        )
        return Moments(float(scores.mean()), float(scores.std()))

    def lexical_moments(self, text: str, scorer: Scorer | None = None) -> Moments:
        """Return the moments of all passages' lexical scores, 0 for those without a shared term.

        If more share a term than Milvus returns, they are those of 1,000 drawn at random.
        """
        self._refuse_scorer(scorer)
        (found,) = self._search_terms([self._query_terms(text)], MAX_RESULTS, "")
        if len(found) < MAX_RESULTS:
            scores = np.zeros(max(self.corpus.passages, len(found), 1))
            scores[: len(found)] = list(found.values())
            return Moments(float(scores.mean()), float(scores.std()))
        sample = self._read_sample()
        self._ids |= sample.ids
        scores = self._lexical_scores(text, np.array(list(sample.ids), np.int64))
        return Moments(float(scores.mean()), float(scores.std()))

    def _read_sample(self) -> Sample:
        """Return a sample of all passages: keys are hashes, so their order is random."""
        known = self._collections.sample
        if known is None or known.generation != self.state.generation:
            rows = islice(self._read_all("", ["key", "row", "id"]), SAMPLE)
            ids = {row["row"]: row["id"] for row in rows}
            self._ids |= ids
            vectors = self._read_vectors(np.array(list(ids), np.int64))
            known = self._collections.sample = Sample(self.state.generation, ids, vectors)
        return known

    def least_dense_score(self, vector: Vectors) -> float:
        """Return a lower bound of every passage's dense score."""
        if self.state.vector_set is None:
            return 0.0
        if self.state.metric is Metric.COSINE:
            return -1.0
        length, longest = float(np.linalg.norm(vector.astype(np.float64))), self.state.longest
        if self.state.metric is Metric.EUCLIDEAN:
            return -(length + longest)
        return -length * longest

    def term_coverage(self, text: str) -> float:
        """Return the share of a query's distinct terms that any passage has; 1.0 without terms."""
        if text not in self._coverage:
            terms = list(dict.fromkeys(self._query_terms(text)))
            found = self._search_terms([[term] for term in terms], 1, "")
            known = sum(bool(scores) for scores in found)
            self._coverage[text] = known / len(terms) if terms else 1.0
        return self._coverage[text]

    def list_keys(self, where: Filter | None = None) -> Keys:
        """Return the keys of all passages that match ``where``, ascending."""
        condition = self._condition(where)
        rows = self._read_all(condition, ["row", "id"])
        listed = {row["row"]: row["id"] for row in rows}
        self._ids |= listed
        return np.array(sorted(listed), np.int64)

    def metadata_fields(self) -> list[str]:
        """Return the names of all metadata fields, sorted. Reads the metadata of all passages."""
        names: set[str] = set()
        for row in self._read_all("", ["metadata"]):
            names |= flatten_metadata(json.loads(row["metadata"])).keys()
        return sorted(names)

    def field_types(self, field: str) -> frozenset[str]:
        """Return the types of a field's values, such as "numbers"; none if no passage has it."""
        return frozenset(
            type_name(kind) for kind in ValueType if self._count(has_token(type_token(field, kind)))
        )

    # TermExplainer

    def term_matches(
        self, text: str, keys: Keys, scorer: Scorer | None = None
    ) -> list[tuple[TermMatch, ...]]:
        """Return, for each key, how the query terms in its passage contribute to its score.

        The contributions are Milvus's. Idf and average length are those of all passages, from
        which a shard's may differ; ``tf_weight`` is what remains of the contribution.
        """
        self._refuse_scorer(scorer)
        counts = Counter(self._query_terms(text))
        scored = self._score_keys([[term] for term in counts], keys)
        found = dict(zip(counts, scored, strict=True))
        total, idf = self.corpus.passages, {}
        frequencies = {
            term: self._count(f'text_match(terms, "{encode_term(term)}")')
            for term, scores in found.items()
            if scores
        }
        for term, frequency in frequencies.items():
            idf[term] = math.log(1.0 + (total - frequency + 0.5) / (frequency + 0.5))
        assert self._analyzer is not None  # the query has terms
        matches: list[tuple[TermMatch, ...]] = []
        for key, passage in zip(keys.tolist(), self.fetch(keys).passages, strict=True):
            occurring, length = count_terms(
                self._analyzer, passage, self.state.settings.title_weight
            )
            of_passage = [
                _explain_term(
                    term,
                    (counts[term], occurring.get(term, 0), frequencies[term], length),
                    idf[term],
                    counts[term] * scores[key],
                )
                for term, scores in found.items()
                if key in scores
            ]
            ordered = sorted(of_passage, key=lambda each: (-each.contribution, each.term))
            matches.append(tuple(ordered))
        return matches

    def term_spans(self, text: str, passages: Sequence[str]) -> list[list[TermSpan]]:
        """Return, for each text, the query terms' spans; none if the analyzer can't find them."""
        return find_query_spans(self._require_analyzer(), text, passages)

    # WindowExplainer

    def best_windows(self, vector: Vectors, keys: Keys) -> list[Window | None]:
        """Return, for each key, the window that scores best for one query vector (dim,)."""
        if self.state.vector_set is None:
            return [None] * len(keys)
        (point,) = self._prepare_queries(vector[None, :])
        found = self._read_vectors(keys)
        return stored_vectors.best_windows(self.state.metric, point, found, keys)

    def read_adapter(self, name: str) -> bytes:
        """Return a stored query adapter; raise CorruptIndexError if it is missing."""
        if name not in self.state.adapters:
            raise CorruptIndexError(f"query adapter {name!r} is missing: save it again")
        return self.state.adapters[name]

    # Searches

    def _search(
        self,
        collection: str,
        data: Sequence[str] | Vectors,
        field: str,
        k: int,
        condition: str,
        parameters: dict[str, Any],
    ) -> list[list[dict[str, Any]]]:
        """Return the row, id or key, and distance of the hits of each query."""
        fields = ["row", "id"] if collection == self._names.passages else ["row", "key"]
        found = self._server.call(
            "search",
            collection,
            data=list(data),
            anns_field=field,
            limit=k,
            filter=condition,
            output_fields=fields,
            search_params=parameters,
            consistency_level=self._consistency,
        )
        return [
            [{**hit["entity"], "distance": float(hit["distance"])} for hit in hits]
            for hits in found
        ]

    def _search_windows(
        self, points: Vectors, k: int, condition: str, effort: float
    ) -> list[dict[int, float]]:
        """Return the best window's score of each query's k nearest passages, by row."""
        limit, metric = min(4 * k, MAX_RESULTS), self.state.metric
        while True:
            parameters = search_parameters(self.state.index_type, metric, limit, effort)
            found = self._search(
                self._names.windows, points, "vector", limit, condition, parameters
            )
            full = [len(hits) == limit and len({hit["row"] for hit in hits}) < k for hits in found]
            if not any(full):
                break
            if limit == MAX_RESULTS:
                raise QueryError(
                    f"the {MAX_RESULTS:,} windows nearest to the query belong to fewer than {k:,} "
                    "passages, and Milvus returns no more: pass a smaller k or depth"
                )
            limit = min(4 * limit, MAX_RESULTS)
        self._learn_ids({hit["row"]: hit["key"] for hits in found for hit in hits})
        best: list[dict[int, float]] = []
        for hits in found:
            scores: dict[int, float] = {}
            for hit in hits:  # best first
                if hit["row"] in self._ids:
                    scores.setdefault(hit["row"], as_score(metric, hit["distance"]))
            best.append(scores)
        return best

    def _learn_ids(self, keys: dict[int, str]) -> None:
        """Read the ids of passages by the rows that their windows name.

        A row that is not its passage's is of a version that was replaced, and stays unknown.
        """
        wanted = [key for row, key in keys.items() if row not in self._ids]
        fields = ["row", "id"]
        distinct = list(dict.fromkeys(wanted))
        for row in query_keys(
            self._server, self._names.passages, distinct, fields, self._consistency
        ):
            self._ids[row["row"]] = row["id"]

    def _search_terms(
        self, queries: Sequence[Sequence[str]], k: int, condition: str
    ) -> list[dict[int, float]]:
        """Return the lexical scores of the k best passages for each query's terms, by row."""
        with_terms = [at for at, terms in enumerate(queries) if terms]
        found: list[dict[int, float]] = [{} for _ in queries]
        if not with_terms or not self._exists:
            return found
        texts = [join_terms(queries[at]) for at in with_terms]
        if condition and self._server.is_lite:
            searched = self._filter_all(texts, condition)
        else:
            searched = self._search(self._names.passages, texts, "sparse", k, condition, _BM25)
        for at, hits in zip(with_terms, searched, strict=True):
            for hit in hits[:k]:
                self._ids[hit["row"]] = hit["id"]
                # Milvus Lite gives negative scores.
                found[at][hit["row"]] = abs(hit["distance"]) / _CONSTANT
        return found

    def _filter_all(self, texts: Sequence[str], condition: str) -> list[list[dict[str, Any]]]:
        """Return all hits of each query that satisfy a condition, best first.

        Milvus Lite computes the statistics of recent writes from the passages that satisfy the
        filter, so that its filtered scores are others.
        """
        allowed = {row["row"] for row in self._read_all(condition, ["row"])}
        return [[hit for hit in self._search_all(text) if hit["row"] in allowed] for text in texts]

    def _search_all(self, text: str) -> list[dict[str, Any]]:
        """Return all hits of a query's encoded terms, best first; those of the session are kept."""
        if text not in self._unfiltered:
            (hits,) = self._search(self._names.passages, [text], "sparse", MAX_RESULTS, "", _BM25)
            self._unfiltered[text] = hits
        return self._unfiltered[text]

    def _score_keys(self, queries: Sequence[Sequence[str]], keys: Keys) -> list[dict[int, float]]:
        """Return the lexical scores of these passages for each query's terms, by row."""
        if self._server.is_lite and self._exists:
            allowed = set(keys.tolist())
            return [
                {
                    hit["row"]: abs(hit["distance"]) / _CONSTANT
                    for hit in (self._search_all(join_terms(terms)) if terms else ())
                    if hit["row"] in allowed
                }
                for terms in queries
            ]
        known: list[dict[int, float]] = [{} for _ in queries]
        for start in range(0, len(keys), KEYS_PER_QUERY):
            condition = in_keys(self._hashes(keys[start : start + KEYS_PER_QUERY]))
            for scores, found in zip(
                known, self._search_terms(queries, KEYS_PER_QUERY, condition), strict=True
            ):
                scores.update(found)
        return known

    def _lexical_scores(self, text: str, keys: Keys) -> Scores:
        (known,) = self._score_keys([self._query_terms(text)], keys)
        return np.array([known.get(key, 0.0) for key in keys.tolist()], np.float64)

    def _rank(self, scores: dict[int, float], k: int) -> LegHits:
        """Return the k best rows; equal scores are ordered by id."""
        order = sorted(scores, key=lambda row: (-scores[row], self._ids[row]))[:k]
        return LegHits(np.array(order, np.int64), np.array([scores[row] for row in order]))

    def search_fused(
        self,
        text: str,
        vector: Vectors,
        sizes: tuple[int, int],
        where: Filter | None,
        dense_weight: float | None,
    ) -> LegHits:
        """Return the best passages of both legs, fused by Milvus.

        ``sizes`` are the numbers of passages to return, and of candidates per leg.
        """
        if self.state.has_windows:
            raise QueryError(
                f"{self._server.name} can't fuse words with windows of passages: use a Retriever, "
                "or windows=False"
            )
        terms = join_terms(self._query_terms(text))
        if self.state.vector_set is None or not self._exists or not terms:
            raise QueryError("search_fused needs stored vectors, and a query with words")
        condition, (k, depth) = self._condition(where), sizes
        kind, metric = self.state.index_type, self.state.metric
        parameters = search_parameters(kind, metric, depth, 1.0)
        points = self._prepare_queries(vector[None, :])
        requests = [
            AnnSearchRequest(points, "vector", parameters, depth, self._with_vector(condition)),
            AnnSearchRequest([terms], "sparse", _BM25, depth, condition),
        ]
        ranker = RRFRanker(_RRF_K)
        if dense_weight is not None:
            ranker = WeightedRanker(dense_weight, 1.0 - dense_weight)
        (hits,) = self._server.call(
            "hybrid_search",
            self._names.passages,
            requests,
            ranker,
            k,
            output_fields=["row", "id"],
            consistency_level=self._consistency,
        )
        scores = {hit["entity"]["row"]: float(hit["distance"]) for hit in hits}
        self._ids |= {hit["entity"]["row"]: hit["entity"]["id"] for hit in hits}
        return self._rank(scores, k)

    def _condition(self, where: Filter | None) -> str:
        return self._compiler.compile(where) if where is not None else ""

    def _with_vector(self, condition: str) -> str:
        """Return a condition that leaves out passages without a vector, if there may be any."""
        if not self.state.has_vectorless:
            return condition
        return f"parts > 0 and ({condition})" if condition else "parts > 0"

    # Reads

    def _prepare_queries(self, vectors: Vectors) -> Vectors:
        """Check query vectors (n, dim) and return them in the metric's stored form."""
        dim = self.state.settings.dim
        assert dim is not None  # of an index with vectors
        try:
            return self.state.metric.prepare(check_vectors(vectors, dim, len(vectors)))
        except VectorError as error:
            raise QueryError(f"query vectors: {error}") from None

    def _read_vectors(self, keys: Keys, *, windows: bool = True) -> PassageVectors:
        if not self._exists or self.state.vector_set is None:
            return PassageVectors.empty()
        rows_by_key = {hash_id(self._ids[key]): key for key in keys.tolist()}
        return read_vectors(
            self._server,
            self._names,
            rows_by_key,
            self._consistency,
            windows=windows and self._windows,
        )

    def _read_all(self, condition: str, fields: Sequence[str]) -> Iterator[dict[str, Any]]:
        if not self._exists:
            return iter(())
        return query_all(self._server, self._names.passages, condition, fields, self._consistency)

    def _count(self, condition: str = "") -> int:
        if not self._exists:
            return 0
        return count_rows(self._server, self._names.passages, condition, self._consistency)

    def _hashes(self, keys: Keys) -> list[str]:
        return [hash_id(self._ids[key]) for key in keys.tolist()]

    def _query_terms(self, text: str) -> list[str]:
        return list(self._require_analyzer().query_terms(text))

    def _require_analyzer(self) -> Analyzer:
        if self._analyzer is None:
            raise QueryError("this backend has no lexical leg: it was made with analyzer=None")
        return self._analyzer

    def _refuse_scorer(self, scorer: Scorer | None) -> None:
        if scorer is not None:
            raise QueryError(f"{self._server.name} scores by BM25 alone: leave out scorer")


def _explain_term(
    term: str, numbers: tuple[int, int, int, int], idf: float, contribution: float
) -> TermMatch:
    """Return a term's part of a score; the average length is what makes the parts agree.

    ``numbers`` are the term's frequency in the query, in the passage and in passages, and the
    passage's length.
    """
    in_query, in_passage, in_passages, length = numbers
    weight = contribution / (in_query * idf) if idf else 0.0
    norm = (in_passage / weight - in_passage) / _SCORER.k1 if weight else 0.0
    share = norm - 1.0 + _SCORER.b
    average = _SCORER.b * length / share if share > 0 else float(length)
    return TermMatch(
        term, in_query, in_passage, in_passages, idf, length, average, norm, weight, contribution
    )
