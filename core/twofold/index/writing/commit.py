"""What becomes of each leg's records in one commit."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from twofold.index.segment_types import LexicalSegmentType
from twofold.index.writing.segment_merges import MergeResult
from twofold.storage import (
    BlockRecord,
    CatalogWriter,
    SegmentRecord,
    Settings,
    StoredPassage,
    VectorSetRecord,
)
from twofold.types import Rows, Vectors


@dataclass(frozen=True, slots=True)
class SegmentPlan:
    """One leg's segments after a commit."""

    result: MergeResult
    written: tuple[SegmentRecord, ...]

    def put(self, catalog: CatalogWriter) -> None:
        """Record what was written, and forget what it replaces."""
        catalog.put_segments(self.written, [record.number for record in self.result.dropped])

    @property
    def records(self) -> tuple[SegmentRecord, ...]:
        """All segments of the leg."""
        return (*self.result.kept, *self.written)

    @property
    def cleaned(self) -> bool:
        """Whether dead rows may have left this leg."""
        return bool(self.result.dropped)

    def holds(self, rows: Rows) -> NDArray[np.bool_]:
        """Return which dead rows a kept segment still has; written ones have none."""
        out = np.zeros(len(rows), np.bool_)
        for content in self.result.kept_contents:
            out |= np.isin(rows, content.rows)
        return out


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """The vector blocks after a commit."""

    kept: tuple[BlockRecord, ...]
    written: tuple[BlockRecord, ...]
    dropped: tuple[BlockRecord, ...]

    def put(self, catalog: CatalogWriter) -> None:
        """Record what was written, and forget what it replaces."""
        catalog.put_blocks(self.written, [block.number for block in self.dropped])

    @property
    def records(self) -> tuple[BlockRecord, ...]:
        """All blocks of the vector set."""
        return (*self.kept, *self.written)

    @property
    def cleaned(self) -> bool:
        """Whether dead rows have left the vectors, which they do in a new file only."""
        if not self.dropped or self.kept:
            return False
        return not self.written or self.written[0].file != self.dropped[0].file

    def holds(self, rows: Rows) -> NDArray[np.bool_]:
        """Return which dead rows a block still has."""
        out = np.zeros(len(rows), np.bool_)
        for block in self.records:
            out |= np.isin(rows, block.rows)
        return out


@dataclass(frozen=True, slots=True)
class StructurePlan:
    """The dense leg's structures after a commit.

    Their dead rows are known by those of the vectors, which never leave before them.
    """

    kept: tuple[SegmentRecord, ...]
    written: tuple[SegmentRecord, ...]
    dropped: tuple[SegmentRecord, ...]
    cleaned: bool = False

    def put(self, catalog: CatalogWriter) -> None:
        """Record what was built, and forget what it replaces."""
        catalog.put_segments(self.written, [record.number for record in self.dropped])

    @property
    def records(self) -> tuple[SegmentRecord, ...]:
        """All structures."""
        return (*self.kept, *self.written)

    def holds(self, rows: Rows) -> NDArray[np.bool_]:
        """Return that no dead row is remembered for them."""
        return np.zeros(len(rows), np.bool_)


@dataclass(frozen=True, slots=True)
class Fill:
    """Vectors of stored rows for a set that is not searched yet; ``switch`` makes it the one."""

    record: VectorSetRecord
    rows: Rows
    vectors: Vectors
    switch: bool


@dataclass(frozen=True, slots=True)
class Change:
    """What one commit does; ``vectors`` belong to ``vector_rows``, rows that were just added.

    ``reanalyzed`` builds the postings of all passages anew, in a commit that adds none. ``compact``
    leaves one segment a leg. ``structures`` over vectors are left alone, built where they are due,
    or built anew as one.
    """

    added: tuple[StoredPassage, ...]
    gone: tuple[StoredPassage, ...]
    vector_rows: Rows
    vectors: Vectors
    settings: Settings
    vector_set: VectorSetRecord | None
    reanalyzed: LexicalSegmentType | None = None
    compact: bool = False
    structures: Literal["left", "due", "anew"] = "left"
    fill: Fill | None = None

    @classmethod
    def of_nothing(cls, settings: Settings, vector_set: VectorSetRecord | None) -> "Change":
        """Return a change that neither adds nor removes passages."""
        nothing = np.empty(0, np.int64), np.empty((0, settings.dim or 0), np.float32)
        return cls((), (), *nothing, settings, vector_set)

    @property
    def counted(self) -> Settings:
        """The settings after it, which count the passages that changed since a measurement."""
        settings = self.settings
        changed = len({each.id for each in (*self.added, *self.gone)})
        if not changed or not settings.agreement_of:
            return settings
        return replace(settings, agreement_changed=settings.agreement_changed + changed)
