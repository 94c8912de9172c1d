"""Writes: plan a batch, put files down, commit the catalog, record HEAD."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from twofold.catalog import (
    BlockRecord,
    Catalog,
    CatalogReader,
    CatalogWriter,
    SegmentRecord,
    Settings,
    State,
    StoredPassage,
    VectorSetRecord,
    WriteLock,
    append_vectors,
    content_hash,
    pack,
    read_head,
    refuse_network,
    rows_data,
    write_head,
    write_whole,
)
from twofold.errors import (
    CorruptIndexError,
    IndexClosedError,
    IndexLockedError,
    ReadOnlyError,
)
from twofold.index.layout import Layout
from twofold.index.legs import LexicalKind, SegmentContent
from twofold.index.merging import Merged, merged, rebuilt
from twofold.index.snapshot import Snapshot
from twofold.index.view import Generations
from twofold.types import Rows, Vectors

IN_CATALOG = 1 << 18
"""Segments up to this many bytes live in the catalog itself, larger ones in files."""
BLOCK = 1024
"""Vectors up to which the last block still grows, so that small writes don't make many."""
GARBAGE = 1024
"""Dead vectors below which a vector file is never rewritten."""


@dataclass(frozen=True, slots=True)
class Change:
    """What one commit does; ``vectors`` belong to ``vector_rows``, rows that were just added.

    ``reanalyzed`` builds the postings of all passages anew, in a commit that adds none;
    ``compact`` leaves one segment a leg.
    """

    added: tuple[StoredPassage, ...]
    gone: tuple[StoredPassage, ...]
    vector_rows: Rows
    vectors: Vectors
    settings: Settings
    vector_set: VectorSetRecord | None
    reanalyzed: LexicalKind | None = None
    compact: bool = False

    @classmethod
    def of_nothing(cls, settings: Settings, vector_set: VectorSetRecord | None) -> "Change":
        """Return a change that neither adds nor removes passages."""
        nothing = np.empty(0, np.int64), np.empty((0, settings.dim or 0), np.float32)
        return cls((), (), *nothing, settings, vector_set)


