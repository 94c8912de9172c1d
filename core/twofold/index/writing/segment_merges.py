"""Merges the segments of a leg: small neighbours, and those that are mostly dead or damaged."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from twofold.errors import IndexMismatchError
from twofold.index.segment_types import SegmentContent, SegmentType, live_mask
from twofold.index.snapshot import LoadedSegment, Snapshot
from twofold.index.view import check_passage_count
from twofold.segments import next_merge
from twofold.storage import CatalogReader, SegmentRecord
from twofold.types import Rows

_BATCH = 4096  # passages analyzed at a time


@dataclass(slots=True)
class _Item:
    """A segment to merge, and its catalog record; None if it is not stored yet."""

    content: SegmentContent
    record: SegmentRecord | None


@dataclass(frozen=True, slots=True)
class MergeResult:
    """The segments of one leg after a merge: records retained or dropped, contents to write."""

    retained: tuple[SegmentRecord, ...]
    retained_contents: tuple[SegmentContent, ...]
    written: tuple[SegmentContent, ...]
    dropped: tuple[SegmentRecord, ...]


def merge_segments(
    segment_type: SegmentType,
    stored: Sequence[LoadedSegment],
    added: SegmentContent | None,
    dead: Rows,
    *,
    compact: bool = False,
) -> MergeResult:
    """Return the segments of a leg after a write that adds the segment ``added``, if any.

    A merge removes dead rows. A segment whose rows are mostly dead is rewritten in any case.
    ``compact`` merges all segments into one.
    """
    items: list[_Item] = []
    for segment in stored:
        if segment.lost:
            raise IndexMismatchError(
                f"a {segment_type.leg} segment is damaged, and its analyzer, which rebuilds it, "
                "can't be loaded: pass Index.open(analyzer=...), or call Index.reanalyze(another)"
            )
        live = live_mask(segment.content, dead)
        count = int(live.sum())
        if count == 0:
            continue
        if segment.damage is not None or count < len(live) / 2:
            items.append(_Item(segment_type.merge([segment.content], [live]), None))
        else:
            items.append(_Item(segment.content, segment.record))
    if added is not None:
        items.append(_Item(added, None))
    sizes = [len(item.content.rows) for item in items]
    run = slice(0, len(items)) if compact and len(items) > 1 else next_merge(sizes)
    while run is not None:
        contents = [item.content for item in items[run]]
        masks = [live_mask(content, dead) for content in contents]
        items[run] = [_Item(segment_type.merge(contents, masks), None)]
        run = next_merge([len(item.content.rows) for item in items])
    retained = tuple(item.record for item in items if item.record is not None)
    numbers = {record.number for record in retained}
    return MergeResult(
        retained=retained,
        retained_contents=tuple(item.content for item in items if item.record is not None),
        written=tuple(item.content for item in items if item.record is None),
        dropped=tuple(segment.record for segment in stored if segment.record.number not in numbers),
    )


def rebuild_segment(
    segment_type: SegmentType, snapshot: Snapshot, reader: CatalogReader
) -> MergeResult:
    """Rebuild one segment from all stored passages, which replaces the leg's segments."""
    contents: list[SegmentContent] = []
    passages, count = reader.passages_between(0, snapshot.state.next_row), 0
    while batch := list(islice(passages, _BATCH)):
        count += len(batch)
        contents.append(segment_type.build(batch))
        while (run := next_merge([len(content.rows) for content in contents])) is not None:
            contents[run] = [_merge_whole(segment_type, contents[run])]
    check_passage_count(snapshot, count)
    if len(contents) > 1:
        contents = [_merge_whole(segment_type, contents)]
    dropped = tuple(segment.record for segment in snapshot.segments_of(segment_type.leg))
    return MergeResult((), (), tuple(contents), dropped)


def _merge_whole(segment_type: SegmentType, contents: Sequence[SegmentContent]) -> SegmentContent:
    """Merge segments that have no dead rows."""
    masks = [np.ones(len(content.rows), np.bool_) for content in contents]
    return segment_type.merge(contents, masks)
