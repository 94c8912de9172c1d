"""The hits of one query, best first, with each leg's contribution to their scores."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn, overload

import numpy as np
from numpy.typing import NDArray

from twofold.backend import Keys, SearchScope
from twofold.errors import QueryError
from twofold.protocols import Scorer
from twofold.results.dense_evidence import (
    DenseEvidence,
    QueryVariants,
    encode_query_variants,
    measure_dense_evidence,
)
from twofold.results.explanation import Explanation, build_explanation
from twofold.results.highlights import Highlights, merge_spans
from twofold.results.prompt_context import Context, build_context
from twofold.results.why_not import WhyNot
from twofold.types import (
    Hit,
    Leg,
    LegScore,
    Mode,
    Passage,
    Scores,
    TermMatch,
    TermSpan,
    Vectors,
    Window,
)


@dataclass(frozen=True, slots=True)
class LegColumn:
    """The `LegScore` of all n hits in one leg, as arrays; rank 0 if the leg did not list it."""

    scores: Scores
    ranks: NDArray[np.int64]
    normalized: Scores
    weight: float | Scores

    def share_at(self, position: int) -> LegScore:
        """Return the leg's score of the hit at ``position``."""
        rank, normalized = int(self.ranks[position]), float(self.normalized[position])
        weight = float(
            self.weight[position] if isinstance(self.weight, np.ndarray) else self.weight
        )
        return LegScore(
            score=float(self.scores[position]),
            rank=rank if rank > 0 else None,
            normalized=normalized,
            weight=weight,
            contribution=weight * normalized,
        )


@dataclass(frozen=True, slots=True)
class HitsInfo:
    """The query of some hits, and facts about its search.

    Attributes:
        query: The query's text, None for a vector alone.
        mode: The mode of the search.
        generation: Number of the corpus's state that was searched; every write changes it.
        legs_used: The legs that found something.
        warnings: Reasons why the results may be poor.
        confidence: As `Hits.confidence`.
        signals: What the confidence is computed from (`twofold.calibration.SIGNALS`).
        abstained: As `Hits.abstained`.
    """

    query: str | None
    mode: Mode
    generation: int
    legs_used: tuple[Leg, ...]
    warnings: tuple[str, ...]
    confidence: float | None = None
    signals: tuple[float, ...] = ()
    abstained: bool = False


@dataclass(frozen=True, slots=True)
class QueryContext:
    """The search behind some hits, kept to explain them later.

    Attributes:
        reopen: Opens the engine again, in the same generation if it has snapshots.
        scorer: The lexical scoring function, None for the engine's own.
        vector: The query's vector (dim,), None if it has none.
        given: Whether the caller passed the vector, and did not have the text encoded.
        why_not: Returns why the passage with an id is not among the hits.
    """

    reopen: Callable[[], AbstractContextManager[SearchScope]]
    scorer: Scorer | None
    vector: Vectors | None
    given: bool
    why_not: "Callable[[str, Hits], WhyNot]"


