"""Snapshots: one generation of an index in memory, immutable."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from twofold.errors import CorruptIndexError, IndexMismatchError
from twofold.filters import ColumnSegment
from twofold.index.analyzer_binding import AnalyzerSources, StoredAnalyzer
from twofold.index.dense_leg import DenseLeg
from twofold.index.layout import Layout
from twofold.index.saved_records import (
    ActiveQueryAdapter,
    active_profile,
    load_active_adapter,
    read_adapter,
)
from twofold.index.segment_types import (
    ColumnSegmentType,
    LexicalSegmentType,
    SegmentContent,
    SegmentType,
    live_mask,
)
from twofold.lexical import LiveSegment, PostingsIndex
from twofold.segments import ids_at
from twofold.storage import (
    BlockRecord,
    CatalogReader,
    IndexSettings,
    SegmentRecord,
    State,
    VectorSetRecord,
    Version,
    content_hash,
    map_file,
    unpack_arrays,
)
from twofold.types import Rows

DENSE = "dense"
"""The leg of ANN structures in the catalog's segment records."""


@dataclass(frozen=True, slots=True)
class LoadedSegment:
    """A segment in memory.

    ``damage`` says why the segment was rebuilt from the passages, None if it was not. ``lost``
    means that this failed because the analyzer is missing or has changed: the content is empty.
    """

    record: SegmentRecord
    content: SegmentContent
    damage: str | None = None
    lost: bool = False


