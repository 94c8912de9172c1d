"""The types of segments that an index stores: postings and metadata columns."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from twofold.errors import CorruptIndexError
from twofold.filters import ColumnSegment
from twofold.lexical import PostingsSegment
from twofold.protocols import Analyzer
from twofold.segments import find_positions
from twofold.storage import StoredPassage
from twofold.types import Mask, Rows


class SegmentContent(Protocol):
    """The content of one immutable segment."""

    @property
    def rows(self) -> NDArray[np.uint32]:
        """The segment's rows, ascending, including rows deleted since."""
        ...

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the content as named arrays."""
        ...


class SegmentType(ABC):
    """Builds, merges and loads the segments of one leg."""

    leg: ClassVar[str]
    """The leg's name in the catalog."""
    content: ClassVar[Any]
    """The class of the segments' contents."""

    @abstractmethod
    def build(self, passages: Sequence[StoredPassage]) -> SegmentContent:
        """Return a segment of passages with ascending rows."""

    def merge(self, parts: Sequence[SegmentContent], live: Sequence[Mask]) -> SegmentContent:
        """Return one segment of the live rows of ``parts``, with one mask ``live`` per part."""
        merged: SegmentContent = self.content.merge(parts, live)
        return merged

    def load(self, arrays: Mapping[str, NDArray[Any]]) -> SegmentContent:
        """Return the segment stored as ``arrays``; raise CorruptIndexError for wrong ones."""
        try:
            loaded: SegmentContent = self.content.from_arrays(arrays)
        except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
            raise CorruptIndexError(f"its arrays are not valid: {error}") from error
        return loaded


@dataclass(frozen=True)
class LexicalSegmentType(SegmentType):
    """Postings of titles and texts.

    A title's terms count ``title_weight`` times in term frequency and passage length, as in
    Robertson, Zaragoza and Taylor, Simple BM25 Extension to Multiple Weighted Fields (CIKM 2004).
    """

    leg = "lexical"
    content = PostingsSegment
    analyzer: Analyzer
    title_weight: int = 1

    def build(self, passages: Sequence[StoredPassage]) -> PostingsSegment:
        """Return the postings of the passages' terms."""
        rows, ids = _rows_and_ids(passages)
        return PostingsSegment.build(rows, ids, [self._terms(passage) for passage in passages])

    def _terms(self, passage: StoredPassage) -> list[str]:
        if not passage.title:
            return self.analyzer.passage_terms(passage.text)
        title = self.analyzer.passage_terms(passage.title)
        return title * self.title_weight + self.analyzer.passage_terms(passage.text)


class ColumnSegmentType(SegmentType):
    """Columns of passage ids and typed metadata."""

    leg = "columns"
    content = ColumnSegment

    def build(self, passages: Sequence[StoredPassage]) -> ColumnSegment:
        """Return the columns of the passages' ids and metadata."""
        rows, ids = _rows_and_ids(passages)
        metadata = [json.loads(p.metadata) if p.metadata != "{}" else {} for p in passages]
        return ColumnSegment.build(rows, ids, metadata)


def live_mask(content: SegmentContent, dead: Rows) -> Mask:
    """Return which rows of a segment are not among the ``dead`` rows (ascending)."""
    rows = content.rows
    mask = np.ones(len(rows), np.bool_)
    if len(rows) and len(dead):
        low, high = np.searchsorted(dead, [int(rows[0]), int(rows[-1]) + 1])
        at = find_positions(dead[low:high], rows)
        mask[at[at >= 0]] = False
    return mask


def _rows_and_ids(passages: Sequence[StoredPassage]) -> tuple[Rows, list[str]]:
    rows = np.array([passage.row for passage in passages], np.int64)
    return rows, [passage.id for passage in passages]
