"""One generation of an index in memory: both legs and the columns, immutable."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from twofold.dense import index_type_from_dict
from twofold.errors import CorruptIndexError, IndexMismatchError
from twofold.filters import ColumnSegment
from twofold.index.analyzer_binding import StoredAnalyzer
from twofold.index.dense_leg import DenseLeg, DenseRecords
from twofold.index.layout import Layout
from twofold.index.saved_records import ActiveQueryAdapter, active_adapter
from twofold.index.segment_types import ColumnSegmentType, LexicalSegmentType, SegmentContent, SegmentType
from twofold.lexical import LiveSegment, PostingsIndex
from twofold.protocols import Analyzer
from twofold.segments import positions_of
from twofold.storage import (
    BlockRecord,
    CatalogReader,
    SegmentRecord,
    Settings,
    State,
    VectorSetRecord,
    content_hash,
    mapped,
    unpack,
)
from twofold.types import Rows

DENSE = "dense"
"""The leg of structures over vectors, which the dense leg loads by itself."""


@dataclass(frozen=True, slots=True)
class LoadedSegment:
    """A segment in memory; ``damage`` says why it had to be built anew from the catalog.

    ``lost``: it could not be, for want of its analyzer, and ``content`` is empty; what needs the
    analyzer raises, and the rest goes on.
    """

    record: SegmentRecord
    content: SegmentContent
    damage: str | None = None
    lost: bool = False


@dataclass(frozen=True, slots=True)
class PendingVectorSet:
    """A vector set that another encoder is filling while the active one serves."""

    record: VectorSetRecord
    blocks: tuple[BlockRecord, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a query of one generation needs, without any tie to files that may go."""

    state: State
    settings: Settings
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
    def generation(self) -> int:
        """The number of commits before it."""
        return self.state.generation

    @property
    def files(self) -> set[str]:
        """The names of all vector and segment files that it uses."""
        records = [each.record for each in self.segments.values()]
        blocks = list(self.pending.blocks) if self.pending is not None else []
        if self.dense is not None:
            records += self.dense.structures
            blocks += self.dense.blocks.values()
        names = {record.file for record in records if record.file is not None}
        return names | {block.file for block in blocks}

    @property
    def damage(self) -> list[str]:
        """What was missing or damaged when this generation was loaded."""
        missing = self.dense.missing if self.dense is not None else []
        lost = [self.active_adapter.problem] if self.active_adapter.problem is not None else []
        return self.rebuilt + missing + lost

    @property
    def rebuilt(self) -> list[str]:
        """The segments that had to be built anew, and why."""
        return [
            f"{each.record.leg} segment {each.record.number}: {each.damage}"
            for each in self.segments.values()
            if each.damage is not None
        ]

    def of_leg(self, leg: str) -> list[LoadedSegment]:
        """Return the segments of one leg in the order of their rows."""
        return [each for each in self.segments.values() if each.record.leg == leg]


def segment_kinds(settings: Settings, given: Sequence[Analyzer]) -> dict[str, SegmentType]:
    """Return the kinds of segments that an index with these settings keeps, by leg.

    ``given`` are the caller's own analyzers, if any.
    """
    kinds: dict[str, SegmentType] = {"columns": ColumnSegmentType()}
    if settings.analyzer is not None:
        kinds["lexical"] = LexicalSegmentType(StoredAnalyzer(settings, given), settings.title_weight)
    return kinds


def _analysis(settings: Settings) -> tuple[object, ...]:
    """Return what the kinds of segments follow from."""
    return (
        settings.analyzer,
        settings.analyzer_version,
        settings.analyzer_signature,
        settings.title_weight,
    )