@dataclass(eq=False, repr=False)
class Hits(Sequence[Hit]):
    """Hits of one query, best first: score descending, then id.

    Holds arrays; passages are decoded when accessed. With diversity, hits are in the order in which
    they were picked.

    Example:
        >>> from twofold import Index, Retriever
        >>> index = Index.open(None, encoder=None)
        >>> _ = index.upsert([{"id": "1", "text": "plants make food"}])
        >>> hits = Retriever(index, mode="lexical").retrieve("food")
        >>> hits.ids, hits.legs_used
        (['1'], ('lexical',))
    """

    info: HitsInfo
    scores: Scores
    _legs: Mapping[Leg, LegColumn]
    _keys: Keys
    _ids: Sequence[str]
    _passages: Sequence[Passage]
    _context: QueryContext
    _fused: Scores | None = None  # the fused scores, where ``scores`` are a reranker's
    _duplicates: Sequence[Sequence[str]] = ()
    _variants: QueryVariants | None = field(default=None, init=False)  # of the first explanation
    _windows: Sequence[Window | None] | None = field(default=None, init=False)

    @property
    def query(self) -> str | None:
        """The query's text, None for a vector alone."""
        return self.info.query

    @property
    def ids(self) -> list[str]:
        """The ids of all hits, without decoding passages."""
        return list(self._ids)

    @property
    def passages(self) -> list[Passage]:
        """The passages of all hits."""
        return list(self._passages)

    @property
    def legs_used(self) -> tuple[Leg, ...]:
        """The legs that found something."""
        return self.info.legs_used

    @property
    def warnings(self) -> tuple[str, ...]:
        """Reasons why the results may be poor."""
        return self.info.warnings

    @property
    def confidence(self) -> float | None:
        """The probability that one of the first hits is relevant, 0 to 1.

        `calibrate` learns it from judged queries, and saves it with the active profile. None
        without a calibration, and with options that it doesn't hold for, such as another mode.
        """
        return self.info.confidence

    @property
    def abstained(self) -> bool:
        """Whether there are no hits because ``Retriever(abstain=...)`` gave no answer."""
        return self.info.abstained

    def __len__(self) -> int:
        return len(self.scores)

    @overload
    def __getitem__(self, position: int) -> Hit: ...
    @overload
    def __getitem__(self, position: slice) -> list[Hit]: ...

    def __getitem__(self, position: int | slice) -> Hit | list[Hit]:
        if isinstance(position, slice):
            return [self[at] for at in range(*position.indices(len(self)))]
        if not -len(self) <= position < len(self):
            raise IndexError(f"hit {position} is out of range: there are {len(self)} hits")
        position %= len(self)
        return Hit(
            passage=self._passages[position],
            score=float(self.scores[position]),
            rank=position + 1,
            legs={leg: column.share_at(position) for leg, column in self._legs.items()},
            fused=float((self.scores if self._fused is None else self._fused)[position]),
            reranked=float(self.scores[position]) if self._fused is not None else None,
            duplicates=tuple(self._duplicates[position]) if self._duplicates else (),
        )

    def __iter__(self) -> Iterator[Hit]:
        return (self[position] for position in range(len(self)))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the hits with their passages, but not the index, so that none can be explained."""
        context = QueryContext(_refuse_reopening, None, None, False, _refuse_explaining)
        ids, passages = list(self._ids), list(self._passages)
        duplicates = [list(group) for group in self._duplicates]
        fields = (self.info, self.scores, dict(self._legs), self._keys, ids, passages, context)
        return type(self), (*fields, self._fused, duplicates)

    def __deepcopy__(self, memo: object) -> "Hits":
        return self  # which nothing changes

    def __copy__(self) -> "Hits":
        return self

    def __repr__(self) -> str:
        best = f", best {self._ids[0]!r} {float(self.scores[0]):.3f}" if len(self) else ""
        return f"<{len(self)} {self.info.mode} hits for {self.query!r}{best}>"

    def term_matches(self, position: int) -> tuple[TermMatch, ...]:
        """Return what each query term adds to a hit's lexical score; () without a lexical leg."""
        matches = self._term_matches()
        return matches[position] if matches else ()

    def highlights(self, position: int) -> Highlights:
        """Return the spans of the query's terms in a hit's title and text."""
        passage, window = self._passages[position], self._best_windows()[position]
        title, text = self._term_spans([passage.title, passage.text])
        span = window.text_span(passage) if window is not None else None
        return Highlights(passage, merge_spans(title), merge_spans(text), span)

    def context(
        self,
        max_tokens: int = 2000,
        *,
        count: Callable[[str], int] | None = None,
        separator: str = "\n\n",
    ) -> Context:
        """Return the passages that fit a model's context window, best first, numbered to cite.

        Passages are never cut: one that doesn't fit is listed in ``left_out``, and a shorter one
        after it may still fit.

        Args:
            max_tokens: The most tokens of the whole context.
            count: Returns the number of tokens of a text. Default:
                `twofold.results.prompt_context.estimated_tokens`.
            separator: The text between passages.

        Raises:
            QueryError: ``max_tokens`` is not an integer >= 1, or ``count`` returns no number.
        """
        return build_context(self.passages, max_tokens, count, separator)

    def explain(self, *, meaning: bool = True) -> Explanation:
        """Return why each passage was retrieved.

        Args:
            meaning: Also find the query's words and the passage's sentence behind the dense
                score. Encodes the query without each of its first 256 words, and every sentence of
                the returned passages.
        """
        hits = list(self)
        evidence = self._dense_evidence() if meaning else [None] * len(hits)
        variants = self._variants if meaning else None
        return build_explanation(
            self.query,
            self.warnings + (variants.warnings if variants is not None else ()),
            hits,
            self._term_matches() or [()] * len(hits),
            self._term_spans,
            evidence,
            self._best_windows(),
        )

    def why_not(self, passage_id: str) -> WhyNot:
        """Return why a passage is not among these hits, and which options would make it one.

        Raises:
            QueryError: A new search is needed, and the index has changed or no longer exists.
        """
        return self._context.why_not(passage_id, self)

    def _term_matches(self) -> list[tuple[TermMatch, ...]]:
        """Return the term matches of all hits; empty without a lexical leg or an explainer."""
        if "lexical" not in self._legs or self.query is None:
            return []
        with self._reopen() as (scope, keys):
            explainer = scope.explainer
            if explainer is None:
                return []
            return explainer.term_matches(self.query, keys, self._context.scorer)

    def _term_spans(self, texts: Sequence[str]) -> list[list[TermSpan]]:
        """Return, for each text, the spans of the query's terms; none without a lexical leg."""
        if "lexical" in self._legs and self.query is not None:
            with self._context.reopen() as scope:
                if scope.explainer is not None:
                    return scope.explainer.term_spans(self.query, texts)
        return [[] for _ in texts]

    def _best_windows(self) -> Sequence[Window | None]:
        """Return the window behind each hit's dense score, None for hits without windows."""
        if self._windows is None:
            self._windows = self._find_windows()
        return self._windows

    def _find_windows(self) -> Sequence[Window | None]:
        vector = self._context.vector
        if "dense" in self._legs and vector is not None and len(self):
            with self._reopen() as (scope, keys):
                if scope.window_explainer is not None:
                    return scope.window_explainer.best_windows(vector, keys)
        return [None] * len(self)

    def _dense_evidence(self) -> Sequence[DenseEvidence | None]:
        """Return the evidence behind each hit's dense score, None where it can't be measured."""
        nothing: list[DenseEvidence | None] = [None] * len(self)
        if not len(self) or "dense" not in self._legs or self.query is None:
            return nothing
        with self._reopen() as (scope, keys):
            if not scope.capabilities.completes:
                return nothing
            if self._variants is None:
                self._variants = encode_query_variants(scope, self.query)
            given = self._context.vector if self._context.given else None
            if self._variants is None or not self._variants.match_vector(given):
                return nothing
            windows = self._best_windows()
            return measure_dense_evidence(scope, self._variants, keys, self.passages, windows)

    @contextmanager
    def _reopen(self) -> Iterator[tuple[SearchScope, Keys]]:
        """Open the engine again; yield its scope and the hits' keys in it, -1 for deleted hits."""
        with self._context.reopen() as scope:
            if scope.capabilities.snapshot:
                yield scope, self._keys
                return
            keys = scope.find_keys(self._ids)
            yield scope, np.array([keys.get(hit, -1) for hit in self._ids], np.int64)


def _refuse_reopening() -> NoReturn:
    raise QueryError(
        "unpickled hits have no index to explain them with: explain them in the process that "
        "searched, or search again"
    )


def _refuse_explaining(passage_id: str, hits: Hits) -> NoReturn:  # noqa: ARG001  # as in QueryContext
    _refuse_reopening()
