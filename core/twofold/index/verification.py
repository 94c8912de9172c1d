"""Verification: compares every byte with its checksum, and the parts with each other."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from twofold.errors import CorruptIndexError
from twofold.index.analyzer_binding import AnalyzerSources
from twofold.index.layout import Layout
from twofold.index.saved_records import adapter_records, find_adapter_problem
from twofold.index.segment_types import SegmentContent, live_mask
from twofold.index.snapshot import LoadedSegment, Snapshot, load_snapshot
from twofold.storage import Catalog, CatalogReader, find_damaged_slots, read_head

_TRIES = 5


@dataclass(frozen=True, slots=True)
class Verification:
    """The outcome of `Index.verify`; ``problems`` describes all that is damaged.

    Example:
        >>> from twofold import Index
        >>> Index.open(None, encoder=None).verify().ok
        True
    """

    generation: int
    passages: int
    vectors: int
    segments: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether there are no problems."""
        return not self.problems


def verify(
    catalog: Catalog, layout: Layout, analyzers: AnalyzerSources, *, deep: bool
) -> Verification:
    """Read the newest generation from disk and verify it.

    If a writer commits meanwhile and files disappear, the newer generation is verified instead.
    ``deep`` compares postings and columns with rebuilt ones, which needs the analyzer.
    """
    for _ in range(_TRIES):
        report = _verify_once(catalog, layout, analyzers, deep=deep)
        with catalog.read_transaction() as reader:
            if report.ok or reader.version()[1] == report.generation:
                return report
    return report


def _verify_once(
    catalog: Catalog, layout: Layout, analyzers: AnalyzerSources, *, deep: bool
) -> Verification:
    problems: list[str] = []
    try:
        head = read_head(layout.head)  # before the catalog, which a writer may advance
    except CorruptIndexError as error:
        head = None
        problems.append(str(error))
    with catalog.read_transaction() as reader:
        snapshot = load_snapshot(reader, layout, None, analyzers)
        problems += reader.check() + snapshot.damage
        if head is not None:
            try:
                layout.check_head(snapshot.version, head)
            except CorruptIndexError as error:
                problems.append(str(error))
            problems += _verify_slots(layout, snapshot.generation)
        problems += _verify_adapters(layout, snapshot)
        problems += find_passage_problems(reader, snapshot)
        if deep:
            for segment in snapshot.segments.values():
                if not _equals_rebuilt(reader, snapshot, segment):
                    record = segment.record
                    problems.append(
                        f"{record.leg} segment {record.number} differs from the stored passages"
                    )
        if snapshot.dense is not None:
            problems += snapshot.dense.damage()
            problems += _verify_vector_rows(snapshot)
        return Verification(
            generation=snapshot.generation,
            passages=snapshot.state.passages,
            vectors=snapshot.dense.vector_count if snapshot.dense is not None else 0,
            segments=len(snapshot.segments),
            problems=tuple(problems),
        )


def _verify_slots(layout: Layout, generation: int) -> list[str]:
    """Return the problem of a damaged slot of HEAD beside an intact one."""
    for _ in range(_TRIES):
        damaged = find_damaged_slots(layout.head)
        if not damaged:  # a slot is torn for the moment in which it is written
            return []
    return [
        f"the {'newer' if slot == generation % 2 else 'older'} slot of {layout.head} is damaged, "
        "and the other one is intact: the next writes replace it"
        for slot in damaged
    ]


def _verify_adapters(layout: Layout, snapshot: Snapshot) -> Iterator[str]:
    """Yield the problems of saved query adapters' files, except the active one's."""
    for name, record in adapter_records(snapshot.settings).items():
        problem = find_adapter_problem(layout, name, record["hash"])
        if problem is not None and problem != snapshot.active_adapter.problem:
            yield problem


def find_passage_problems(reader: CatalogReader, snapshot: Snapshot) -> list[str]:
    """Return problems if passages are missing, or a leg's segments hold other rows."""
    digest = 0
    rows: list[int] = []
    try:
        for passage in reader.passages_between(0, snapshot.state.next_row):
            digest += passage.checksum
            rows.append(passage.row)
    except CorruptIndexError as error:
        return [str(error)]
    problems: list[str] = []
    if (len(rows), digest % (1 << 64)) != (snapshot.state.passages, snapshot.state.digest):
        problems.append(
            f"{snapshot.state.passages:,} passages were committed, and {len(rows):,} are stored"
        )
    for leg in snapshot.segment_types:
        held = [
            segment.content.rows[live_mask(segment.content, snapshot.dead)]
            for segment in snapshot.segments_of(leg)
        ]
        if not np.array_equal(np.concatenate([np.empty(0, np.uint32), *held]), rows):
            problems.append(f"the {leg} segments hold other rows than the stored passages")
    return problems


def _verify_vector_rows(snapshot: Snapshot) -> Iterator[str]:
    """Yield the problems of vectors whose rows don't ascend, or are those of no passage."""
    dense = snapshot.dense
    assert dense is not None
    if not (np.diff(dense.rows) >= (0 if dense.has_windows else 1)).all():
        yield "the rows of the vectors don't ascend"
    columns = np.concatenate([np.empty(0, np.int64), *(each.rows for each in snapshot.columns)])
    unknown = np.setdiff1d(dense.live_rows, columns)
    if len(unknown):
        yield f"{len(unknown):,} passages with a vector, such as row {unknown[0]}, are not stored"


def _equals_rebuilt(reader: CatalogReader, snapshot: Snapshot, segment: LoadedSegment) -> bool:
    """Return whether a segment equals one rebuilt from its passages.

    Merging derives the postings from the forward index. So the stored arrays are compared with
    those of a merge of all rows, and those of the live rows with rebuilt ones.
    """
    record, content = segment.record, segment.content
    segment_type = snapshot.segment_types[record.leg]
    live = live_mask(content, snapshot.dead)
    if not live.any():
        return True
    every = np.ones(len(live), np.bool_)
    rebuilt = segment_type.build(list(reader.passages_between(record.first, record.last)))
    rebuilt = segment_type.merge([rebuilt], [np.ones(len(rebuilt.rows), np.bool_)])
    merged = segment_type.merge([content], [live])
    pairs = ((content, segment_type.merge([content], [every])), (merged, rebuilt))
    return all(_equal_arrays(first, second) for first, second in pairs)


def _equal_arrays(first: SegmentContent, second: SegmentContent) -> bool:
    arrays, others = first.arrays(), second.arrays()
    return arrays.keys() == others.keys() and all(
        np.array_equal(array, others[name]) for name, array in arrays.items()
    )
