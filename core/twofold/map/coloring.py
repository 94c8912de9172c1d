"""What the colour of a point says: a category or a number, from the passages' metadata."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.errors import InputError
from twofold.filters.values import Kind, flattened, typed
from twofold.types import Passage

MOST = 12
"""Categories that are told apart by colour and shape."""
MISSING, OTHER = -1, -2
"""The codes of passages without a value, and of those whose value is too rare for a colour."""


@dataclass(frozen=True, slots=True)
class Categories:
    """One name a passage: ``codes`` (n,) are places in ``names``, MISSING or OTHER."""

    title: str
    names: tuple[str, ...]
    codes: NDArray[np.int64]

    def groups(self) -> Iterator[tuple[int, str, NDArray[np.int64]]]:
        """Yield code, name and the passages of each category that has any; the grey ones last."""
        named = [*enumerate(self.names), (OTHER, "other"), (MISSING, "missing")]
        for code, name in named:
            places = np.flatnonzero(self.codes == code)
            if len(places):
                yield code, name, places


@dataclass(frozen=True, slots=True)
class Scale:
    """One number a passage: ``values`` (n,), NaN where it has none."""

    title: str
    values: NDArray[np.float64]


Coloring = Categories | Scale


def colored_by(field: str, passages: Sequence[Passage]) -> Coloring:
    """Colour passages by a metadata field, ``a.b`` reaching into objects.

    Numbers make a scale if nothing else occurs; anything else is a category, of which the most
    frequent are named.
    """
    found = [flattened(passage.metadata).get(field) for passage in passages]
    present = [each for each in found if each is not None]
    if present and all(_is_finite(each) for each in present):
        numbers = [math.nan if each is None else float(each) for each in found]
        return Scale(field, np.array(numbers, np.float64))
    names = [None if each is None else _name(each) for each in found]
    counted = Counter(each for each in names if each is not None)
    frequent = sorted(counted, key=lambda name: (-counted[name], name))[:MOST]
    code = {name: place for place, name in enumerate(frequent)}
    codes = [MISSING if each is None else code.get(each, OTHER) for each in names]
    return Categories(field, tuple(frequent), np.array(codes, np.int64))


def check_field(field: str, fields: Sequence[str]) -> None:
    """Raise InputError for a field that no passage has; ``fields`` are those there are."""
    if field in fields:
        return
    near = get_close_matches(field, fields, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    there = ", ".join(repr(each) for each in fields)
    raise InputError(
        f"no passage has the field {field!r} to be coloured by{hint} "
        + (f"The fields are {there}" if there else "No passage has any metadata")
        + "; without a field, clusters are coloured"
    )


def _is_finite(value: Any) -> bool:
    """Return whether a value is a number that has a place on a scale."""
    kind, number, _ = typed(value)
    return kind in (Kind.NUMBER, Kind.BIG) and math.isfinite(number)


def _name(value: Any) -> str:
    """Return a value as a category's name: strings as they are, anything else as JSON."""
    kind, number, text = typed(value)
    if kind is Kind.BOOL:
        return "true" if number else "false"
    return text if kind is not Kind.NUMBER else f"{number:g}"
