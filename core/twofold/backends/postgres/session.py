"""Sessions: one transaction that sees one state of the tables, searched and read as a whole."""

import threading
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import numpy as np
import psycopg

from twofold.backend import CompletedScores, Completion, CorpusInfo, Fetched, Keys
from twofold.backends import stored_vectors
from twofold.backends.postgres import dense, lexical
from twofold.backends.postgres.connections import Connection, Server
from twofold.backends.postgres.filters import FilterCompiler, list_fields
from twofold.backends.postgres.lexical import WeightedQuery
from twofold.backends.postgres.schema import PASSAGE_COLUMNS, StoredState
from twofold.errors import CorruptIndexError, QueryError
from twofold.filters import Filter, type_name
from twofold.filters.values import ValueType
from twofold.index.saved_records import default_title_weight
from twofold.index.view import StoredPassages
from twofold.lexical import BM25
from twofold.lexical.query_terms import find_query_spans
from twofold.protocols import Analyzer, Scorer
from twofold.similarity import Metric
from twofold.types import (
    LegHits,
    Mask,
    Moments,
    Scores,
    TermMatch,
    TermSpan,
    Vectors,
    Window,
)

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
_BM25 = BM25()
_JSON_TYPES = {
    "null": ValueType.NULL,
    "boolean": ValueType.BOOL,
    "number": ValueType.NUMBER,
    "string": ValueType.STRING,
    "array": ValueType.LIST,
    "object": ValueType.OBJECT,
}


def _translated(
    method: "Callable[Concatenate[PostgresSession, _Arguments], _Result]",
) -> "Callable[Concatenate[PostgresSession, _Arguments], _Result]":
    """Make a method use the connection alone, and raise the library's errors."""

    @wraps(method)
    def call(
        self: "PostgresSession", *args: _Arguments.args, **kwargs: _Arguments.kwargs
    ) -> _Result:
        with self._lock:  # both legs may be searched by two threads
            try:
                return method(self, *args, **kwargs)
            except psycopg.Error as error:
                raise self._server.to_error(error) from None

    return cast("Callable[Concatenate[PostgresSession, _Arguments], _Result]", call)


