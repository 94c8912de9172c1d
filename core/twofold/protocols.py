"""Protocols that users may implement: encoders, rerankers, analyzers, scorers, observers."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from twofold.types import Scores, TermSpan, Vectors

Stage = Literal["encode", "dense", "lexical", "rerank"]


@runtime_checkable
class Encoder(Protocol):
    """Turns texts into vectors, float32 (n, dim).

    Queries and passages may use different towers. An optional attribute ``identity``
    (`EncoderIdentity`) names the model. Without it, an index recognizes the model by its vectors of
    a few fixed sentences.

    Example:
        >>> from twofold import Encoder, HashingEncoder
        >>> isinstance(HashingEncoder(), Encoder)
        True
    """

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return one vector per query."""

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Return one vector per passage."""


@runtime_checkable
class WindowEncoder(Encoder, Protocol):
    """An encoder that can locate its tokens, so that long passages are encoded in windows."""

    @property
    def max_tokens(self) -> int | None:
        """The most tokens of a passage that it reads; None if it reads all, or doesn't know."""

    def token_spans(self, texts: Sequence[str]) -> list[NDArray[np.int64] | None]:
        """Return the tokens of each passage that has more than the encoder reads.

        Returns:
            For each text, the start and the end of every token in characters, int64 (tokens, 2);
            None for a text that is read whole. Special tokens and prompts are left out.
        """


@runtime_checkable
class Reranker(Protocol):
    """Scores passages by reading each together with the query."""

    @property
    def candidates(self) -> int:
        """How many of the best passages are scored per query; at least the k of the search."""

    @property
    def threshold(self) -> float | None:
        """The score below which a passage is dropped, None to keep all."""

    def rerank(
        self,
        queries: Sequence[str],
        texts: Sequence[Sequence[str]],
        progress: Callable[[int], None] | None = None,
    ) -> list[Scores]:
        """Return the scores of each query's candidates, float64 (n_i,); higher is better.

        Args:
            queries: The queries' texts.
            texts: The candidates of each query.
            progress: Called with the number of pairs scored so far.
        """


Report = Callable[[Sequence[Sequence[tuple[str, float]]]], None]
"""A function that receives a stage's passage ids and scores for each query, best first."""


class Observer(Protocol):
    """Observes the stages of a retrieval, each in the thread that runs it."""

    def stage(self, name: Stage) -> AbstractContextManager[Report | None]:
        """Return a context manager in which the stage ``name`` runs.

        The context's value is a function that is called with the stage's results before it ends.
        None saves looking up the ids of all candidates. ``"encode"`` has no results. Exceptions of
        the stage pass through the context.
        """


@runtime_checkable
class Analyzer(Protocol):
    """Turns text into terms. An index stores its analyzer's ``name`` and ``version``."""

    @property
    def name(self) -> str:
        """A name that an index stores to find the analyzer again, such as ``"english"``."""

    @property
    def version(self) -> int:
        """A number to increase whenever the analyzer produces other terms for any text."""

    def passage_terms(self, text: str) -> list[str]:
        """Return the terms of a passage in order, repeats included."""

    def query_terms(self, text: str) -> list[str]:
        """Return the terms of a query, repeats included."""


@dataclass(frozen=True, slots=True)
class TermStatistics:
    """Statistics of the stored passages, for scoring functions.

    Attributes:
        passages: Number of passages with terms, or of all for a scorer with ``counts_empty``.
        average_length: Mean length of these passages in terms.
        frequencies: Returns the document frequency of every term, in no particular order.
    """

    passages: int
    average_length: float
    frequencies: Callable[[], NDArray[np.int64]]


@runtime_checkable
class Scorer(Protocol):
    """A lexical scoring function: the sum over shared terms of query count * idf * tf_weight.

    Scorers are immutable and hashable. Results are cached, so equal scorers must score alike. With
    an optional attribute ``counts_empty`` that is true, passages without terms count in the number
    of passages and their mean length, as in rank-bm25; Lucene leaves them out.
    """

    def __hash__(self) -> int: ...

    def idf(self, frequencies: NDArray[Any], corpus: TermStatistics) -> Scores:
        """Return the idf of terms with these document frequencies, all at least 1."""

    def tf_weight(
        self, frequencies: NDArray[Any], lengths: NDArray[Any], average_length: float
    ) -> Scores:
        """Return the weight of each pair of term frequency and passage length.

        Weights are at least 0, do not fall as frequency grows and do not rise as length grows.
        """

    def length_norm(self, lengths: NDArray[Any], average_length: float) -> Scores:
        """Return the normalization factor of each length: above 1 where it lowers the score."""

    @property
    def missing_term_weight(self) -> float:
        """The ``tf_weight`` of a query term that a passage lacks."""

    @property
    def cosine(self) -> bool:
        """Whether scores are divided by the norms of the query's and the passage's term vectors."""


@runtime_checkable
class SpanAnalyzer(Analyzer, Protocol):
    """An analyzer that can also locate its terms in a text."""

    def spans(self, text: str) -> list[TermSpan]:
        """Return the spans of the text's ``passage_terms``, sorted by start."""
