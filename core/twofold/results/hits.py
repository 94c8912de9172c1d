"""Hits: what a query found, best first, with the share of each leg."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, overload

import numpy as np
from numpy.typing import NDArray

from twofold.backend import PassageBatch, View
from twofold.protocols import Scorer
from twofold.results import (
    DenseEvidence,
    Explanation,
    QueryVariants,
    WhyNot,
    build_explanation,
    encode_query_variants,
    measure_dense_evidence,
)
from twofold.results.highlights import Highlights, merge_spans
from twofold.results.prompt_context import Context, build_context
from twofold.types import (
    Hit,
    Leg,
    LegScore,
    Mode,
    Passage,
    Rows,
    Scores,
    TermMatch,
    TermSpan,
    Vectors,
)


@dataclass(frozen=True, slots=True)
class LegColumn:
    """One leg's share in all hits: arrays (n,); rank 0 where the leg did not list the hit."""

    scores: Scores
    ranks: NDArray[np.int64]
    normalized: Scores
    weight: float | Scores

    def at(self, place: int) -> LegScore:
        """Return the share in one hit."""
        rank = int(self.ranks[place])
        normalized = float(self.normalized[place])
        weight = float(self.weight[place] if isinstance(self.weight, np.ndarray) else self.weight)
        return LegScore(
            score=float(self.scores[place]),
            rank=rank if rank > 0 else None,
            normalized=normalized,
            weight=weight,
            contribution=weight * normalized,
        )


@dataclass(frozen=True, slots=True)
class HitsInfo:
    """The question and the circumstances of some hits.

    ``legs_used`` are the legs that found something; ``warnings`` say what was missing.
    """

    query: str | None
    mode: Mode
    generation: int
    legs_used: tuple[Leg, ...]
    warnings: tuple[str, ...]


class QueryContext(Protocol):
    """What hits know of their query."""

    @property
    def view(self) -> View:
        """The generation that was searched."""
        ...

    @property
    def scorer(self) -> Scorer | None:
        """The scoring function of words, None for the store's own."""
        ...

    @property
    def given(self) -> Vectors | None:
        """The vector (dim,) that came with the query, None where its text was encoded."""
        ...

    def why_not(self, passage_id: str, hits: "Hits") -> WhyNot:
        """Return what kept a passage from being one of these hits."""
        ...


