"""What a search engine implements to be used by a retriever."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from twofold.fusion import WeightedFusion
from twofold.protocols import Scorer
from twofold.similarity import Metric
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


@dataclass(frozen=True, slots=True)
class SearchProfile:
    """How to search, as tuning found it or a person saved it.

    ``depth`` is the number of candidates of each leg; no ``scorer`` is the store's own;
    ``title_weight`` is what the postings were built with when this was tuned. ``adapter`` names a
    saved one (``Index.query_adapters``) that query vectors go through, None for the encoder's own.
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
    def profile(self) -> SearchProfile | None:
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