class IndexWriter:
    """The one writer of an index; takes the lock at its first commit and keeps it."""

    def __init__(
        self, catalog: Catalog, layout: Layout, generations: Generations, *, read_only: bool
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
            files = _Files(self._layout, snapshot.state)
            gone = np.array(sorted(each.row for each in change.gone), np.int64)
            dead = np.union1d(snapshot.dead, gone)
            segments = self._segments(snapshot, change, dead, files, view.reader)
        blocks = self._blocks(snapshot, change, dead, files)
        plans: list[_SegmentPlan | _BlockPlan] = [*segments, blocks]
        with self._catalog.writing() as catalog:
            if catalog.generation() != snapshot.generation:
                raise IndexLockedError(f"another writer changed {self._layout.folder}")
            digest = _put(catalog, change)
            for plan in plans:
                plan.put(catalog)
            _put_tombstones(catalog, plans, gone, dead)
            state = State(
                generation=snapshot.generation + 1,
                next_row=change.added[-1].row + 1 if change.added else snapshot.state.next_row,
                next_file=snapshot.state.next_file + files.used,
                passages=snapshot.state.passages + len(change.added) - len(change.gone),
                segments=sum(len(plan.records) for plan in segments),
                vectors=sum(block.count for block in blocks.records),
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
        files: "_Files",
        reader: CatalogReader,
    ) -> list["_SegmentPlan"]:
        """Write the segments of every leg that this change makes."""
        plans: list[_SegmentPlan] = []
        kinds = dict(snapshot.kinds)
        if change.reanalyzed is not None:
            kinds.pop(change.reanalyzed.leg, None)
            result = rebuilt(change.reanalyzed, snapshot, reader)
            written = tuple(files.segment(change.reanalyzed.leg, each) for each in result.written)
            plans.append(_SegmentPlan(result, written))
        for leg, kind in kinds.items():
            fresh = kind.build(change.added) if change.added else None
            result = merged(kind, snapshot.of_leg(leg), fresh, dead, compact=change.compact)
            written = tuple(files.segment(leg, content) for content in result.written)
            plans.append(_SegmentPlan(result, written))
        return plans

    def _blocks(
        self, snapshot: Snapshot, change: Change, dead: Rows, files: "_Files"
    ) -> "_BlockPlan":
        """Append the new vectors, or write all live ones anew where most are dead."""
        dense = snapshot.dense
        stored = list(dense.blocks.values()) if dense is not None else []
        if change.vector_set is None:
            return _BlockPlan(tuple(stored), (), ())
        number = change.vector_set.number
        rows, vectors = change.vector_rows, change.vectors
        if dense is not None:
            held = dense.rows
            alive = held[~np.isin(held, dead)]
            if len(held) - len(alive) > max(GARBAGE, len(alive)):
                kept, _ = dense.vectors(alive)
                rows = np.concatenate([alive, rows])
                vectors = np.concatenate([kept, vectors]) if len(vectors) else kept
                fresh = files.vectors(number, None, rows, vectors, before=None)
                return _BlockPlan((), fresh, tuple(stored))
        if len(rows) == 0:
            return _BlockPlan(tuple(stored), (), ())
        last = stored[-1] if stored else None
        if dense is not None and last is not None and last.count + len(rows) <= BLOCK:
            before, _ = dense.vectors(last.rows)
            fresh = files.vectors(number, last, rows, vectors, before=before)
            return _BlockPlan(tuple(stored[:-1]), fresh, (last,))
        fresh = files.vectors(number, last, rows, vectors, before=None)
        return _BlockPlan(tuple(stored), fresh, ())


@dataclass(frozen=True, slots=True)
class _SegmentPlan:
    """One leg's segments after a commit."""

    result: Merged
    written: tuple[SegmentRecord, ...]

    def put(self, catalog: CatalogWriter) -> None:
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
class _BlockPlan:
    """The vector blocks after a commit."""

    kept: tuple[BlockRecord, ...]
    written: tuple[BlockRecord, ...]
    dropped: tuple[BlockRecord, ...]

    def put(self, catalog: CatalogWriter) -> None:
        catalog.put_blocks(self.written, [block.number for block in self.dropped])

    @property
    def records(self) -> tuple[BlockRecord, ...]:
        """All blocks of the vector set."""
        return (*self.kept, *self.written)

    @property
    def cleaned(self) -> bool:
        """Whether dead rows have left the vectors, which they do in a new file only."""
        return bool(self.dropped) and not self.kept and self.written[0].first == 0

    def holds(self, rows: Rows) -> NDArray[np.bool_]:
        """Return which dead rows a block still has."""
        out = np.zeros(len(rows), np.bool_)
        for block in self.records:
            out |= np.isin(rows, block.rows)
        return out


class _Files:
    """Names and writes the files of one commit, and takes them back if it fails."""

    def __init__(self, layout: Layout, state: State) -> None:
        self._layout = layout
        self._next = state.next_file
        self.used = 0

    def segment(self, leg: str, content: SegmentContent) -> SegmentRecord:
        """Write a segment, a small one into the record itself."""
        number = self._number()
        data = pack(content.arrays())
        record = SegmentRecord(
            number=number,
            leg=leg,
            first=int(content.rows[0]),
            last=int(content.rows[-1]),
            rows=len(content.rows),
            file=None,
            blob=data,
            size=len(data),
            hash=content_hash(data),
        )
        if len(data) <= IN_CATALOG:
            return record
        name = f"{number:010d}.{leg}"
        path = self._layout.segment_file(name)
        write_whole(path, data)
        return replace(record, file=name, blob=None)

    def vectors(
        self,
        vector_set: int,
        last: BlockRecord | None,
        rows: Rows,
        vectors: Vectors,
        *,
        before: Vectors | None,
    ) -> tuple[BlockRecord, ...]:
        """Append vectors after the ``last`` block, or to a new file; return their blocks.

        ``before`` are the vectors of the last block where it is to grow by the new ones.
        """
        if last is None:
            name, start = f"{self._number():010d}.f32", 0
        else:
            name, start = last.file, last.first + last.count
        path = self._layout.vector_file(name)
        append_vectors(path, start, vectors)
        if before is not None and last is not None:
            rows = np.concatenate([last.rows, rows])
            vectors = np.concatenate([before, vectors])
            start = last.first
        return tuple(
            BlockRecord(
                number=self._number(),
                vector_set=vector_set,
                file=name,
                first=start + at,
                count=len(rows[at : at + BLOCK]),
                rows_data=rows_data(rows[at : at + BLOCK]),
                hash=content_hash(np.ascontiguousarray(vectors[at : at + BLOCK])),
            )
            for at in range(0, len(rows), BLOCK)
        )

    def _number(self) -> int:
        number = self._next + self.used
        self.used += 1
        return number


def _put(catalog: CatalogWriter, change: Change) -> int:
    """Write passages, settings and the vector set; return by how much the digest changes."""
    if change.settings != catalog.settings():
        catalog.put_settings(change.settings)
    if change.vector_set is not None and catalog.vector_set() != change.vector_set:
        catalog.put_vector_set(change.vector_set)
    catalog.remove_passages(each.row for each in change.gone)
    return catalog.add_passages(change.added) - sum(each.checksum for each in change.gone)


def _put_tombstones(
    catalog: CatalogWriter,
    plans: Sequence[_SegmentPlan | _BlockPlan],
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
