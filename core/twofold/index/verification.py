"""Verification: every byte read and compared with its checksum, and the parts with each other."""

from dataclasses import dataclass

import numpy as np

from twofold.catalog import CatalogReader, content_hash, mapped, read_head
from twofold.errors import CorruptIndexError
from twofold.index.layout import Layout
from twofold.index.legs import live_flags
from twofold.index.snapshot import LoadedSegment, Snapshot, segment_kinds
from twofold.index.view import Generations


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


def verify(layout: Layout, generations: Generations, *, deep: bool) -> Verification:
    """Verify one generation; ``deep`` builds what is derived anew and compares."""
    with generations.view() as view:
        snapshot, reader = view.snapshot, view.reader
        problems = reader.check() + snapshot.damage
        try:
            head = read_head(layout.head)
            if head > snapshot.generation:
                problems.append(
                    f"generation {head} was committed, and the catalog is at {snapshot.generation}"
                )
        except CorruptIndexError as error:
            problems.append(str(error))
        problems += _passages(reader, snapshot)
        for each in snapshot.segments.values():
            problems += _segment(layout, reader, snapshot, each, deep=deep)
        if snapshot.dense is not None:
            problems += snapshot.dense.damage()
        return Verification(
            generation=snapshot.generation,
            passages=snapshot.state.passages,
            vectors=len(snapshot.dense.rows) if snapshot.dense is not None else 0,
            segments=len(snapshot.segments),
            problems=tuple(problems),
        )


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
    for leg in segment_kinds(snapshot.settings):
        held = [
            each.content.rows[live_flags(each.content, snapshot.dead)]
            for each in snapshot.of_leg(leg)
        ]
        if not np.array_equal(np.concatenate([np.empty(0, np.uint32), *held]), rows):
            problems.append(f"the {leg} segments do not hold just the stored passages")
    return problems


def _segment(
    layout: Layout, reader: CatalogReader, snapshot: Snapshot, each: LoadedSegment, *, deep: bool
) -> list[str]:
    """Check a segment's bytes, and by ``deep`` that they say what the passages say."""
    record = each.record
    name = f"{record.leg} segment {record.number}"
    if record.file is not None and each.damage is None:
        try:
            data = mapped(layout.segment_file(record.file), record.size)
        except (OSError, ValueError) as error:
            return [f"{name}: {error}"]
        if content_hash(data) != record.hash:
            return [f"{name}: its bytes are not those that were written"]
    if not deep:
        return []
    kind = segment_kinds(snapshot.settings)[record.leg]
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
