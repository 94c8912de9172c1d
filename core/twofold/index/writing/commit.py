"""The change that a commit makes, and the plan of the records and files that it needs."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from twofold.dense import PassageVectors
from twofold.index.dense_leg import DenseLeg
from twofold.index.layout import Layout
from twofold.index.segment_types import LexicalSegmentType
from twofold.index.snapshot import Snapshot
from twofold.index.writing.commit_files import BLOCK, CommitFiles
from twofold.index.writing.segment_merges import MergeResult, merge_segments, rebuild_segment
from twofold.segments import find_runs
from twofold.storage import (
    FORMAT,
    BlockRecord,
    CatalogReader,
    IndexSettings,
    SegmentRecord,
    StoredPassage,
    VectorSetRecord,
)
from twofold.types import Mask, Rows

GARBAGE = 1024
"""Number of dead vectors up to which a vector file is never rewritten."""
COPIED = 1 << 16
"""Passages whose vectors are held in memory while a vector file is rewritten."""


@dataclass(frozen=True, slots=True)
class Fill:
    """Vectors to add to a pending vector set, which ``switch`` activates."""

    record: VectorSetRecord
    vectors: PassageVectors
    switch: bool


@dataclass(frozen=True, slots=True)
class Change:
    """The changes of one commit.

    Attributes:
        added: Passages added, with new rows.
        deleted: Passages deleted.
        vectors: The vectors of added passages.
        settings: The new settings, None for the present ones.
        vector_set: The record of the vectors' set, None for the present one.
        reanalyzed: Builds new postings of all passages, in a commit that adds no passages.
        compact: Whether to merge each leg's segments into one.
        structures: Whether to retain ANN structures, build those due, or rebuild all as one.
        fill: Vectors for a pending vector set.
    """

    added: tuple[StoredPassage, ...] = ()
    deleted: tuple[StoredPassage, ...] = ()
    vectors: PassageVectors = field(default_factory=PassageVectors.empty)
    settings: IndexSettings | None = None
    vector_set: VectorSetRecord | None = None
    reanalyzed: LexicalSegmentType | None = None
    compact: bool = False
    structures: Literal["keep", "due", "rebuild"] = "keep"
    fill: Fill | None = None

    def settings_after(self, before: IndexSettings) -> IndexSettings:
        """Return the settings after this change; ``agreement_changed`` counts its passages.

        They have the present format, since what is written may need it.
        """
        settings = self.settings if self.settings is not None else before
        settings = settings if settings.format == FORMAT else replace(settings, format=FORMAT)
        changed = len({passage.id for passage in (*self.added, *self.deleted)})
        if not changed or not settings.agreement_passages:
            return settings
        return replace(settings, agreement_changed=settings.agreement_changed + changed)


Record = TypeVar("Record", bound=SegmentRecord | BlockRecord)


@dataclass(frozen=True, slots=True)
class RecordPlan(Generic[Record]):
    """The records of one leg's segments or one vector set, before and after a commit.

    Attributes:
        cleaned: Whether dead rows may have been removed.
        stored_rows: Returns arrays of the rows that records still hold, dead ones included.
    """

    retained: tuple[Record, ...] = ()
    written: tuple[Record, ...] = ()
    dropped: tuple[Record, ...] = ()
    cleaned: bool = False
    stored_rows: Callable[[], Iterable[NDArray[Any]]] = tuple

    @property
    def records(self) -> tuple[Record, ...]:
        """All records after the commit."""
        return (*self.retained, *self.written)

    @property
    def dropped_numbers(self) -> list[int]:
        """The numbers of the records that the commit removes."""
        return [record.number for record in self.dropped]

    def find_stored(self, rows: Rows) -> Mask:
        """Return, for each row, whether a record still holds it."""
        stored = np.zeros(len(rows), np.bool_)
        for part in self.stored_rows():
            stored |= np.isin(rows, part)
        return stored


BlockPlan = RecordPlan[BlockRecord]
SegmentPlan = RecordPlan[SegmentRecord]


def _plan_blocks(
    retained: tuple[BlockRecord, ...] = (),
    written: tuple[BlockRecord, ...] = (),
    dropped: tuple[BlockRecord, ...] = (),
) -> BlockPlan:
    """Return the plan of a vector set; only a rewrite to a new file removes dead rows."""
    rewritten = not written or not dropped or written[0].file != dropped[0].file
    cleaned = bool(dropped) and not retained and rewritten
    return RecordPlan(
        retained, written, dropped, cleaned, lambda: (block.rows for block in (*retained, *written))
    )


class CommitPlanner:
    """Plans the records of a change, and writes their files.

    ``settings`` and ``dead`` (all deleted rows) are those after the change.
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
        retained, dropped = result.retained, result.dropped
        return RecordPlan(
            retained,
            written,
            dropped,
            bool(dropped),
            lambda: (c.rows for c in result.retained_contents),
        )

    def plan_vectors(self) -> list[BlockPlan]:
        """Plan the vector sets; the first plan is that of the set searched after the commit."""
        pending, fill = self._snapshot.pending, self._change.fill
        blocks = pending.blocks if pending is not None else ()
        if fill is None:
            return [self._plan_added_vectors(), _plan_blocks(blocks)]
        abandoned = _plan_blocks()
        if pending is not None and pending.record.number != fill.record.number:
            blocks, abandoned = (), _plan_blocks(dropped=pending.blocks)
        last = blocks[-1] if blocks else None
        written = self.files.write_vectors(fill.record.number, last, fill.vectors)
        filled = _plan_blocks(blocks, written)
        if fill.switch:
            return [filled, _plan_blocks(dropped=self._active_blocks), abandoned]
        return [_plan_blocks(self._active_blocks), filled, abandoned]

    @property
    def _active_blocks(self) -> tuple[BlockRecord, ...]:
        dense = self._snapshot.dense
        return tuple(dense.blocks.values()) if dense is not None else ()

    def _plan_added_vectors(self) -> BlockPlan:
        """Append the new vectors, or rewrite all live ones if most are dead."""
        dense, stored = self._snapshot.dense, self._active_blocks
        record = self._change.vector_set or self._snapshot.vector_set
        if record is None:
            return _plan_blocks(stored)
        vectors = self._change.vectors
        if dense is not None and (len(self._dead) > GARBAGE or dense.has_windows):
            held = dense.rows
            dead = int(find_runs(self._dead, held)[1].sum())
            if dead > max(GARBAGE, len(held) - dead):
                live = np.setdiff1d(held, self._dead)
                copied = self._copy_vectors(record.number, dense, live)
                last = copied[-1] if copied else None
                written = self.files.write_vectors(record.number, last, vectors)
                return _plan_blocks((), (*copied, *written), stored)
        if len(vectors) == 0:
            return _plan_blocks(stored)
        last = stored[-1] if stored else None
        if dense is not None and last is not None and last.count + len(vectors) <= BLOCK:
            before = dense.block_vectors(last)
            written = self.files.write_vectors(record.number, last, vectors, before=before)
            return _plan_blocks(stored[:-1], written, (last,))
        return _plan_blocks(stored, self.files.write_vectors(record.number, last, vectors))

    def _copy_vectors(self, number: int, dense: DenseLeg, rows: Rows) -> tuple[BlockRecord, ...]:
        """Copy all vectors of these rows, which ascend, to a new file."""
        blocks: tuple[BlockRecord, ...] = ()
        for start in range(0, len(rows), COPIED):
            some = rows[start : start + COPIED]
            last = blocks[-1] if blocks else None
            blocks += self.files.write_vectors(number, last, dense.all_vectors(some))
        return blocks

    def plan_structures(self, vectors: BlockPlan) -> SegmentPlan:
        """Plan the ANN structures over the blocks of ``vectors``, and build those that are due.

        Dead rows in structures need no record: the vector blocks hold them for as long.
        """
        dense, settings, change = self._snapshot.dense, self._settings, self._change
        before = dense.structures if dense is not None else ()
        switched = change.fill is not None and change.fill.switch
        retained = () if switched or vectors.cleaned else before
        if not switched and change.structures == "keep":
            return RecordPlan(retained, (), _exclude(before, retained))
        if not vectors.records:
            return RecordPlan((), (), before)
        leg = DenseLeg(
            self._layout,
            settings,
            vectors.records,
            retained,
            self._dead,
            lambda rows: [""] * len(rows),  # ids only order ties in searches
            dense,
        )
        index = leg.index
        rebuild = switched or change.structures == "rebuild" or leg.is_damaged
        builds = index.plan_builds(compact=rebuild)
        retained = retained[: len(index.structures)]
        if builds is None:
            return RecordPlan(retained, (), _exclude(before, retained))
        retained = tuple(retained[build.members[0]] for build in builds if build.reuse)
        written = tuple(
            self.files.write_structure(index.build(build)) for build in builds if not build.reuse
        )
        return RecordPlan(retained, written, _exclude(before, retained))


def _exclude(
    records: Sequence[SegmentRecord], retained: Sequence[SegmentRecord]
) -> tuple[SegmentRecord, ...]:
    return tuple(record for record in records if record not in retained)
