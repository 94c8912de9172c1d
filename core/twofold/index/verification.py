"""Verification: every byte read and compared with its checksum, and the parts with each other."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twofold.errors import CorruptIndexError
from twofold.index.layout import Layout
from twofold.index.saved_records import adapter_problem, stored_adapters
from twofold.index.segment_types import live_flags
from twofold.index.snapshot import LoadedSegment, Snapshot, load_snapshot
from twofold.protocols import Analyzer
from twofold.storage import Catalog, CatalogReader, read_head

_TRIES = 5


@dataclass(frozen=True, slots=True)
class Verification:
    """The outcome: no ``problems`` means that all is as it was written."""

    generation: int
    passages: int
    vectors: int
    segments: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def verify(
    catalog: Catalog, layout: Layout, analyzers: Sequence[Analyzer], *, deep: bool
) -> Verification:
    """Verify the newest generation; ``deep`` builds what is derived anew and compares.

    Everything is read again from disk. A writer that goes on meanwhile is no damage: where files
    went because the generation moved on, the newer one is verified instead. ``deep`` raises
    IndexMismatchError where the analyzer that built the postings is not to be had.
    """
    for _ in range(_TRIES):
        report = _verified(catalog, layout, analyzers, deep=deep)
        with catalog.reading() as reader:
            if report.ok or reader.generation() == report.generation:
                return report
    return report


def _verified(
    catalog: Catalog, layout: Layout, analyzers: Sequence[Analyzer], *, deep: bool
) -> Verification:
    problems: list[str] = []
    try:
        head = read_head(layout.head)  # before the catalog, which may move on
    except CorruptIndexError as error:
        head = -1
        problems.append(str(error))
    with catalog.reading() as reader:
        snapshot = load_snapshot(reader, layout, None, analyzers)
        problems += reader.check() + snapshot.damage
        if head > snapshot.generation:
            problems.append(
                f"generation {head} was committed, and the catalog is at {snapshot.generation}"
            )
        problems += _adapters(layout, snapshot)
        problems += _passages(reader, snapshot)
        if deep:
            for each in snapshot.segments.values():
                problems += _differing(reader, snapshot, each)
        if snapshot.dense is not None:
            problems += snapshot.dense.damage()
        return Verification(
            generation=snapshot.generation,
            passages=snapshot.state.passages,
            vectors=len(snapshot.dense.rows) if snapshot.dense is not None else 0,
            segments=len(snapshot.segments),
            problems=tuple(problems),
        )


def _adapters(layout: Layout, snapshot: Snapshot) -> list[str]:
    """Check that the files of saved adapters are as written; the one in use was read already."""
    records = stored_adapters(snapshot.settings).items()
    found = (adapter_problem(layout, name, record["hash"]) for name, record in records)
    return [each for each in found if each not in (None, snapshot.active_adapter.problem)]


def _passages(reader: CatalogReader, snapshot: Snapshot) -> list[str]:
    """Check that all passages are there, and every one in each segmented leg."""
    count, digest = 0, 0
    rows: list[int] = []
    try:
        for each in reader.between(0, snapshot.state.next_row):
            count += 1
            digest += each.checksum
            rows.append(each.row)
    except CorruptIndexError as error:
        return [str(error)]
    problems: list[str] = []
    if (count, digest % (1 << 64)) != (snapshot.state.passages, snapshot.state.digest):
        problems.append(f"{snapshot.state.passages:,} passages were stored, {count:,} are there")
    for leg in snapshot.segment_types:
        held = [
            each.content.rows[live_flags(each.content, snapshot.dead)]
            for each in snapshot.of_leg(leg)
        ]
        if not np.array_equal(np.concatenate([np.empty(0, np.uint32), *held]), rows):
            problems.append(f"the {leg} segments do not hold just the stored passages")
    return problems


def _differing(reader: CatalogReader, snapshot: Snapshot, each: LoadedSegment) -> list[str]:
    """Build a segment anew and return whether the stored one says something else."""
    record = each.record
    name = f"{record.leg} segment {record.number}"
    kind = snapshot.segment_types[record.leg]
    live = live_flags(each.content, snapshot.dead)
    if not live.any():
        return []
    fresh = kind.build(list(reader.between(record.first, record.last)))
    compacted = kind.merge([each.content], [live])
    fresh = kind.merge([fresh], [np.ones(len(fresh.rows), np.bool_)])
    same = all(
        np.array_equal(array, fresh.arrays()[key]) for key, array in compacted.arrays().items()
    )
    return [] if same else [f"{name}: it does not say what the stored passages say"]
