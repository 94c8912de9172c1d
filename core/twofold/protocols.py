"""The seams: what an encoder, a leg and a store must offer to be used by a retriever."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from twofold.fusion import WeightedFusion
from twofold.metrics import Metric
from twofold.types import (
    LegHits,
    Mask,
    Mode,
    Moments,
    Passage,
    Rows,
    Scores,
    TermMatch,
    TermSpan,
    Vectors,
    Where,
)

Stage = Literal["encode", "dense", "lexical", "rerank"]


@runtime_checkable
class Encoder(Protocol):
    """Texts to vectors, float32 (n, dim); queries and passages may use different towers.

    An optional attribute ``identity`` (EncoderIdentity) names the model; without it, stored
    vectors of a few fixed sentences are what tells one model from another.
    """

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return one vector a query."""
        ...

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Return one vector a passage."""
        ...


@runtime_checkable
class Reranker(Protocol):
    """Scores passages for a query by reading both together."""

    @property
    def candidates(self) -> int:
        """How many of the best passages are read for a query, or k where that is more."""
        ...

    @property
    def threshold(self) -> float | None:
        """The score below which a passage is left out, None to keep all."""
        ...

    def rerank(
        self,
        queries: Sequence[str],
        texts: Sequence[Sequence[str]],
        progress: Callable[[int], None] | None = None,
    ) -> list[Scores]:
        """Return for each query the scores of its candidates ``texts[i]``, float64 (n_i,).

        Higher is better. ``progress`` is called with the number of pairs scored so far.
        """
        ...


Report = Callable[[Sequence[Sequence[tuple[str, float]]]], None]
"""Takes what a stage gave for each query: ids and scores, best first."""


class Observer(Protocol):
    """Is told of the stages of a retrieval as they run, each in the thread that does it."""

    def stage(self, name: Stage) -> AbstractContextManager[Report | None]:
        """Open a stage; what is entered is called with its outcome before the stage ends.

        None is not: looking up the ids of all candidates has its price. ``"encode"``, which makes
        vectors of the queries, has no outcome. An exception that ends a stage goes through it.
        """
        ...


@runtime_checkable
class Analyzer(Protocol):
    """Text to terms. ``name`` and ``version`` belong to the index that was built with it."""

    @property
    def name(self) -> str:
        """A stable name, such as ``"english"``."""
        ...

    @property
    def version(self) -> int:
        """Grows with every change that gives other terms for some text."""
        ...

    def passage_terms(self, text: str) -> list[str]:
        """Return the terms to be indexed, in order, repeats included."""
        ...

    def query_terms(self, text: str) -> list[str]:
        """Return the terms to be looked up, repeats included."""
        ...


@dataclass(frozen=True, slots=True)
class CorpusStatistics:
    """What a scoring function asks of the whole collection; deleted passages don't count.

    ``passages`` have terms; ``average`` is their mean length in terms; ``frequencies`` gives the
    document frequency of every term, in no particular order.
    """

    passages: int
    average: float
    frequencies: Callable[[], NDArray[np.int64]]


@runtime_checkable
class Scorer(Protocol):
    """A scoring function: the sum over shared terms of query count * idf * part.

    A value: hashable and never changed, and equal ones score alike, since what they give is kept.
    """

    def __hash__(self) -> int: ...

    def idf(self, frequencies: NDArray[Any], corpus: CorpusStatistics) -> Scores:
        """Return the idf of terms with these document frequencies, all at least 1."""
        ...

    def parts(self, frequencies: NDArray[Any], lengths: NDArray[Any], average: float) -> Scores:
        """Return the part of each (frequency in a passage, passage length).

        It never falls with the frequency, never grows with the length, and is at least 0.
        """
        ...

    def stretch(self, lengths: NDArray[Any], average: float) -> Scores:
        """Return the length normalisation: above 1 where a length holds a passage back."""
        ...

    @property
    def absent(self) -> float:
        """The part of a term that a passage lacks."""
        ...

    @property
    def cosine(self) -> bool:
        """Whether sums are divided by the lengths of the query's and the passage's vectors."""
        ...


@runtime_checkable
class SpanAnalyzer(Analyzer, Protocol):
    """An analyzer that can also say where in a text its terms stand."""

    def spans(self, text: str) -> list[TermSpan]:
        """Return each of the text's ``passage_terms`` with its span in ``text``, by start."""
        ...


class LexicalIndex(Protocol):
    """Passages found by the terms that they share with a query."""

    def add(self, rows: Rows, ids: Sequence[str], texts: Sequence[str]) -> None:
        """Index ``texts`` under ascending new row numbers; ``ids`` decide ties."""
        ...

    def delete(self, rows: Rows) -> None:
        """Forget these rows; unknown ones are ignored."""
        ...

    def search(self, query: str, k: int, allowed: Mask | None = None) -> LegHits:
        """Return the best ``k`` of the allowed rows that share a term with ``query``."""
        ...

    def scores(self, query: str, rows: Rows) -> Scores:
        """Return the score of each row, 0.0 where it shares no term with ``query``."""
        ...


