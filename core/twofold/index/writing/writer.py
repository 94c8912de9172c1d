"""The writer of an index: its lock, its transactions and its commits."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from twofold.concurrency import ForkSafeLock, check_cancelled
from twofold.errors import IndexClosedError, IndexLockedError, ReadOnlyError
from twofold.index.layout import Layout
from twofold.index.snapshot import Snapshot
from twofold.index.view import IndexView, SnapshotProvider
from twofold.index.writing.commit import BlockPlan, Change, CommitPlanner, SegmentPlan
from twofold.storage import (
    Catalog,
    CatalogKey,
    CatalogWriter,
    State,
    WriteLock,
    check_local_disk,
    file_key,
    make_folders,
    read_head,
    storage_errors,
    write_head,
)
from twofold.types import Rows

AnyPlan = SegmentPlan | BlockPlan
_BUSY = 60.0
"""Seconds to wait while another thread of this process is writing."""
_PAUSE = 0.05
"""Seconds between two tries to take the write lock."""


class Transaction:
    """A write to the newest generation; ``change`` is committed when the ``with`` block ends.

    Attributes:
        view: The generation that is changed.
        snapshot: The content of that generation.
        change: What to commit, None for nothing.
    """

    def __init__(self, view: IndexView) -> None:
        self.view = view
        self.snapshot = view.snapshot
        self.change: Change | None = None


class IndexWriter:
    """Commits changes to an index, one at a time.

    The first write takes the lock, which is held until ``close``, or until another writer of this
    process needs it. Several writers of one process therefore take turns.

    Attributes:
        layout: The index's paths.
        snapshots: Opens the newest generation.
        wait: Seconds to wait for the write lock while another writer has it.
        turn: Lock that a thread holds from the start of a transaction to its commit.
    """

    def __init__(
        self,
        catalog: Catalog,
        layout: Layout,
        snapshots: SnapshotProvider,
        *,
        read_only: bool,
        wait: float = 0.0,
    ) -> None:
        self._catalog = catalog
        self.layout = layout
        self.snapshots = snapshots
        self.read_only = read_only
        self.wait = wait
        self._closed = False
        self._lock = WriteLock(layout.lock, self._hand_over)
        self._written_by: tuple[int, int] | None = None  # process and thread of a transaction
        self.turn = ForkSafeLock(reentrant=True)

    def check_open(self) -> None:
        """Raise IndexClosedError if the index was closed."""
        if self._closed:
            raise IndexClosedError(f"the index {self.layout.folder} was closed: open it again")

    def begin(self) -> None:
        """Take the write lock, and delete files that a killed writer left behind.

        Raises IndexClosedError, ReadOnlyError, and IndexLockedError if there is another writer.
        """
        self.check_open()
        if self.read_only:
            raise ReadOnlyError(f"{self.layout.folder} was opened with read_only=True")
        with self.turn:
            if self._lock.held and not self._lock.is_current():
                self._lock.release()  # it is that of an index which was in the folder before
            if not self._lock.held:
                with storage_errors(self.layout.folder):
                    self._take_lock()

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Open the newest generation for a change, which is committed when the block ends.

        Raises like ``begin``.
        """
        with self.turn:
            self.begin()
            outer, self._written_by = self._written_by, _this_thread()
            try:
                with self.snapshots.view() as view:
                    transaction = Transaction(view)
                    yield transaction
                if transaction.change is not None:
                    with storage_errors(self.layout.folder):
                        self._commit(transaction.change, transaction.view.key)
            finally:
                self._written_by = outer

    def close(self) -> None:
        """Release the write lock; later writes raise IndexClosedError."""
        self._closed = True
        self._lock.release()

    def _take_lock(self) -> None:
        file_key(self.layout.catalog)  # raises if the folder is gone
        self.layout.check_writable()
        check_local_disk(self.layout.folder)
        self._acquire_lock()
        try:
            for folder in (self.layout.vectors, self.layout.segments):
                make_folders(folder)  # some copying tools omit empty folders
            with self.snapshots.view() as view:
                snapshot = view.snapshot
            self._check_current()
            head = read_head(self.layout.head)
            self.layout.check_head(snapshot.version, head)
            self.layout.delete_files(
                self._lock.folder,
                lambda name: (
                    name.startswith(f"{snapshot.state.identity}-") and name not in snapshot.files
                ),
            )
            if head != snapshot.version:
                write_head(self.layout.head, snapshot.version, folder=self._lock.folder)
        except BaseException:
            self._lock.release()
            raise

    def _acquire_lock(self) -> None:
        """Take the lock. Wait ``wait`` seconds for another process, ``_BUSY`` for a thread here."""
        started = time.monotonic()
        while (error := self._try_lock()) is not None:
            patience = max(self.wait, _BUSY) if self._lock.is_busy_here else self.wait
            left = started + patience - time.monotonic()
            if left <= 0:
                raise error
            check_cancelled()
            time.sleep(min(left, _PAUSE))

    def _try_lock(self) -> IndexLockedError | None:
        """Take the lock; return the error if another writer has it."""
        try:
            self._lock.take_over()
        except IndexLockedError as error:
            return error
        return None

    def _hand_over(self) -> bool | None:
        """Release the lock for another writer of this process.

        Returns None while another thread is writing, and False if the caller itself is.
        """
        if not self.turn.try_acquire():
            return None
        with self.turn.acquired():
            if self._written_by == _this_thread():
                return False
            self._lock.release()
            return True

    def _check_current(self) -> None:
        """Raise IndexLockedError if another folder has taken the path of the locked one."""
        if not self._lock.is_current():
            raise IndexLockedError(
                f"another index replaced {self.layout.folder} during a write: repeat the write"
            )

    def _commit(self, change: Change, key: CatalogKey) -> None:
        """Commit ``change``, planned on the generation ``key``, durably and as a whole.

        An error before the catalog's commit leaves only unused files. They are not deleted here,
        since an interrupt may come after the commit; the next writer deletes them.
        """
        if not self._lock.held:
            raise IndexClosedError(f"the index {self.layout.folder} was closed during a write")
        with self.snapshots.view() as view:
            snapshot = view.snapshot
            self._check_current()
            if view.key != key:
                raise IndexLockedError(f"another writer changed {self.layout.folder}: write again")
            settings = change.settings_after(snapshot.settings)
            deleted = np.array(sorted(passage.row for passage in change.deleted), np.int64)
            dead = np.union1d(snapshot.dead, deleted)
            planner = CommitPlanner(self.layout, snapshot, change, settings, dead)
            segments = planner.plan_segments(view.reader)
        vectors = planner.plan_vectors()
        structures = planner.plan_structures(vectors[0])
        segment_plans = [*segments, structures]
        plans: list[AnyPlan] = [*segment_plans, *vectors]
        with self._catalog.write_transaction() as catalog:
            if catalog.key() != key:
                raise IndexLockedError(f"another writer changed {self.layout.folder}: write again")
            if settings != snapshot.settings:
                catalog.put_settings(settings)
            digest = _put_change(catalog, change, snapshot)
            for plan in segment_plans:
                catalog.put_segments(plan.written, plan.dropped_numbers)
            for block_plan in vectors:
                catalog.put_blocks(block_plan.written, block_plan.dropped_numbers)
            _put_tombstones(catalog, plans, deleted, dead)
            state = State(
                identity=snapshot.state.identity,
                generation=snapshot.generation + 1,
                next_row=change.added[-1].row + 1 if change.added else snapshot.state.next_row,
                next_file=snapshot.state.next_file + planner.files.used,
                passages=snapshot.state.passages + len(change.added) - len(change.deleted),
                segments=sum(len(plan.records) for plan in segment_plans),
                vectors=sum(block.count for plan in vectors for block in plan.records),
                digest=(snapshot.state.digest + digest) % (1 << 64),
            )
            catalog.put_state(state)
            self._check_current()
            check_cancelled()
        write_head(self.layout.head, (state.identity, state.generation), folder=self._lock.folder)
        disowned = snapshot.files - {record.file for plan in plans for record in plan.records}
        if disowned:
            self.layout.delete_files(self._lock.folder, disowned.__contains__)