class Hits(Sequence[Hit]):
    """Hits of one query, best first: score descending, then id.

    Holds arrays; passages are decoded when touched, from the query's own generation. With
    diversity, a hit stands where it was picked, whatever its score.
    """

    def __init__(
        self,
        answer: HitsInfo,
        scores: Scores,
        legs: Mapping[Leg, LegColumn],
        rows: Rows,
        passages: PassageBatch,
        inquiry: QueryContext,
        fused: Scores | None = None,
        duplicates: Sequence[Sequence[str]] = (),
    ) -> None:
        self.answer = answer
        self.scores = scores
        self._legs = legs
        self._rows = rows
        self._passages = passages
        self._inquiry = inquiry
        self._fused = fused  # what the scores were before a reranker's took their place
        self._duplicates = duplicates
        self._variants: QueryVariants | None = None  # encoded at the first explanation

    @property
    def query(self) -> str | None:
        """The text that was asked, None for a vector alone."""
        return self.answer.query

    @property
    def ids(self) -> list[str]:
        """The ids of all hits, without decoding passages."""
        return self._passages.ids

    @property
    def passages(self) -> list[Passage]:
        """The passages of all hits, without the shares of the legs."""
        return [self._passages[place] for place in range(len(self))]

    @property
    def rows(self) -> Rows:
        """The row numbers of all hits in the generation that was searched."""
        return self._rows

    @property
    def legs_used(self) -> tuple[Leg, ...]:
        """The legs that found something."""
        return self.answer.legs_used

    @property
    def warnings(self) -> tuple[str, ...]:
        """What made this answer poorer than it could be."""
        return self.answer.warnings

    def __len__(self) -> int:
        return len(self.scores)

    @overload
    def __getitem__(self, place: int) -> Hit: ...
    @overload
    def __getitem__(self, place: slice) -> list[Hit]: ...

    def __getitem__(self, place: int | slice) -> Hit | list[Hit]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(f"there are {len(self)} hits, and hit {place} was asked for")
        place %= len(self)
        return Hit(
            passage=self._passages[place],
            score=float(self.scores[place]),
            rank=place + 1,
            legs={leg: column.at(place) for leg, column in self._legs.items()},
            fused=float((self.scores if self._fused is None else self._fused)[place]),
            reranked=float(self.scores[place]) if self._fused is not None else None,
            duplicates=tuple(self._duplicates[place]) if self._duplicates else (),
        )

    def __iter__(self) -> Iterator[Hit]:
        return (self[place] for place in range(len(self)))

    def __repr__(self) -> str:
        best = f", best {self.ids[0]!r} {float(self.scores[0]):.3f}" if len(self) else ""
        return f"<{len(self)} {self.answer.mode} hits for {self.query!r}{best}>"

    def term_matches(self, place: int) -> tuple[TermMatch, ...]:
        """Return what each query term adds to a hit's lexical score; empty without that leg."""
        if "lexical" not in self._legs or self.query is None:
            return ()
        inquiry = self._inquiry
        return inquiry.view.term_matches(self.query, int(self._rows[place]), inquiry.scorer)

    def highlights(self, place: int) -> Highlights:
        """Return where the query's words stand in a hit's title and text."""
        passage = self[place].passage
        title, text = (
            merge_spans(self._spans(passage.title)),
            merge_spans(self._spans(passage.text)),
        )
        return Highlights(passage, title, text)

    def context(
        self,
        max_tokens: int = 2000,
        *,
        count: Callable[[str], int] | None = None,
        separator: str = "\n\n",
    ) -> Context:
        """Return the passages that fit a model's window, best first, numbered for citation.

        Passages are never cut: one that doesn't fit is left out, named in ``left_out``, and a
        shorter one after it may still come in. ``count`` tells the tokens of a text; without it
        they are estimated, see ``twofold.context.estimated_tokens``. Raises QueryError.
        """
        return build_context(self.passages, max_tokens, count, separator)

    def explain(self, *, meaning: bool = True) -> Explanation:
        """Say why each of these passages came back.

        ``meaning`` tells which words of the query and which sentence of the passage carry the dense
        score. It costs encoding the query once a word, and every sentence of these passages. There
        is none where the query came with a vector that is not its text's.
        """
        hits = list(self)
        meant = self._meant(hits) if meaning else [None] * len(hits)
        return build_explanation(
            self.query, self.warnings, hits, self.term_matches, self._spans, meant
        )

    def why_not(self, passage_id: str) -> WhyNot:
        """Say what kept a passage from being one of these hits, and what would bring it in.

        Ranks are exact, so each leg lists everything that the filter lets through once. Raises
        QueryError where the legs have to be asked again and the index has changed since.
        """
        return self._inquiry.why_not(passage_id, self)

    def _meant(self, hits: Sequence[Hit]) -> Sequence[DenseEvidence | None]:
        """Return what each hit's dense score rests on, None where that can't be told."""
        inquiry = self._inquiry
        if hits and "dense" in self._legs and self.query is not None and self._variants is None:
            self._variants = encode_query_variants(inquiry.view, self.query)
        if self._variants is None or not self._variants.are_of(inquiry.given):
            return [None] * len(hits)
        passages = [each.passage for each in hits]
        return measure_dense_evidence(inquiry.view, self._variants, self._rows, passages)

    def _spans(self, text: str) -> list[TermSpan]:
        """Return where the query's terms stand in a text; nowhere without a lexical leg."""
        if "lexical" not in self._legs or self.query is None or not text:
            return []
        return self._inquiry.view.spans(self.query, text)