class PostgresSession:
    """A session of a `PostgresBackend`. Keys are row numbers.

    Implements `SearchSession`, `CorpusStatistics`, `TermExplainer` and `WindowExplainer`.
    """

    def __init__(
        self, server: Server, connection: Connection, state: StoredState, analyzer: Analyzer | None
    ) -> None:
        self.state = state
        self._server = server
        self._cursor = connection.cursor()
        self._analyzer = analyzer
        self._lock = threading.RLock()
        self._weighted: dict[tuple[str, Scorer], WeightedQuery] = {}
        self._conditions: dict[int, tuple[Filter, str, dict[str, Any]]] = {}  # by identity
        settings = state.settings
        self.corpus = CorpusInfo(
            state.generation,
            state.passages,
            settings.metric if state.vectors else None,
            settings.dim,
            state.vector_set_number,
            settings.title_weight,
            default_title_weight(settings),
        )

    # SearchSession

    @_translated
    def search_dense(
        self, vectors: Vectors, k: int, where: Filter | None, effort: float
    ) -> list[LegHits]:
        """Return the k nearest passages of each query vector (n, dim) that match ``where``."""
        if self.corpus.metric is None:
            return [LegHits.empty() for _ in vectors]
        condition, parameters = self._condition(where)
        return [
            dense.search(self._cursor, self.state, point, k, condition, parameters, effort)
            for point in dense.prepare_queries(self.state, vectors)
        ]

    @_translated
    def search_lexical(
        self, texts: Sequence[str], k: int, where: Filter | None, scorer: Scorer | None
    ) -> list[LegHits]:
        """Return the k best passages of each query text by lexical score that match ``where``."""
        condition, parameters = self._condition(where)
        k = min(k, max(self.state.passages, 1))
        return [
            lexical.search(self._cursor, self._weigh(text, scorer), k, condition, parameters)
            for text in texts
        ]

    @_translated
    def complete(self, wanted: Sequence[Completion]) -> list[CompletedScores]:
        """Return the dense and lexical scores for each `Completion`."""
        completed: list[CompletedScores] = []
        for query in wanted:
            dense_scores = np.full(len(query.dense_keys), np.nan)
            lexical_scores = np.full(len(query.lexical_keys), np.nan)
            if len(query.dense_keys) and query.vector is not None:
                dense_scores = self._dense_scores(query.vector, query.dense_keys)
            if len(query.lexical_keys) and query.text is not None:
                weighted = self._weigh(query.text, query.scorer)
                lexical_scores = lexical.scores(self._cursor, weighted, query.lexical_keys)
            completed.append(CompletedScores(dense_scores, lexical_scores))
        return completed

    @_translated
    def fetch(
        self,
        keys: Keys | None = None,
        *,
        ids: Sequence[str] | None = None,
        texts: bool = True,
        vectors: bool = False,
    ) -> Fetched:
        """Return passages by row, or by id, leaving out unknown ids."""
        columns = PASSAGE_COLUMNS if texts else "d.row, d.id"
        if keys is None:
            hashes = [lexical.hash_key(name) for name in ids or ()]
            self._cursor.execute(
                f"SELECT {columns} FROM passages d WHERE d.key = ANY(%s::uuid[])", (hashes,)
            )
            by_id = {found[1]: found for found in self._cursor.fetchall()}
            ordered = [by_id[name] for name in ids or () if name in by_id]
            keys = np.array([found[0] for found in ordered], np.int64)
        else:
            self._cursor.execute(
                f"SELECT {columns} FROM passages d WHERE d.row = ANY(%s::bigint[])",
                (keys.tolist(),),
            )
            by_row = {found[0]: found for found in self._cursor.fetchall()}
            ordered = [by_row[key] for key in keys.tolist()]
        names = [found[1] for found in ordered]
        passages = StoredPassages(ordered) if texts else ()
        if not vectors:
            return Fetched(keys, names, passages)
        if self.corpus.metric is None:
            empty = np.empty((len(keys), 0), np.float32)
            return Fetched(keys, names, passages, empty, np.zeros(len(keys), np.bool_))
        stored = dense.read_vectors(self._cursor, keys, first=True)
        first = stored_vectors.first_vectors(stored, keys, self.corpus.dim or 0)
        return Fetched(keys, names, passages, *first)

    @_translated
    def matches(self, where: Filter, keys: Keys) -> Mask:
        """Return, for each key, whether its passage matches the filter."""
        condition, parameters = self._condition(where)
        self._cursor.execute(
            f"SELECT d.row FROM passages d WHERE d.row = ANY(%(keys)s::bigint[]) AND {condition}",
            {**parameters, "keys": keys.tolist()},
        )
        return np.isin(keys, np.array([row for (row,) in self._cursor.fetchall()], np.int64))

    # CorpusStatistics

    @property
    def leg_agreement(self) -> float | None:
        """How well the dense ranking agrees with the lexical one, 1.0 at best; None if unknown."""
        return self.state.settings.agreement

    @_translated
    def dense_moments(self, vector: Vectors) -> Moments:
        """Return the moments of the dense scores of all passages with a vector."""
        if self.corpus.metric is None:
            return Moments(0.0, 0.0)
        (point,) = dense.prepare_queries(self.state, vector[None, :])
        return dense.moments(self._cursor, self.state, point)

    @_translated
    def lexical_moments(self, text: str, scorer: Scorer | None = None) -> Moments:
        """Return the moments of all passages' lexical scores, 0 for those without a shared term."""
        return lexical.moments(self._cursor, self._weigh(text, scorer), self.state.passages)

    def least_dense_score(self, vector: Vectors) -> float:
        """Return a lower bound of every passage's dense score."""
        metric = self.corpus.metric
        if metric is None:
            return 0.0
        if metric is Metric.COSINE:
            return -1.0
        length = float(np.linalg.norm(vector.astype(np.float64)))
        longest = self.state.longest
        return -(length + longest) if metric is Metric.EUCLIDEAN else -length * longest

    @_translated
    def term_coverage(self, text: str) -> float:
        """Return the share of a query's distinct terms that any passage has; 1.0 without terms."""
        known = [query for (asked, _), query in self._weighted.items() if asked == text]
        return (known[0] if known else self._weigh(text, None)).coverage

    @_translated
    def list_keys(self, where: Filter | None = None) -> Keys:
        """Return the rows of all passages that match ``where``, ascending."""
        condition, parameters = self._condition(where)
        ending = f"WHERE {condition}" if condition else ""
        self._cursor.execute(f"SELECT d.row FROM passages d {ending} ORDER BY d.row", parameters)
        return np.array([row for (row,) in self._cursor.fetchall()], np.int64)

    @_translated
    def metadata_fields(self) -> list[str]:
        """Return the names of all metadata fields, sorted."""
        return list_fields(self._cursor)

    @_translated
    def field_types(self, field: str) -> frozenset[str]:
        """Return the types of a field's values, such as "numbers"; none if no passage has it."""
        self._cursor.execute(
            "SELECT DISTINCT jsonb_typeof(d.fields -> %(field)s::text) FROM passages d "
            "WHERE jsonb_exists(d.fields, %(field)s::text)",
            {"field": field},
        )
        return frozenset(type_name(_JSON_TYPES[name]) for (name,) in self._cursor.fetchall())

    # TermExplainer

    @_translated
    def term_matches(
        self, text: str, keys: Keys, scorer: Scorer | None = None
    ) -> list[tuple[TermMatch, ...]]:
        """Return, for each row, how every query term contributes to the lexical score."""
        return lexical.term_matches(self._cursor, self._weigh(text, scorer), keys)

    def term_spans(self, text: str, passages: Sequence[str]) -> list[list[TermSpan]]:
        """Return, for each text, the query terms' spans; none if the analyzer can't find them."""
        return find_query_spans(self._require_analyzer(), text, passages)

    # WindowExplainer

    @_translated
    def best_windows(self, vector: Vectors, keys: Keys) -> list[Window | None]:
        """Return, for each row, the window that scores best for one query vector (dim,)."""
        metric = self.corpus.metric
        if metric is None:
            return [None] * len(keys)
        (point,) = dense.prepare_queries(self.state, vector[None, :])
        stored = dense.read_vectors(self._cursor, keys)
        return stored_vectors.best_windows(metric, point, stored, keys)

    @_translated
    def read_adapter(self, name: str) -> bytes:
        """Return a stored query adapter; raise CorruptIndexError if it is missing."""
        self._cursor.execute("SELECT data FROM adapters WHERE name = %s", (name,))
        found = self._cursor.fetchone()
        if found is None:
            raise CorruptIndexError(f"query adapter {name!r} is missing: save it again")
        return bytes(found[0])

    def _dense_scores(self, vector: Vectors, keys: Keys) -> Scores:
        if self.corpus.metric is None:
            return np.full(len(keys), np.nan)
        (point,) = dense.prepare_queries(self.state, vector[None, :])
        stored = dense.read_vectors(self._cursor, keys)
        return stored_vectors.best_scores(self.corpus.metric, point, stored, keys)

    def _weigh(self, text: str, scorer: Scorer | None) -> WeightedQuery:
        """Return a query's weighted terms; those of this session's queries are kept."""
        key = (text, scorer if scorer is not None else _BM25)
        if key not in self._weighted:
            terms = self._require_analyzer().query_terms(text)
            self._weighted[key] = lexical.weigh_query(self._cursor, self.state, terms, key[1])
        return self._weighted[key]

    def _condition(self, where: Filter | None) -> tuple[str, dict[str, Any]]:
        """Return a filter as a condition on passages, "" for none, and its parameters."""
        if where is None:
            return "", {}
        known = self._conditions.get(id(where))
        if known is None:
            compiler = FilterCompiler()
            known = where, compiler.compile(where), compiler.parameters
            self._conditions[id(where)] = known
        return known[1:]

    def _require_analyzer(self) -> Analyzer:
        if self._analyzer is None:
            raise QueryError("this backend has no lexical leg: it was made with analyzer=None")
        return self._analyzer
