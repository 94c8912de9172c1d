"""The shape of an answer: thresholds, groups, near-duplicates and diversity."""

import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twofold.errors import QueryError
from twofold.protocols import View
from twofold.retriever.checking import check_count
from twofold.retriever.pool import Pool
from twofold.types import Rows, Scores

Places = NDArray[np.int64]
"""Places of candidates in a pool."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What is left out of the candidates, and what is preferred among the rest.

    ``min_score`` is on the scale of the fusion, ``min_dense`` and ``min_lexical`` on those of the
    legs' own scores. ``diversity`` is 1 - lambda of maximal marginal relevance (Carbonell and
    Goldstein, SIGIR 1998): each next hit maximises (1 - diversity) * relevance - diversity * the
    greatest cosine to a hit before it, where relevance is the score between the candidates' worst
    and best. ``collapse`` is the cosine from which two passages count as one, the better one;
    passages of equal text always do then. At most ``per_group`` hits share a value of the metadata
    field ``group_by``; those that lack it are groups of their own.
    """

    min_score: float | None = None
    min_dense: float | None = None
    min_lexical: float | None = None
    diversity: float = 0.0
    collapse: float | None = None
    group_by: str | None = None
    per_group: int = 1

    def __post_init__(self) -> None:
        for name in ("min_score", "min_dense", "min_lexical"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and np.isfinite(value)):
                raise QueryError(f"{name} is {value!r}: a finite number or None is wanted")
        if not (_is_number(self.diversity) and 0 <= self.diversity <= 1):
            raise QueryError(f"diversity is {self.diversity!r}: a number from 0 to 1 is wanted")
        if self.collapse is not None and not (_is_number(self.collapse) and 0 < self.collapse <= 1):
            raise QueryError(
                f"collapse is {self.collapse!r}: a cosine above 0 and up to 1, as 0.95, is wanted"
            )
        if self.group_by is not None and not (isinstance(self.group_by, str) and self.group_by):
            raise QueryError(
                f"group_by is {self.group_by!r}: the name of a metadata field is wanted"
            )
        check_count("per_group", self.per_group)

    @property
    def selects(self) -> bool:
        """Whether fewer hits than candidates may be left."""
        limits = (self.min_score, self.min_dense, self.min_lexical)
        return self.compares or any(limit is not None for limit in limits)

    @property
    def compares(self) -> bool:
        """Whether hits depend on one another, so that more candidates than hits are needed."""
        return self.diversity > 0 or self.collapse is not None or self.group_by is not None

    @property
    def reads(self) -> bool:
        """Whether choosing reads the passages themselves."""
        return self.collapse is not None or self.group_by is not None

    @property
    def apart(self) -> "Shape":
        """The thresholds alone, which hold for each candidate apart from the others."""
        return Shape(self.min_score, self.min_dense, self.min_lexical)

    def passing(self, pool: Pool) -> Places | None:
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

    def chosen(
        self, view: View, pool: Pool, ranked: Places, scores: Scores, k: int
    ) -> tuple[Places, list[Places]]:
        """Return the best ``k`` of candidates ``ranked`` best first, and what each stands for.

        ``scores`` (n,) are those that ranked them, of all candidates of the pool. Raises QueryError
        where diversity is wanted and there are no vectors.
        """
        if not self.compares:
            return ranked[:k], []
        rows = pool.rows[ranked]
        groups = groups_of(view, rows, self.group_by)
        alike = _Likeness(view, rows, by_text=self.collapse is not None)
        if self.diversity and alike.vectors.shape[1] == 0 and len(rows):
            raise QueryError("diversity compares vectors, and this index has none: leave it out")
        relevance = _between(scores[ranked])
        nearest = np.zeros(len(ranked))
        taken: list[int] = []
        duplicates: dict[int, list[int]] = {}
        left = list(range(len(ranked)))
        while left and len(taken) < k:
            gains = (1 - self.diversity) * relevance[left] - self.diversity * nearest[left]
            at = left.pop(int(np.argmax(gains)) if self.diversity and taken else 0)
            twin = alike.twin(at, taken, self.collapse)
            if twin is not None:
                duplicates.setdefault(twin, []).append(at)
            elif (
                groups is None
                or [groups[each] for each in taken].count(groups[at]) < self.per_group
            ):
                if self.diversity:
                    likeness = alike.to(at)
                    nearest = np.maximum(nearest, likeness) if taken else likeness
                taken.append(at)
        stands_for = [ranked[duplicates.get(at, [])].astype(np.int64) for at in taken]
        return ranked[taken], stands_for


class _Likeness:
    """Cosines between candidates (n, dim), and whether their texts are equal."""

    def __init__(self, view: View, rows: Rows, *, by_text: bool) -> None:
        vectors, present = view.vectors(rows)
        wide = np.where(present[:, None], vectors, 0).astype(np.float64)
        lengths = np.linalg.norm(wide, axis=1, keepdims=True)
        self.vectors = wide / np.where(lengths > 0, lengths, 1.0)
        passages = view.passages(rows) if by_text else None
        self._texts = (
            [passages[place].content for place in range(len(rows))] if passages is not None else []
        )

    def to(self, at: int) -> Scores:
        """Return the cosine of each candidate to one of them, 0 without a vector."""
        return np.asarray(self.vectors @ self.vectors[at])

    def twin(self, at: int, taken: list[int], least: float | None) -> int | None:
        """Return the first of the ``taken`` that a candidate repeats, None if it is new."""
        if least is None or not taken:
            return None
        cosines = self.vectors[taken] @ self.vectors[at]
        for place, cosine in zip(taken, cosines, strict=True):
            if cosine >= least or self._texts[place] == self._texts[at]:
                return place
        return None


def groups_of(view: View, rows: Rows, field: str | None) -> list[str] | None:
    """Return each row's value of a metadata field as JSON, its own number if it lacks it."""
    if field is None:
        return None
    passages = view.passages(rows)
    values = [passages[place].metadata.get(field) for place in range(len(rows))]
    return [
        json.dumps(value, sort_keys=True) if value is not None else f"row {row}"
        for row, value in zip(rows.tolist(), values, strict=True)
    ]


def _between(scores: Scores) -> Scores:
    """Return scores between 0, the worst, and 1, the best."""
    span = float(np.ptp(scores)) if len(scores) else 0.0
    return (scores - scores.min()) / span if span > 0 else np.ones(len(scores))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