class DenseIndex(Protocol):
    """Vectors found by their nearness to a query vector."""

    def add(self, rows: Rows, ids: Sequence[str], vectors: Vectors) -> None:
        """Index ``vectors`` (n, dim) under ascending new row numbers; ``ids`` decide ties."""
        ...

    def delete(self, rows: Rows) -> None:
        """Forget these rows; unknown ones are ignored."""
        ...

    def search(
        self, queries: Vectors, k: int, allowed: Mask | None = None, effort: float = 1.0
    ) -> list[LegHits]:
        """Return the best ``k`` of the allowed rows for each query (n, dim).

        ``effort`` multiplies what an approximate index spends; ``math.inf`` is exact.
        """
        ...

    def scores(self, query: Vectors, rows: Rows) -> Scores:
        """Return the score of each row for one query (dim,); NaN where a row has no vector."""
        ...


@dataclass(frozen=True, slots=True)
class Setting:
    """How to search, as tuning found it or a person saved it.

    ``depth`` is the number of candidates of each leg; no ``scorer`` is the store's own;
    ``title_weight`` is what the postings were built with when this was tuned. ``adapter`` names a
    saved one (``Index.adapters``) that query vectors go through, None for the encoder's own.
    """

    fusion: WeightedFusion
    depth: int
    scorer: Scorer | None
    title_weight: int
    adapter: str | None = None


class View(Protocol):
    """One generation of a store, searched and read as one whole."""

    @property
    def generation(self) -> int:
        """The number of commits before this view."""
        ...

    @property
    def count(self) -> int:
        """How many passages there are."""
        ...

    @property
    def metric(self) -> Metric | None:
        """The similarity of vectors, None without a dense leg."""
        ...

    @property
    def setting(self) -> Setting | None:
        """The saved setting in use, None for the library's defaults."""
        ...

    @property
    def dense_quality(self) -> float:
        """How far the dense leg agrees with words on passages of its own: 1.0 if not measured."""
        ...

    def lexical_quality(self, query: str) -> float:
        """Return the share of a query's distinct terms that any passage has; 1.0 without terms."""
        ...

    def dense_moments(self, query: Vectors) -> Moments:
        """Return the moments of all passages' dense scores for one query (dim,)."""
        ...

    def lexical_moments(self, query: str, scorer: Scorer | None) -> Moments:
        """Return the moments of all passages' lexical scores."""
        ...

    def row_of(self, passage_id: str) -> int | None:
        """Return the row of a passage, None if there is no such one."""
        ...

    def vectors(self, rows: Rows) -> tuple[Vectors, Mask]:
        """Return the stored vectors (n, dim) of rows, and which of them have one."""
        ...

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Return passage vectors (n, dim) by the encoder that filled this generation."""
        ...

    def allowed(self, where: Where | None) -> Mask | None:
        """Return the rows that a filter lets through, or None for all."""
        ...

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return query vectors (n, dim) by the encoder that filled this generation, adapted."""
        ...

    def adapted(self, vectors: Vectors) -> Vectors:
        """Return what the adapter in use makes of query vectors (n, dim) or (dim,)."""
        ...

    def dense(self, queries: Vectors, k: int, allowed: Mask | None, effort: float) -> list[LegHits]:
        """Search the dense leg with vectors (n, dim)."""
        ...

    def lexical(
        self, queries: Sequence[str], k: int, allowed: Mask | None, scorer: Scorer | None
    ) -> list[LegHits]:
        """Search the lexical leg; no scorer is the store's own."""
        ...

    def dense_scores(self, query: Vectors, rows: Rows) -> Scores:
        """Return the dense score of each row for one query (dim,)."""
        ...

    def lowest_dense(self, query: Vectors) -> float:
        """Return a bound that no passage's dense score can be below, for one query (dim,)."""
        ...

    def lexical_scores(self, query: str, rows: Rows, scorer: Scorer | None) -> Scores:
        """Return the lexical score of each row."""
        ...

    def ids(self, rows: Rows) -> list[str]:
        """Return the ids of rows."""
        ...

    def term_matches(self, query: str, row: int, scorer: Scorer | None) -> tuple[TermMatch, ...]:
        """Return what each query term adds to the row's lexical score."""
        ...

    def spans(self, query: str, text: str) -> list[TermSpan]:
        """Return where the query's terms stand in a text, by start."""
        ...

    def passages(self, rows: Rows) -> "PassageBatch":
        """Fetch passages by row; they are decoded when touched."""
        ...


class PassageBatch(Protocol):
    """Fetched passages in the order of the rows asked for."""

    @property
    def ids(self) -> list[str]:
        """The passages' ids."""
        ...

    def __getitem__(self, place: int) -> Passage:
        """Decode the passage at ``place``."""
        ...

    def part(self, start: int, stop: int) -> "PassageBatch":
        """Return those from ``start`` to before ``stop``."""
        ...


class Store(Protocol):
    """What a retriever asks of a place that holds passages."""

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The modes that this store can serve."""
        ...

    def view(self) -> AbstractContextManager[View]:
        """Open one whole generation for a query."""
        ...
