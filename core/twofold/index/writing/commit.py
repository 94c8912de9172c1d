"""The change that a commit makes, and the plan of the records and files that it needs."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, Literal, TypeVar

import numpy as np

from twofold.index.dense_leg import DenseLeg
from twofold.index.layout import Layout
from twofold.index.segment_types import LexicalSegmentType, SegmentContent
from twofold.index.snapshot import Snapshot
from twofold.index.writing.commit_files import BLOCK, CommitFiles
from twofold.index.writing.segment_merges import MergeResult, merge_segments, rebuild_segment
from twofold.segments import find_positions
from twofold.storage import (
    BlockRecord,
    CatalogReader,
    IndexSettings,
    SegmentRecord,
    StoredPassage,
    VectorSetRecord,
)
from twofold.types import Mask, Rows, Vectors

GARBAGE = 1024
"""Dead vectors up to which a vector file is never rewritten."""
COPIED = 1 << 16
"""Vectors held in memory while a vector file is rewritten."""


@dataclass(frozen=True, slots=True)
class Fill:
    """Vectors (n, dim) of stored rows for a pending vector set; ``switch`` activates the set."""

    record: VectorSetRecord
    rows: Rows
    vectors: Vectors
    switch: bool


@dataclass(frozen=True, slots=True)
class Change:
    """What one commit changes.

    Attributes:
        added: Passages added, with new rows.
        deleted: Passages deleted.
        vector_rows: The added rows (n,) that have a vector.
        vectors: Their vectors (n, dim).
        settings: The new settings, None for the present ones.
        vector_set: The record of the vectors' set, None for the present one.
        reanalyzed: Rebuilds the postings of all passages, in a commit that adds none.
        compact: Whether to merge each leg's segments into one.
        structures: Whether ANN structures are kept, built where due, or all rebuilt as one.
        fill: Vectors for a pending vector set.
    """

    added: tuple[StoredPassage, ...] = ()
    deleted: tuple[StoredPassage, ...] = ()
    vector_rows: Rows = field(default_factory=lambda: np.empty(0, np.int64))
    vectors: Vectors = field(default_factory=lambda: np.empty((0, 0), np.float32))
    settings: IndexSettings | None = None
    vector_set: VectorSetRecord | None = None
    reanalyzed: LexicalSegmentType | None = None
    compact: bool = False
    structures: Literal["keep", "due", "rebuild"] = "keep"
    fill: Fill | None = None

    def settings_after(self, before: IndexSettings) -> IndexSettings:
        """Return the settings after this change, with the changes since a measurement counted."""
        settings = self.settings if self.settings is not None else before
        changed = len({passage.id for passage in (*self.added, *self.deleted)})
        if not changed or not settings.agreement_passages:
            return settings
        return replace(settings, agreement_changed=settings.agreement_changed + changed)


Record = TypeVar("Record", bound=SegmentRecord | BlockRecord)


@dataclass(frozen=True, slots=True)
class RecordPlan(Generic[Record]):
    """The records of one part of an index after a commit."""

    kept: tuple[Record, ...] = ()
    written: tuple[Record, ...] = ()
    dropped: tuple[Record, ...] = ()

    @property
    def records(self) -> tuple[Record, ...]:
        """All records after the commit."""
        return (*self.kept, *self.written)

    @property
    def dropped_numbers(self) -> list[int]:
        """The numbers of the records that the commit removes."""
        return [record.number for record in self.dropped]

    @property
    def cleaned(self) -> bool:
        """Whether dead rows may have been removed."""
        return False

    def find_held(self, rows: Rows) -> Mask:
        """Return which dead rows are still stored; none by default."""
        return np.zeros(len(rows), np.bool_)


@dataclass(frozen=True, slots=True)
class StructurePlan(RecordPlan[SegmentRecord]):
    """The ANN structures. Their dead rows are those of the vectors, which are removed later."""


@dataclass(frozen=True, slots=True)
class SegmentPlan(RecordPlan[SegmentRecord]):
    """The segments of one leg."""

    kept_contents: tuple[SegmentContent, ...] = ()

    @property
    def cleaned(self) -> bool:
        """Whether dead rows may have been removed."""
        return bool(self.dropped)

    def find_held(self, rows: Rows) -> Mask:
        """Return which dead rows a kept segment still has; written ones have none."""
        held = np.zeros(len(rows), np.bool_)
        for content in self.kept_contents:
            held |= np.isin(rows, content.rows)
        return held


@dataclass(frozen=True, slots=True)
class BlockPlan(RecordPlan[BlockRecord]):
    """The vector blocks of one vector set."""

    @property
    def cleaned(self) -> bool:
        """Whether dead rows were removed, which only a new file does."""
        if not self.dropped or self.kept:
            return False
        return not self.written or self.written[0].file != self.dropped[0].file

    def find_held(self, rows: Rows) -> Mask:
        """Return which dead rows a block still has."""
        held = np.zeros(len(rows), np.bool_)
        for block in self.records:
            held |= np.isin(rows, block.rows)
        return held


class CommitPlanner:
    """Plans the records of a change, and writes their files.

    Args:
        layout: The index's paths.
        snapshot: The generation that is changed.
        change: The change.
        settings: The settings after the change.
        dead: All deleted rows after the change, ascending.
    """

    def __init__(
        self,
        layout: Layout,
        snapshot: Snapshot,
        change: Change,
        settings: IndexSettings,
        dead: Rows,
    ) -> None:
        self._layout = layout
        self._snapshot = snapshot
        self._change = change
        self._settings = settings
        self._dead = dead
        self.files = CommitFiles(layout, snapshot.state)

    def plan_segments(self, reader: CatalogReader) -> list[SegmentPlan]:
        """Plan the segments of every leg."""
        plans: list[SegmentPlan] = []
        snapshot, change = self._snapshot, self._change
        segment_types = dict(snapshot.segment_types)
        if change.reanalyzed is not None:
            leg = change.reanalyzed.leg
            segment_types.pop(leg, None)
            plans.append(self._write(leg, rebuild_segment(change.reanalyzed, snapshot, reader)))
        for leg, segment_type in segment_types.items():
            added = segment_type.build(change.added) if change.added else None
            stored = snapshot.segments_of(leg)
            result = merge_segments(segment_type, stored, added, self._dead, compact=change.compact)
            plans.append(self._write(leg, result))
        return plans

    def _write(self, leg: str, result: MergeResult) -> SegmentPlan:
        written = tuple(self.files.write_segment(leg, content) for content in result.written)
        return SegmentPlan(result.kept, written, result.dropped, result.kept_contents)

    def plan_vectors(self) -> list[BlockPlan]:
        """Plan the vector sets; the first plan is that of the set that is searched afterwards."""
        pending, fill = self._snapshot.pending, self._change.fill
        blocks = pending.blocks if pending is not None else ()
        if fill is None:
            return [self._plan_added_vectors(), BlockPlan(blocks)]
        abandoned = BlockPlan()
        if pending is not None and pending.record.number != fill.record.number:
            blocks, abandoned = (), BlockPlan(dropped=pending.blocks)
        last = blocks[-1] if blocks else None
        written = self.files.write_vectors(fill.record.number, last, fill.rows, fill.vectors)
        filled = BlockPlan(blocks, written)
        if fill.switch:
            return [filled, BlockPlan(dropped=self._active_blocks), abandoned]
        return [BlockPlan(self._active_blocks), filled, abandoned]

    @property
    def _active_blocks(self) -> tuple[BlockRecord, ...]:
        dense = self._snapshot.dense
        return tuple(dense.blocks.values()) if dense is not None else ()

    def _plan_added_vectors(self) -> BlockPlan:
        """Append the new vectors, or rewrite all live ones if most are dead."""
        dense, stored = self._snapshot.dense, self._active_blocks
        record = self._change.vector_set or self._snapshot.vector_set
        if record is None:
            return BlockPlan(stored)
        rows, vectors = self._change.vector_rows, self._change.vectors
        if dense is not None and len(self._dead) > GARBAGE:
            held = dense.rows
            dead = find_positions(self._dead, held)
            dead = dead[dead >= 0]
            if len(dead) > max(GARBAGE, len(held) - len(dead)):
                copied = self._copy_vectors(record.number, dense, np.delete(held, dead))
                last = copied[-1] if copied else None
                written = self.files.write_vectors(record.number, last, rows, vectors)
                return BlockPlan((), (*copied, *written), stored)
        if len(rows) == 0:
            return BlockPlan(stored)
        last = stored[-1] if stored else None
        if dense is not None and last is not None and last.count + len(rows) <= BLOCK:
            before, _ = dense.vectors(last.rows)
            written = self.files.write_vectors(record.number, last, rows, vectors, before=before)
            return BlockPlan(stored[:-1], written, (last,))
        return BlockPlan(stored, self.files.write_vectors(record.number, last, rows, vectors))

    def _copy_vectors(self, number: int, dense: DenseLeg, rows: Rows) -> tuple[BlockRecord, ...]:
        """Copy the vectors of these rows to a new file."""
        blocks: tuple[BlockRecord, ...] = ()
        for start in range(0, len(rows), COPIED):
            some = rows[start : start + COPIED]
            last = blocks[-1] if blocks else None
            blocks += self.files.write_vectors(number, last, some, dense.vectors(some)[0])
        return blocks

    def plan_structures(self, vectors: BlockPlan) -> StructurePlan:
        """Plan the ANN structures over these vectors, and build those that are due."""
        dense, settings, change = self._snapshot.dense, self._settings, self._change
        before = dense.structures if dense is not None else ()
        switched = change.fill is not None and change.fill.switch
        kept = () if switched or vectors.cleaned else before
        if not switched and change.structures == "keep":
            return StructurePlan(kept, (), _exclude(before, kept))
        if not vectors.records:
            return StructurePlan((), (), before)
        leg = DenseLeg(
            self._layout,
            settings,
            vectors.records,
            kept,
            self._dead,
            lambda rows: [""] * len(rows),  # ids only order ties in searches
            dense,
        )
        index = leg.index()
        rebuild = switched or change.structures == "rebuild" or leg.is_damaged
        builds = index.plan_builds(compact=rebuild)
        kept = kept[: len(index.structures)]
        if builds is None:
            return StructurePlan(kept, (), _exclude(before, kept))
        kept = tuple(kept[build.members[0]] for build in builds if build.reuse)
        written = tuple(
            self.files.write_structure(index.build(build)) for build in builds if not build.reuse
        )
        return StructurePlan(kept, written, _exclude(before, kept))


def _exclude(
    records: Sequence[SegmentRecord], kept: Sequence[SegmentRecord]
) -> tuple[SegmentRecord, ...]:
    return tuple(record for record in records if record not in kept)
