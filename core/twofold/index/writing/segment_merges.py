"""Which segments a write replaces: small neighbours, mostly dead ones and damaged ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from twofold import segments as tiers
from twofold.errors import IndexMismatchError
from twofold.index.segment_types import SegmentContent, SegmentType, live_flags
from twofold.index.snapshot import LoadedSegment, Snapshot
from twofold.storage import CatalogReader, SegmentRecord
from twofold.types import Rows

_REBUILT = 4096  # passages analysed at a time


@dataclass(slots=True)
class _Item:
    """A segment that is stored (``record``) or still to be written."""

    content: SegmentContent
    record: SegmentRecord | None


@dataclass(frozen=True, slots=True)
class MergeResult:
    """What one leg's list of segments becomes."""

    kept: tuple[SegmentRecord, ...]
    kept_contents: tuple[SegmentContent, ...]
    written: tuple[SegmentContent, ...]
    dropped: tuple[SegmentRecord, ...]


def merge_segments(
    kind: SegmentType,
    stored: Sequence[LoadedSegment],
    fresh: SegmentContent | None,
    dead: Rows,
    *,
    compact: bool = False,
) -> MergeResult:
    """Return the segments of a leg after ``fresh`` rows came and the ``dead`` ones went.

    A segment loses its dead rows when it is merged, and at the latest when they are most of it.
    ``compact`` merges all of them.
    """
    items: list[_Item] = []
    for each in stored:
        if each.lost:
            raise IndexMismatchError(
                f"a {kind.leg} segment is damaged, and the analyzer that built it is not to be had:"
                " give it as analyzer=, or use another one with Index.reanalyze"
            )
        live = live_flags(each.content, dead)
        alive = int(live.sum())
        if alive == 0:
            continue
        if each.damage is not None or alive < len(live) / 2:
            items.append(_Item(kind.merge([each.content], [live]), None))
        else:
            items.append(_Item(each.content, each.record))
    if fresh is not None:
        items.append(_Item(fresh, None))
    sizes = [len(item.content.rows) for item in items]
    run = slice(0, len(items)) if compact and len(items) > 1 else tiers.next_merge(sizes)
    while run is not None:
        contents = [item.content for item in items[run]]
        flags = [live_flags(content, dead) for content in contents]
        items[run] = [_Item(kind.merge(contents, flags), None)]
        run = tiers.next_merge([len(item.content.rows) for item in items])
    kept = tuple(item.record for item in items if item.record is not None)
    numbers = {record.number for record in kept}
    return MergeResult(
        kept=kept,
        kept_contents=tuple(item.content for item in items if item.record is not None),
        written=tuple(item.content for item in items if item.record is None),
        dropped=tuple(each.record for each in stored if each.record.number not in numbers),
    )


def rebuild_segment(kind: SegmentType, snapshot: Snapshot, reader: CatalogReader) -> MergeResult:
    """Return the segments of a leg built from all stored passages, instead of those it has."""
    contents: list[SegmentContent] = []
    passages = reader.between(0, snapshot.state.next_row)
    while batch := list(islice(passages, _REBUILT)):
        contents.append(kind.build(batch))
        while (run := tiers.next_merge([len(each.rows) for each in contents])) is not None:
            flags = [np.ones(len(each.rows), np.bool_) for each in contents[run]]
            contents[run] = [kind.merge(contents[run], flags)]
    if len(contents) > 1:
        flags = [np.ones(len(each.rows), np.bool_) for each in contents]
        contents = [kind.merge(contents, flags)]
    dropped = tuple(each.record for each in snapshot.of_leg(kind.leg))
    return MergeResult((), (), tuple(contents), dropped)