def load_snapshot(
    reader: CatalogReader,
    layout: Layout,
    before: Snapshot | None,
    given: Sequence[Analyzer] = (),
) -> Snapshot:
    """Read the generation of a read transaction, taking over what ``before`` has loaded.

    Derived segments that are missing or damaged are built anew in memory, and listed in
    ``damage``. Raises CorruptIndexError where the catalog itself is damaged.
    """
    settings = reader.settings()
    same = before is not None and _analysis(before.settings) == _analysis(settings)
    kinds = before.segment_types if before is not None and same else segment_kinds(settings, given)
    known = before.segments if before is not None else {}
    segments: dict[int, LoadedSegment] = {}
    structures: list[SegmentRecord] = []
    for record in reader.segments(blobs_after=max(known, default=-1)):
        if record.leg == DENSE:
            structures.append(record)
        elif record.number in known:
            segments[record.number] = known[record.number]
        else:
            segments[record.number] = _load(reader, layout, record, kinds[record.leg])
    dead = _dead_rows(reader)
    columns = tuple(
        each.content for each in segments.values() if isinstance(each.content, ColumnSegment)
    )
    vector_set = reader.vector_set()
    dense: DenseLeg | None = None
    filling = _filling(reader, before)
    if vector_set is not None and settings.dim is not None and settings.metric is not None:
        earlier = before.dense if before is not None else None
        if before is not None and before.vector_set != vector_set:
            earlier = None  # of another model
        records = DenseRecords(
            settings.metric,
            settings.dim,
            index_type_from_dict(json.loads(settings.kind)),
            reader.blocks(vector_set.number, earlier.blocks if earlier is not None else {}),
            structures,
        )
        dense = DenseLeg(layout, records, dead, lambda rows: ids_at(columns, rows), earlier)
    state = reader.state()
    blocks = list(filling.blocks) if filling is not None else []
    blocks += dense.blocks.values() if dense is not None else ()
    vectors = sum(block.count for block in blocks)
    count = len(segments) + len(structures)
    if (count, vectors) != (state.segments, state.vectors):
        raise CorruptIndexError(
            f"{layout.folder} has {count} segments and {vectors:,} vectors, and "
            f"{state.segments} and {state.vectors:,} were committed: restore the index from a copy"
        )
    return Snapshot(
        state=state,
        settings=settings,
        vector_set=vector_set,
        segments=segments,
        dead=dead,
        segment_types=kinds,
        lexical=_lexical(kinds.get("lexical"), segments, dead, before),
        columns=columns,
        dense=dense,
        pending=filling,
        active_adapter=active_adapter(
            layout, settings, vector_set, before.active_adapter if before is not None else None
        ),
    )


def ids_at(columns: tuple[ColumnSegment, ...], rows: Rows) -> list[str]:
    """Return the ids of rows by the columns."""
    ids = [""] * len(rows)
    for segment in columns:
        at = positions_of(rows, segment.rows)
        for place in np.flatnonzero(at >= 0).tolist():
            ids[place] = segment.ids[int(at[place])]
    return ids


def _load(
    reader: CatalogReader, layout: Layout, record: SegmentRecord, kind: SegmentType
) -> LoadedSegment:
    """Load a segment whose bytes are as written, or build it anew."""
    try:
        data: Any = record.blob
        if record.file is not None:
            data = mapped(layout.segment_file(record.file), record.size)
        if content_hash(data) != record.hash:
            raise CorruptIndexError("its bytes are not those that were written")
        return LoadedSegment(record, kind.load(unpack(data)))
    except (OSError, ValueError) as error:  # CorruptIndexError is an OSError
        try:
            content = kind.build(list(reader.between(record.first, record.last)))
        except IndexMismatchError as gone:
            return LoadedSegment(record, kind.build([]), f"{error}; {gone}", lost=True)
        return LoadedSegment(record, content, damage=str(error))


def _dead_rows(reader: CatalogReader) -> Rows:
    """Return all deleted rows that segments may still hold, ascending."""
    parts = [np.frombuffer(data, "<u4").astype(np.int64) for _, data in reader.tombstones()]
    return np.unique(np.concatenate([np.empty(0, np.int64), *parts]))


def _lexical(
    kind: SegmentType | None,
    segments: Mapping[int, LoadedSegment],
    dead: Rows,
    before: Snapshot | None,
) -> PostingsIndex | None:
    """Return the lexical leg; segments that were live before only lose the newly dead."""
    if not isinstance(kind, LexicalSegmentType):
        return None
    earlier = (
        {id(each.segment): each for each in before.lexical.segments}
        if before is not None and before.lexical is not None
        else {}
    )
    fresh = dead if before is None else np.setdiff1d(dead, before.dead, assume_unique=True)
    live: list[LiveSegment] = []
    for each in segments.values():
        if each.record.leg == "lexical":
            known = earlier.get(id(each.content))
            live.append(
                known.without(fresh) if known is not None else LiveSegment.of(each.content, dead)  # type: ignore[arg-type]  # of this leg
            )
    return PostingsIndex(kind.analyzer, segments=live)


def _filling(reader: CatalogReader, before: Snapshot | None) -> PendingVectorSet | None:
    """Return the vector set that is being filled, if there is one."""
    record = reader.vector_set(active=False)
    if record is None:
        return None
    earlier = before.pending if before is not None else None
    same = earlier is not None and earlier.record.number == record.number
    known = {block.number: block for block in earlier.blocks} if earlier and same else {}
    return PendingVectorSet(record, tuple(reader.blocks(record.number, known)))
