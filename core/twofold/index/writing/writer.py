"""Writes: plan a batch, put files down, commit the catalog, record HEAD."""

import json
import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from twofold.dense import index_type_from_dict
from twofold.errors import CorruptIndexError, IndexClosedError, IndexLockedError, ReadOnlyError
from twofold.index.dense_leg import DenseLeg, DenseRecords
from twofold.index.layout import Layout
from twofold.index.snapshot import Snapshot
from twofold.index.view import SnapshotProvider
from twofold.index.writing.commit import BlockPlan, Change, SegmentPlan, StructurePlan
from twofold.index.writing.commit_files import BLOCK, CommitFiles
from twofold.index.writing.segment_merges import merge_segments, rebuild_segment
from twofold.segments import positions_of
from twofold.storage import (
    BlockRecord,
    Catalog,
    CatalogReader,
    CatalogWriter,
    SegmentRecord,
    State,
    WriteLock,
    read_head,
    refuse_network,
    write_head,
)
from twofold.types import Rows

GARBAGE = 1024
"""Dead vectors below which a vector file is never rewritten."""
COPIED = 1 << 16
"""Vectors in memory at once when it is."""


class IndexWriter:
    """The one writer of an index; takes the lock at its first commit and keeps it."""

    def __init__(
        self, catalog: Catalog, layout: Layout, generations: SnapshotProvider, *, read_only: bool
    ) -> None:
        self._catalog = catalog
        self._layout = layout
        self._generations = generations
        self._read_only = read_only
        self.lock = WriteLock(layout.lock)
        # Threads write by turns: from the generation that a change was planned upon to its commit.
        self.turn = threading.RLock()

    def begin(self) -> None:
        """Take the write lock, and clear away what a killed writer left behind."""
        if self._read_only:
            raise ReadOnlyError(f"{self._layout.folder} was opened with read_only=True")
        with self.turn:
            if not self.lock.held:
                self._take()

    def _take(self) -> None:
        refuse_network(self._layout.folder)
        self.lock.acquire()
        try:
            for folder in (self._layout.vectors, self._layout.segments):
                folder.mkdir(exist_ok=True)  # copying tools leave empty folders out
            with self._generations.view() as view:
                snapshot = view.snapshot
            for path in self._layout.unused(snapshot.files):
                path.unlink()
            head = read_head(self._layout.head)
            check_generation(self._layout, snapshot.generation, head)
            if head != snapshot.generation:
                write_head(self._layout.head, snapshot.generation)
        except BaseException:
            self.lock.release()
            raise

    def commit(self, change: Change) -> None:
        """Make a change durable as a whole.

        An error before the catalog's commit leaves nothing but unused files, which the next
        writer clears; files are never taken back, since an interrupt may come after the commit.
        """
        if not self.lock.held:
            raise IndexClosedError(f"the index {self._layout.folder} was closed during a write")
        with self._generations.view() as view:
            snapshot = view.snapshot
            change = replace(change, settings=change.counted)
            files = CommitFiles(self._layout, snapshot.state)
            gone = np.array(sorted(each.row for each in change.gone), np.int64)
            dead = np.union1d(snapshot.dead, gone)
            segments = self._segments(snapshot, change, dead, files, view.reader)
        vectors = self._vectors(snapshot, change, dead, files)
        structures = self._structures(snapshot, change, dead, vectors[0], files)
        of_legs: list[SegmentPlan | StructurePlan] = [*segments, structures]
        plans = [*of_legs, *vectors]
        with self._catalog.writing() as catalog:
            if catalog.generation() != snapshot.generation:
                raise IndexLockedError(f"another writer changed {self._layout.folder}")
            digest = _put(catalog, change, snapshot)
            for plan in plans:
                plan.put(catalog)
            _put_tombstones(catalog, plans, gone, dead)
            state = State(
                generation=snapshot.generation + 1,
                next_row=change.added[-1].row + 1 if change.added else snapshot.state.next_row,
                next_file=snapshot.state.next_file + files.used,
                passages=snapshot.state.passages + len(change.added) - len(change.gone),
                segments=sum(len(plan.records) for plan in of_legs),
                vectors=sum(block.count for plan in vectors for block in plan.records),
                digest=(snapshot.state.digest + digest) % (1 << 64),
            )
            catalog.put_state(state)
        write_head(self._layout.head, state.generation)
        used = {record.file for plan in plans for record in plan.records}
        for name in snapshot.files - used:
            for path in (self._layout.segment_file(name), self._layout.vector_file(name)):
                path.unlink(missing_ok=True)

    def _segments(
        self,
        snapshot: Snapshot,
        change: Change,
        dead: Rows,
        files: CommitFiles,
        reader: CatalogReader,
    ) -> list[SegmentPlan]:
        """Write the segments of every leg that this change makes."""
        plans: list[SegmentPlan] = []
        kinds = dict(snapshot.segment_types)
        if change.reanalyzed is not None:
            kinds.pop(change.reanalyzed.leg, None)
            result = rebuild_segment(change.reanalyzed, snapshot, reader)
            written = tuple(files.segment(change.reanalyzed.leg, each) for each in result.written)
            plans.append(SegmentPlan(result, written))
        for leg, kind in kinds.items():
            fresh = kind.build(change.added) if change.added else None
            result = merge_segments(kind, snapshot.of_leg(leg), fresh, dead, compact=change.compact)
            written = tuple(files.segment(leg, content) for content in result.written)
            plans.append(SegmentPlan(result, written))
        return plans

    def _vectors(
        self, snapshot: Snapshot, change: Change, dead: Rows, files: CommitFiles
    ) -> list[BlockPlan]:
        """Write the vectors of the set that is searched after the commit, and of one being filled.

        The first plan is that of the set that is searched.
        """
        filling = snapshot.pending
        blocks = filling.blocks if filling is not None else ()
        if change.fill is None:
            kept = BlockPlan(blocks, (), ())
            return [self._blocks(snapshot, change, dead, files), kept]
        fill, others = change.fill, BlockPlan((), (), ())
        if filling is not None and filling.record.number != fill.record.number:
            blocks, others = (), BlockPlan((), (), filling.blocks)  # another model's, given up
        last = blocks[-1] if blocks else None
        number = fill.record.number
        fresh = files.vectors(number, last, fill.rows, fill.vectors, before=None)
        filled = BlockPlan(blocks, fresh, ())
        active = tuple(snapshot.dense.blocks.values()) if snapshot.dense is not None else ()
        if fill.switch:
            return [filled, BlockPlan((), (), active), others]
        return [BlockPlan(active, (), ()), filled, others]

    def _structures(
        self,
        snapshot: Snapshot,
        change: Change,
        dead: Rows,
        vectors: BlockPlan,
        files: CommitFiles,
    ) -> StructurePlan:
        """Build the structures over vectors that are due, from what the commit leaves of those."""
        dense, settings = snapshot.dense, change.settings
        before = dense.structures if dense is not None else ()
        switched = change.fill is not None and change.fill.switch
        if switched or vectors.cleaned:
            before_kept: tuple[SegmentRecord, ...] = ()
        else:
            before_kept = before
        if not switched and change.structures == "left":
            gone = tuple(each for each in before if each not in before_kept)
            return StructurePlan(before_kept, (), gone)
        if settings.dim is None or settings.metric is None or not vectors.records:
            return StructurePlan((), (), before)
        records = DenseRecords(
            settings.metric,
            settings.dim,
            index_type_from_dict(json.loads(settings.kind)),
            vectors.records,
            before_kept,
        )
        # Ids decide ties in searches, and nothing is searched here.
        leg = DenseLeg(self._layout, records, dead, lambda rows: [""] * len(rows), dense)
        index = leg.index()
        anew = switched or change.structures == "anew" or leg.is_damaged
        pieces = index.due(compact=anew)
        intact = before_kept[: len(index.structures)]
        if pieces is None:
            return StructurePlan(intact, (), tuple(each for each in before if each not in intact))
        kept = tuple(intact[piece.members[0]] for piece in pieces if piece.stays)
        written = tuple(files.structure(index.made(piece)) for piece in pieces if not piece.stays)
        return StructurePlan(kept, written, tuple(each for each in before if each not in kept))

    def _blocks(
        self, snapshot: Snapshot, change: Change, dead: Rows, files: CommitFiles
    ) -> BlockPlan:
        """Append the new vectors, or write all live ones anew where most are dead."""
        dense = snapshot.dense
        stored = list(dense.blocks.values()) if dense is not None else []
        if change.vector_set is None:
            return BlockPlan(tuple(stored), (), ())
        number = change.vector_set.number
        rows, vectors = change.vector_rows, change.vectors
        if dense is not None and len(dead) > GARBAGE:
            held = dense.rows
            gone = positions_of(dead, held)
            gone = gone[gone >= 0]
            if len(gone) > max(GARBAGE, len(held) - len(gone)):
                alive = np.delete(held, gone)
                fresh = _rewritten(files, number, dense, alive)
                last = fresh[-1] if fresh else None
                more = files.vectors(number, last, rows, vectors, before=None)
                return BlockPlan((), (*fresh, *more), tuple(stored))
        if len(rows) == 0:
            return BlockPlan(tuple(stored), (), ())
        last = stored[-1] if stored else None
        if dense is not None and last is not None and last.count + len(rows) <= BLOCK:
            before, _ = dense.vectors(last.rows)
            fresh = files.vectors(number, last, rows, vectors, before=before)
            return BlockPlan(tuple(stored[:-1]), fresh, (last,))
        fresh = files.vectors(number, last, rows, vectors, before=None)
        return BlockPlan(tuple(stored), fresh, ())


