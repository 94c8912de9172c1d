"""The shape of an answer: thresholds, groups, near-duplicates and diversity."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.backend import View
from twofold.errors import QueryError
from twofold.retriever.candidates import CandidateSet
from twofold.types import Mask, Rows, Scores, Vectors
from twofold.validation import check_integer

_ROUNDING = 1e-6
"""By how much the cosine of equal vectors, which are float32, may be less than 1."""


@dataclass(frozen=True, slots=True)
class CandidateFeatures:
    """Candidates (n,) by row: unit ``vectors`` (n, dim), and numbers for ``texts`` and ``groups``.

    A vector is 0 where there is none. Equal texts have equal numbers, and so have the members of a
    group; what was not asked for is None.
    """

    rows: Rows
    vectors: NDArray[np.float64]
    texts: NDArray[np.int64] | None
    groups: NDArray[np.int64] | None

    @classmethod
    def of(
        cls, view: View, rows: Rows, *, texts: bool, group_by: str | None
    ) -> "CandidateFeatures":
        """Read what is wanted of the candidates."""
        vectors, present = view.vectors(rows)
        wide = np.where(present[:, None], vectors, 0).astype(np.float64)
        lengths = np.linalg.norm(wide, axis=1, keepdims=True)
        passages = view.passages(rows) if texts else None
        contents = (
            [passages[at].content for at in range(len(rows))] if passages is not None else None
        )
        return cls(
            rows,
            wide / np.where(lengths > 0, lengths, 1.0),
            _numbered(contents) if contents is not None else None,
            _numbered(group_values(view, rows, group_by)) if group_by is not None else None,
        )

    def part(self, rows: Rows) -> "CandidateFeatures":
        """Return those of some of these rows, in their order."""
        order = np.argsort(self.rows)
        at = order[np.searchsorted(self.rows, rows, sorter=order)]
        return CandidateFeatures(
            rows,
            self.vectors[at],
            self.texts[at] if self.texts is not None else None,
            self.groups[at] if self.groups is not None else None,
        )

    def to(self, at: int) -> Scores:
        """Return the cosine of each candidate to one of them, 0 without a vector."""
        return np.asarray(self.vectors @ self.vectors[at])

    def to_query(self, vector: Vectors) -> Scores:
        """Return the cosine of each candidate to a query vector (dim,)."""
        wide = vector.astype(np.float64)
        length = float(np.linalg.norm(wide))
        return np.asarray(self.vectors @ (wide / length if length > 0 else wide))

    def repeats(self, at: int, likeness: Scores, least: float) -> Mask:
        """Return which candidates repeat one of them, to which they have this ``likeness``."""
        assert self.texts is not None  # read where near-duplicates are looked for
        return np.asarray((likeness >= least - _ROUNDING) | (self.texts == self.texts[at]))


def group_values(view: View, rows: Rows, field: str) -> list[str]:
    """Return each row's value of a metadata field as JSON, its own number if it lacks it.

    Equal numbers are one value: 1 and 1.0.
    """
    passages = view.passages(rows)
    values = [passages[place].metadata.get(field) for place in range(len(rows))]
    return [
        json.dumps(_whole(value), sort_keys=True) if value is not None else f"row {row}"
        for row, value in zip(rows.tolist(), values, strict=True)
    ]


def _whole(value: Any) -> Any:
    """Return a JSON value with whole numbers in the place of floats that are equal to them."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return (
        {name: _whole(each) for name, each in value.items()} if isinstance(value, dict) else value
    )


