"""What the index stores in segments, each kind built, merged and loaded in the same way."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from twofold.filters import ColumnSegment
from twofold.lexical import PostingsSegment
from twofold.protocols import Analyzer
from twofold.segments import positions_of
from twofold.storage import StoredPassage
from twofold.types import Rows


class SegmentContent(Protocol):
    """An immutable piece of a leg."""

    @property
    def rows(self) -> NDArray[np.uint32]:
        """The rows in it, ascending; some may have been deleted since."""
        ...

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything as named arrays."""
        ...


class SegmentType(Protocol):
    """How segments of one leg come to be."""

    @property
    def leg(self) -> str:
        """The leg's name in the catalog."""
        ...

    def build(self, passages: Sequence[StoredPassage]) -> SegmentContent:
        """Return a segment of passages with ascending rows."""
        ...

    def merge(self, parts: Sequence[Any], live: Sequence[NDArray[np.bool_]]) -> SegmentContent:
        """Return one segment of the live rows of several."""
        ...

    def load(self, arrays: Mapping[str, NDArray[Any]]) -> SegmentContent:
        """Return the segment that ``arrays`` describe."""
        ...


@dataclass(frozen=True, slots=True)
class LexicalSegmentType:
    """Postings of titles and texts.

    The terms of a title count ``title_weight`` times, in frequencies and lengths alike: Robertson,
    Zaragoza and Taylor, Simple BM25 Extension to Multiple Weighted Fields (CIKM 2004).
    """

    analyzer: Analyzer
    title_weight: int = 1
    leg: str = "lexical"

    def build(self, passages: Sequence[StoredPassage]) -> PostingsSegment:
        """Analyse passages."""
        rows, ids = _rows_and_ids(passages)
        return PostingsSegment.build(rows, ids, [self._terms(each) for each in passages])

    def _terms(self, passage: StoredPassage) -> list[str]:
        if not passage.title:
            return self.analyzer.passage_terms(passage.text)
        title = self.analyzer.passage_terms(passage.title)
        return title * self.title_weight + self.analyzer.passage_terms(passage.text)

    def merge(
        self, parts: Sequence[PostingsSegment], live: Sequence[NDArray[np.bool_]]
    ) -> PostingsSegment:
        """Merge postings."""
        return PostingsSegment.merge(parts, live)

    def load(self, arrays: Mapping[str, NDArray[Any]]) -> PostingsSegment:
        """Load postings."""
        return PostingsSegment.from_arrays(arrays)


@dataclass(frozen=True, slots=True)
class ColumnSegmentType:
    """Ids and typed metadata."""

    leg: str = "columns"

    def build(self, passages: Sequence[StoredPassage]) -> ColumnSegment:
        """Type metadata."""
        rows, ids = _rows_and_ids(passages)
        return ColumnSegment.build(rows, ids, [_metadata(each) for each in passages])

    def merge(
        self, parts: Sequence[ColumnSegment], live: Sequence[NDArray[np.bool_]]
    ) -> ColumnSegment:
        """Merge columns."""
        return ColumnSegment.merge(parts, live)

    def load(self, arrays: Mapping[str, NDArray[Any]]) -> ColumnSegment:
        """Load columns."""
        return ColumnSegment.from_arrays(arrays)


def live_flags(content: SegmentContent, dead: Rows) -> NDArray[np.bool_]:
    """Return which rows of a segment are not among the ``dead`` (ascending)."""
    rows = content.rows
    flags = np.ones(len(rows), np.bool_)
    if len(rows) and len(dead):
        low, high = np.searchsorted(dead, [int(rows[0]), int(rows[-1]) + 1])
        at = positions_of(dead[low:high], rows)
        flags[at[at >= 0]] = False
    return flags


def _metadata(passage: StoredPassage) -> dict[str, Any]:
    """Decode a passage's metadata."""
    fields: dict[str, Any] = json.loads(passage.metadata) if passage.metadata != "{}" else {}
    return fields


def _rows_and_ids(passages: Sequence[StoredPassage]) -> tuple[Rows, list[str]]:
    rows = np.array([each.row for each in passages], np.int64)
    return rows, [each.id for each in passages]