@dataclass(frozen=True, slots=True)
class PendingVectorSet:
    """A vector set that another encoder is filling while the active one serves queries."""

    record: VectorSetRecord
    blocks: tuple[BlockRecord, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One generation of an index; all its files are mapped or loaded.

    Attributes:
        segments: The segments of postings and columns, by number.
        segment_types: The types of segments, by leg.
        dead: All deleted rows that a segment may still hold, ascending.
        pending: The vector set that ``Index.reencode`` is filling, None without.
    """

    state: State
    settings: IndexSettings
    vector_set: VectorSetRecord | None
    segments: Mapping[int, LoadedSegment]
    segment_types: Mapping[str, SegmentType]
    dead: Rows
    lexical: PostingsIndex | None
    columns: tuple[ColumnSegment, ...]
    dense: DenseLeg | None
    pending: PendingVectorSet | None
    active_adapter: ActiveQueryAdapter

    @property
    def version(self) -> Version:
        """The index's identity and this generation."""
        return self.state.identity, self.state.generation

    @property
    def generation(self) -> int:
        """The number of commits up to this generation."""
        return self.state.generation

    @property
    def files(self) -> set[str]:
        """The names of all vector and segment files in use."""
        records = [segment.record for segment in self.segments.values()]
        blocks = list(self.pending.blocks) if self.pending is not None else []
        if self.dense is not None:
            records += self.dense.structures
            blocks += self.dense.blocks.values()
        names = {record.file for record in records if record.file is not None}
        return names | {block.file for block in blocks}

    @property
    def damage(self) -> list[str]:
        """Descriptions of what was missing or damaged when this generation was loaded."""
        missing = self.dense.missing if self.dense is not None else []
        adapter = self.active_adapter
        broken = [adapter.problem] if adapter.damaged and adapter.problem is not None else []
        return self.rebuilt + missing + broken

    @property
    def rebuilt(self) -> list[str]:
        """Descriptions of the segments that were rebuilt."""
        return [
            f"{segment.record.leg} segment {segment.record.number}: {segment.damage}"
            for segment in self.segments.values()
            if segment.damage is not None
        ]

    def segments_of(self, leg: str) -> list[LoadedSegment]:
        """Return the segments of one leg in the order of their rows."""
        return [segment for segment in self.segments.values() if segment.record.leg == leg]


def load_snapshot(
    reader: CatalogReader, layout: Layout, before: Snapshot | None, analyzers: AnalyzerSources
) -> Snapshot:
    """Load the generation of a read transaction.

    Reuses what an earlier snapshot (``before``) has loaded.
    Missing or damaged segments are rebuilt in memory and listed in ``Snapshot.damage``.
    """
    settings = reader.settings()
    segment_types = _segment_types(settings, before, analyzers)
    known = before.segments if before is not None else {}
    segments: dict[int, LoadedSegment] = {}
    structures: list[SegmentRecord] = []
    for record in reader.segments(blobs_after=max(known, default=-1)):
        if record.leg == DENSE:
            structures.append(record)
        elif record.number in known:
            segments[record.number] = known[record.number]
        elif record.leg not in segment_types:
            raise CorruptIndexError(
                f"segment {record.number} of {layout.folder} is of the leg {record.leg!r}, which "
                "the index does not have: restore the index from a copy"
            )
        else:
            segment_type = segment_types[record.leg]
            segments[record.number] = _load_segment(reader, layout, record, segment_type)
    dead = _load_dead_rows(reader)
    columns = tuple(
        segment.content
        for segment in segments.values()
        if isinstance(segment.content, ColumnSegment)
    )
    vector_set = reader.vector_set()
    dense: DenseLeg | None = None
    if vector_set is not None and settings.dim is not None and settings.metric is not None:
        same_set = before is not None and before.vector_set == vector_set
        earlier = before.dense if before is not None and same_set else None
        records = reader.blocks(vector_set.number, earlier.blocks if earlier is not None else {})
        dense = DenseLeg(
            layout,
            settings,
            records,
            structures,
            dead,
            partial(ids_at, [(segment.rows, segment.ids) for segment in columns]),
            earlier,
        )
    pending = _load_pending(reader, before)
    state = reader.state()
    blocks = list(pending.blocks) if pending is not None else []
    blocks += dense.blocks.values() if dense is not None else ()
    vectors = sum(block.count for block in blocks)
    count = len(segments) + len(structures)
    if (count, vectors) != (state.segments, state.vectors):
        raise CorruptIndexError(
            f"{layout.folder} has {count} segments and {vectors:,} vectors, but {state.segments} "
            f"and {state.vectors:,} were committed: restore the index from a copy"
        )
    _check_rebuilt(segments.values(), dead, state, layout)
    adapter_before = before.active_adapter if before is not None else None
    return Snapshot(
        state=state,
        settings=settings,
        vector_set=vector_set,
        segments=segments,
        dead=dead,
        segment_types=segment_types,
        lexical=_lexical_leg(segment_types.get("lexical"), segments, dead, before),
        columns=columns,
        dense=dense,
        pending=pending,
        active_adapter=load_active_adapter(
            active_profile(settings),
            settings,
            vector_set,
            adapter_before,
            partial(read_adapter, layout),
        ),
    )


def _check_rebuilt(
    segments: Collection[LoadedSegment], dead: Rows, state: State, layout: Layout
) -> None:
    """Raise CorruptIndexError if a leg with rebuilt segments lacks passages."""
    for leg in {segment.record.leg for segment in segments if segment.damage and not segment.lost}:
        contents = [segment.content for segment in segments if segment.record.leg == leg]
        found = sum(int(live_mask(content, dead).sum()) for content in contents)
        if found != state.passages:
            raise CorruptIndexError(
                f"{layout.folder} has {state.passages:,} passages, but its {leg} segments were "
                f"rebuilt with {found:,}: restore the index from a copy, or repair it"
            )


def _segment_types(
    settings: IndexSettings, before: Snapshot | None, analyzers: AnalyzerSources
) -> Mapping[str, SegmentType]:
    """Return the segment types by leg, those of ``before`` if the analyzer is the same."""
    if before is not None and _analyzer_key(before.settings) == _analyzer_key(settings):
        return before.segment_types
    segment_types: dict[str, SegmentType] = {"columns": ColumnSegmentType()}
    if settings.analyzer is not None:
        analyzer = StoredAnalyzer(settings, analyzers)
        segment_types["lexical"] = LexicalSegmentType(analyzer, settings.title_weight)
    return segment_types


def _analyzer_key(settings: IndexSettings) -> tuple[object, ...]:
    return (
        settings.analyzer,
        settings.analyzer_version,
        settings.analyzer_fingerprint,
        settings.title_weight,
    )


def _load_segment(
    reader: CatalogReader, layout: Layout, record: SegmentRecord, segment_type: SegmentType
) -> LoadedSegment:
    """Load a segment, or rebuild it if its bytes have changed."""
    try:
        data: Any = record.blob
        if record.file is not None:
            data = map_file(layout.segment_file(record.file), record.size)
        if content_hash(data) != record.hash:
            raise CorruptIndexError("its bytes are not those that were written")
        content = segment_type.load(unpack_arrays(data))
        rows = content.rows
        ends = [int(rows[0]), int(rows[-1])] if len(rows) else []
        if len(rows) != record.rows or ends != [record.first, record.last]:
            raise CorruptIndexError("it has other rows than its record says")
        return LoadedSegment(record, content)
    except (OSError, ValueError) as error:  # CorruptIndexError is an OSError
        try:
            content = segment_type.build(list(reader.passages_between(record.first, record.last)))
        except IndexMismatchError as mismatch:
            return LoadedSegment(record, segment_type.build([]), f"{error}; {mismatch}", lost=True)
        return LoadedSegment(record, content, damage=str(error))


def _load_dead_rows(reader: CatalogReader) -> Rows:
    """Return all deleted rows that a segment may still hold, ascending."""
    parts = [np.frombuffer(data, "<u4").astype(np.int64) for _, data in reader.tombstones()]
    return np.unique(np.concatenate([np.empty(0, np.int64), *parts]))


def _lexical_leg(
    segment_type: SegmentType | None,
    segments: Mapping[int, LoadedSegment],
    dead: Rows,
    before: Snapshot | None,
) -> PostingsIndex | None:
    """Return the lexical leg, reusing the live segments of ``before``."""
    if not isinstance(segment_type, LexicalSegmentType):
        return None
    earlier: dict[int, LiveSegment] = {}
    new_dead = dead
    if before is not None:
        new_dead = np.setdiff1d(dead, before.dead, assume_unique=True)
        if before.lexical is not None:
            earlier = {id(live.segment): live for live in before.lexical.segments}
    live_segments: list[LiveSegment] = []
    for segment in segments.values():
        if segment.record.leg == "lexical":
            known = earlier.get(id(segment.content))
            live_segments.append(
                known.without(new_dead)
                if known is not None
                else LiveSegment.from_segment(segment.content, dead)  # type: ignore[arg-type]  # of this leg
            )
    return PostingsIndex(segment_type.analyzer, segments=live_segments)


def _load_pending(reader: CatalogReader, before: Snapshot | None) -> PendingVectorSet | None:
    """Return the vector set that ``Index.reencode`` is filling, None without."""
    record = reader.vector_set(active=False)
    if record is None:
        return None
    known: dict[int, BlockRecord] = {}
    earlier = before.pending if before is not None else None
    if earlier is not None and earlier.record.number == record.number:
        known = {block.number: block for block in earlier.blocks}
    return PendingVectorSet(record, tuple(reader.blocks(record.number, known)))