def _numbered(values: Sequence[str]) -> NDArray[np.int64]:
    """Return a number for each value, equal ones for equal values."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(each, len(numbers)) for each in values], np.int64)


_EQUAL = 1e-12
"""By how much gains that are equal on paper differ."""

Places = NDArray[np.int64]
"""Places of candidates in a pool."""


@dataclass(frozen=True, slots=True)
class ResultSelection:
    """What is left out of the candidates, and what is preferred among the rest.

    ``min_score`` is on the scale of the fusion, ``min_dense`` and ``min_lexical`` on those of the
    legs' own scores. ``diversity`` is 1 - lambda of maximal marginal relevance (Carbonell and
    Goldstein, SIGIR 1998): of the best max(depth, k) candidates, each next hit maximises
    (1 - diversity) * relevance - diversity * the greatest cosine to a hit before it. Where the
    dense leg alone is asked, relevance is the cosine to the query's vector, as in other libraries;
    else, and after a reranker, the score between the candidates' worst, 0, and best, 1. Equal
    gains go to the better ranked. ``dedup_threshold`` is the cosine from which two passages count as one,
    the better one; passages of equal text always do then. At most ``per_group`` hits share a value
    of the metadata field ``group_by``; those that lack it are groups of their own.
    """

    min_score: float | None = None
    min_dense: float | None = None
    min_lexical: float | None = None
    diversity: float = 0.0
    dedup_threshold: float | None = None
    group_by: str | None = None
    per_group: int = 1

    def __post_init__(self) -> None:
        for name in ("min_score", "min_dense", "min_lexical"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and np.isfinite(value)):
                raise QueryError(f"{name} is {value!r}: a finite number or None is wanted")
        if not (_is_number(self.diversity) and 0 <= self.diversity <= 1):
            raise QueryError(f"diversity is {self.diversity!r}: a number from 0 to 1 is wanted")
        if self.dedup_threshold is not None and not (
            _is_number(self.dedup_threshold) and 0 < self.dedup_threshold <= 1
        ):
            raise QueryError(
                f"dedup_threshold is {self.dedup_threshold!r}: a cosine above 0 and up to 1, as 0.95"
            )
        if self.group_by is not None and not (isinstance(self.group_by, str) and self.group_by):
            raise QueryError(
                f"group_by is {self.group_by!r}: the name of a metadata field is wanted"
            )
        check_integer("per_group", self.per_group, error=QueryError)

    @property
    def selects(self) -> bool:
        """Whether fewer hits than candidates may be left."""
        limits = (self.min_score, self.min_dense, self.min_lexical)
        return self.compares or any(limit is not None for limit in limits)

    @property
    def compares(self) -> bool:
        """Whether hits depend on one another, so that more candidates than hits are needed."""
        return self.diversity > 0 or self.dedup_threshold is not None or self.group_by is not None

    @property
    def reads(self) -> bool:
        """Whether choosing reads the passages themselves."""
        return self.dedup_threshold is not None or self.group_by is not None

    @property
    def apart(self) -> "ResultSelection":
        """The thresholds alone, which hold for each candidate apart from the others."""
        return ResultSelection(self.min_score, self.min_dense, self.min_lexical)

    def passing(self, pool: CandidateSet) -> Places | None:
        """Return the candidates that reach every threshold, None for all."""
        limits = [
            (self.min_score, pool.scores),
        ]
        limits += [
            (self.min_dense if leg == "dense" else self.min_lexical, each.completed)
            for leg, each in pool.evidence.items()
        ]
        given = [values >= limit for limit, values in limits if limit is not None]
        return np.flatnonzero(np.logical_and.reduce(given)) if given else None

    def looks(self, view: View, rows: Rows) -> CandidateFeatures | None:
        """Return what candidates are compared by, None where they are not."""
        if not self.compares:
            return None
        return CandidateFeatures.of(
            view, rows, texts=self.dedup_threshold is not None, group_by=self.group_by
        )

    def hits(
        self,
        view: View,
        pool: CandidateSet,
        limit: int,
        k: int,
        vector: Vectors | None,
        looks: CandidateFeatures | None = None,
    ) -> tuple[Places, list[Places]]:
        """Return the best ``k`` candidates without a reranker, and what each stands for.

        ``limit`` is how many passages each leg was asked for, ``vector`` (dim,) the query's, and
        ``looks`` what is known of the candidates already.
        """
        passing = self.passing(pool)
        if not self.compares:
            return pool.best(view, k, passing), []
        ranked = pool.best(view, limit if self.diversity else len(pool.rows), passing)
        rows = pool.rows[ranked]
        own = looks.part(rows) if looks is not None else self.looks(view, rows)
        assert own is not None  # they are compared
        if pool.fused is None and "dense" in pool.evidence and vector is not None:
            relevance = own.to_query(vector)
        else:
            relevance = _between(pool.scores[ranked])
        return self._chosen(own, ranked, relevance, k)

    def reranked(
        self, view: View, pool: CandidateSet, ranked: Places, scores: Scores, k: int
    ) -> tuple[Places, list[Places]]:
        """Return the best ``k`` of candidates ``ranked`` by a reranker, and what each stands for.

        ``scores`` (n,) are the reranker's, in the order of the pool.
        """
        looks = self.looks(view, pool.rows[ranked])
        if looks is None:
            return ranked[:k], []
        return self._chosen(looks, ranked, _between(scores[ranked]), k)

    def _chosen(
        self, looks: CandidateFeatures, ranked: Places, relevance: Scores, k: int
    ) -> tuple[Places, list[Places]]:
        """Return the best ``k`` of candidates ``ranked`` best first, and what each stands for.

        Raises QueryError where diversity is wanted and there are no vectors.
        """
        if self.diversity and looks.vectors.shape[1] == 0 and len(ranked):
            raise QueryError("diversity compares vectors, and this index has none: leave it out")
        nearest = np.zeros(len(ranked))
        twins = np.full(len(ranked), -1)  # the first hit that a candidate repeats
        groups: Counter[int] = Counter()
        taken: list[int] = []
        left = list(range(len(ranked)))
        while left and len(taken) < k:
            at = left.pop(self._next(relevance, nearest, left, first=not taken))
            group = int(looks.groups[at]) if looks.groups is not None else -1
            if twins[at] >= 0 or (group >= 0 and groups[group] == self.per_group):
                continue
            if self.diversity or self.dedup_threshold is not None:
                likeness = looks.to(at)
                nearest = np.maximum(nearest, likeness) if taken else likeness
                if self.dedup_threshold is not None:
                    twins[(twins < 0) & looks.repeats(at, likeness, self.dedup_threshold)] = at
                    twins[taken] = -1  # as those before it are hits themselves
                    twins[at] = -1
            taken.append(at)
            groups[group] += 1
        # Those that come after the last hit are told, too.
        stands_for = [ranked[np.flatnonzero(twins == at)] for at in taken]
        return ranked[taken], stands_for

    def _next(self, relevance: Scores, nearest: Scores, left: list[int], *, first: bool) -> int:
        """Return which of those that are left comes next: the first with the greatest gain."""
        if not self.diversity:
            return 0
        gains = relevance[left]
        if not first:
            gains = (1 - self.diversity) * gains - self.diversity * nearest[left]
        return int(np.argmax(gains >= gains.max() - _EQUAL))


def _between(scores: Scores) -> Scores:
    """Return scores between 0, the worst, and 1, the best."""
    span = float(np.ptp(scores)) if len(scores) else 0.0
    return (scores - scores.min()) / span if span > 0 else np.ones(len(scores))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
