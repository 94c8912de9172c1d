"""What candidates are compared by: their vectors, their texts, and the groups they belong to."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.protocols import View
from twofold.types import Mask, Rows, Scores, Vectors

_ROUNDING = 1e-6
"""By how much the cosine of equal vectors, which are float32, may be less than 1."""


@dataclass(frozen=True, slots=True)
class Looks:
    """Candidates (n,) by row: unit ``vectors`` (n, dim), and numbers for ``texts`` and ``groups``.

    A vector is 0 where there is none. Equal texts have equal numbers, and so have the members of a
    group; what was not asked for is None.
    """

    rows: Rows
    vectors: NDArray[np.float64]
    texts: NDArray[np.int64] | None
    groups: NDArray[np.int64] | None

    @classmethod
    def of(cls, view: View, rows: Rows, *, texts: bool, group_by: str | None) -> "Looks":
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
            _numbered(groups_of(view, rows, group_by)) if group_by is not None else None,
        )

    def part(self, rows: Rows) -> "Looks":
        """Return those of some of these rows, in their order."""
        order = np.argsort(self.rows)
        at = order[np.searchsorted(self.rows, rows, sorter=order)]
        return Looks(
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


def groups_of(view: View, rows: Rows, field: str) -> list[str]:
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