def _rewritten(
    files: CommitFiles, number: int, dense: DenseLeg, rows: Rows
) -> tuple[BlockRecord, ...]:
    """Copy the vectors of these rows to a new file, some at a time."""
    blocks: tuple[BlockRecord, ...] = ()
    for start in range(0, len(rows), COPIED):
        some = rows[start : start + COPIED]
        last = blocks[-1] if blocks else None
        blocks += files.vectors(number, last, some, dense.vectors(some)[0], before=None)
    return blocks


def _put(catalog: CatalogWriter, change: Change, snapshot: Snapshot) -> int:
    """Write passages, settings and vector sets; return by how much the digest changes."""
    if change.settings != catalog.settings():
        catalog.put_settings(change.settings)
    if change.vector_set is not None and change.vector_set != snapshot.vector_set:
        catalog.put_vector_set(change.vector_set)
    fill, filling = change.fill, snapshot.pending
    if fill is not None:
        if filling is not None and filling.record.number != fill.record.number:
            catalog.drop_vector_set(filling.record.number)
        if fill.switch and snapshot.vector_set is not None:
            catalog.drop_vector_set(snapshot.vector_set.number)
        catalog.put_vector_set(replace(fill.record, active=int(fill.switch)))
    catalog.remove_passages(each.row for each in change.gone)
    return catalog.add_passages(change.added) - sum(each.checksum for each in change.gone)


def _put_tombstones(
    catalog: CatalogWriter,
    plans: Sequence[SegmentPlan | BlockPlan | StructurePlan],
    gone: Rows,
    dead: Rows,
) -> None:
    """Record newly dead rows; forget those that no file holds any more."""
    if not len(dead) or not any(plan.cleaned for plan in plans):
        catalog.add_tombstones(gone)
        return
    held = np.zeros(len(dead), np.bool_)
    for plan in plans:
        held |= plan.holds(dead)
    if held.sum() < len(dead) / 2:
        catalog.add_tombstones(dead[held], instead=True)
    else:
        catalog.add_tombstones(gone)


def check_generation(layout: Layout, generation: int, head: int) -> None:
    """Raise CorruptIndexError if a catalog lacks commits that HEAD knows of."""
    if generation < head:
        raise CorruptIndexError(
            f"{layout.folder} is damaged: its catalog is at generation {generation}, and "
            f"generation {head} was committed; restore the index from a copy"
        )
    if head < 0 and generation > 0 and read_head(layout.head) < 0:
        raise CorruptIndexError(f"{layout.folder} has lost its HEAD file: restore it from a copy")