def _this_thread() -> tuple[int, int]:
    return os.getpid(), threading.get_ident()


def _put_change(catalog: CatalogWriter, change: Change, snapshot: Snapshot) -> int:
    """Write passages and vector set records; return what to add to the state's digest."""
    if change.vector_set is not None and change.vector_set != snapshot.vector_set:
        catalog.put_vector_set(change.vector_set)
    fill, pending = change.fill, snapshot.pending
    if fill is not None:
        if pending is not None and pending.record.number != fill.record.number:
            catalog.drop_vector_set(pending.record.number)
        if fill.switch and snapshot.vector_set is not None:
            catalog.drop_vector_set(snapshot.vector_set.number)
        catalog.put_vector_set(replace(fill.record, active=int(fill.switch)))
    catalog.remove_passages(passage.row for passage in change.deleted)
    added = catalog.add_passages(change.added)
    return added - sum(passage.checksum for passage in change.deleted)


def _put_tombstones(
    catalog: CatalogWriter, plans: list[AnyPlan], deleted: Rows, dead: Rows
) -> None:
    """Record ``deleted`` rows; forget ``dead`` rows that no file holds any more."""
    if len(dead) and any(plan.cleaned for plan in plans):
        held = np.zeros(len(dead), np.bool_)
        for plan in plans:
            held |= plan.find_stored(dead)
        if held.sum() < len(dead) / 2:
            catalog.add_tombstones(dead[held], replace_all=True)
            return
    catalog.add_tombstones(deleted)
