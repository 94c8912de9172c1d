"""The seams: what an encoder, a leg and a store must offer to be used by a retriever."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from twofold.types import (
    LegHits,
    Mask,
    Rows,
    Scores,
    TermSpan,
    Vectors,
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
