"""The dense leg of one generation: files mapped, and verified when first searched."""

import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twofold.dense import (
    TAIL,
    AnnStructure,
    ApproximateIndex,
    Auto,
    IndexType,
    VectorMoments,
    VectorPart,
)
from twofold.errors import CorruptIndexError, RebuildWarning
from twofold.index.layout import Layout
from twofold.segments import positions_of
from twofold.similarity import Metric
from twofold.storage import BlockRecord, SegmentRecord, content_hash, map_vectors, mapped
from twofold.types import Moments, Rows, Vectors

READ = 4 << 30
"""Bytes of vectors up to which all are read and compared before a first search."""
SAMPLED = 50_000
"""Live vectors whose moments stand for those of all, where there are more bytes than that."""
STALE = 0.1
"""Part by which the number of vectors may change before another sample is taken."""


@dataclass(frozen=True, slots=True)
class DenseRecords:
    """What the catalog says of a dense leg: its form, blocks of vectors, and structures."""

    metric: Metric
    dim: int
    kind: IndexType | Auto
    blocks: Sequence[BlockRecord]
    structures: Sequence[SegmentRecord]


@dataclass(frozen=True, slots=True)
class KnownMoments:
    """Moments of the vectors of some rows, ascending; ``live`` were there in all."""

    rows: Rows
    moments: VectorMoments
    live: int


class DenseLeg:
    """Blocks of vectors, less the dead rows; what an earlier generation verified isn't again.

    Above 4 GiB, vectors are compared with their checksums by ``damage`` alone.

    A structure that is missing or damaged is left out, loudly, and what it held is scanned.
    """

    def __init__(
        self,
        layout: Layout,
        records: DenseRecords,
        dead: Rows,
        ids_of: Callable[[Rows], list[str]],
        before: "DenseLeg | None",
    ) -> None:
        self.metric = records.metric
        self.dim = records.dim
        self.kind = records.kind
        self.blocks: Mapping[int, BlockRecord] = {block.number: block for block in records.blocks}
        self.structures = tuple(records.structures)
        self._layout = layout
        self._dead = dead
        self._ids_of = ids_of
        self._lock = threading.Lock()
        self._index: ApproximateIndex | None = None
        self._parts: dict[str, VectorPart] = {}
        self._loaded: dict[int, AnnStructure] = {}
        self._damaged: set[int] = set()
        # Values, not the leg that computed them: what an unasked generation knew is handed on.
        self._moments: KnownMoments | None = before._moments if before is not None else None
        # An unbuilt generation knows nothing: what to build upon is what it would have used.
        self._before: DenseLeg | None = (
            before._before if before is not None and before._index is None else before
        )
        self.missing: list[str] = []
        self._maps = self._mapped(before)
        self._structure_maps = self._mapped_structures(before)

    def index(self) -> ApproximateIndex:
        """Return the searchable index; raise CorruptIndexError where vectors have changed."""
        with self._lock:
            if self._index is None:
                if self.missing:
                    raise CorruptIndexError(f"{self.missing[0]}: restore the index from a copy")
                self._index = self._build()
                self._before = None
            return self._index

    @property
    def rows(self) -> Rows:
        """All rows that have a vector, dead ones included, ascending."""
        return np.concatenate(
            [np.empty(0, np.int64), *(block.rows for block in self.blocks.values())]
        )

    @property
    def live_rows(self) -> Rows:
        """The rows of passages that have a vector, ascending."""
        return np.setdiff1d(self.rows, self._dead, assume_unique=True)

    @property
    def tail(self) -> int:
        """How many vectors came after the structures, dead ones included."""
        end = self.structures[-1].last if self.structures else -1
        count = 0
        for block in reversed(list(self.blocks.values())):
            after = int((block.rows > end).sum())
            count += after
            if after < block.count:
                break
        return count

    def is_due(self, *, compact: bool) -> bool:
        """Whether structures are to be built, or one for all vectors if ``compact``."""
        if not compact and not self.structures and self.tail <= TAIL:
            return False
        return self.is_damaged or self.index().due(compact=compact) is not None

    @property
    def is_damaged(self) -> bool:
        """Whether a structure had to be left out."""
        return len(self.index().structures) < len(self.structures)

    def vectors(self, rows: Rows) -> tuple[Vectors, NDArray[np.bool_]]:
        """Return the stored vectors (n, dim) of rows, and which of them have one."""
        return self.index().exact.stored(rows)

    def moments(self, query: Vectors) -> Moments:
        """Return the moments of all live vectors' scores for one query (dim,).

        The first call of a generation reads the vectors that came or went since the last one asked;
        above 4 GiB a seeded sample, which isn't exact. Raises QueryError for a query that no
        search would take.
        """
        index = self.index()
        point = index.exact.prepared(query[None, :])[0]
        with self._lock:
            self._moments = self._known_moments(index, self._moments)
            return self._moments.moments.scores(point)

    def damage(self) -> list[str]:
        """Return what is wrong with the stored vectors and structures; all are read."""
        problems = list(self.missing)
        for file, blocks in self._by_file().items():
            if file in self._maps:
                problems += self._changed(file, blocks)
        for record in self.structures:
            problem = self._changed_structure(record)
            if problem is not None:
                problems.append(problem)
        return problems

    def _known_moments(self, index: ApproximateIndex, known: KnownMoments | None) -> KnownMoments:
        """Return the moments of what is live, from what is known where that is less work."""
        live = self.live_rows
        if self._size > READ:
            if known is not None and abs(len(live) - known.live) <= STALE * len(live):
                return known
            rows = np.sort(np.random.default_rng(0).permutation(live)[:SAMPLED])
            of_sample = VectorMoments.of(self.metric, self.dim, (), exact=False)
            return KnownMoments(rows, of_sample.plus(index.exact.stored(rows)[0]), len(live))
        if known is not None and known.moments.exact:
            gone = known.rows[positions_of(known.rows, live) < 0]
            fresh = live[positions_of(live, known.rows) < 0]
            old, found = index.exact.stored(gone)
            if len(gone) + len(fresh) < len(live) and found.all():
                moments = known.moments
                moments = moments.minus(old) if len(gone) else moments
                moments = moments.plus(index.exact.stored(fresh)[0]) if len(fresh) else moments
                if not moments.worn:
                    return KnownMoments(live, moments, len(live))
        moments = VectorMoments.of(self.metric, self.dim, index.exact.parts)
        return KnownMoments(live, moments, len(live))

    @property
    def _size(self) -> int:
        """Bytes of all vectors."""
        return sum(vectors.nbytes for vectors in self._maps.values())

    def _build(self) -> ApproximateIndex:
        before = self._before
        known: Mapping[int, BlockRecord] = before.blocks if before is not None else {}
        if self._size > READ:
            known = self.blocks  # reading them would take longer than an answer may
        parts: list[VectorPart] = []
        for file, blocks in self._by_file().items():
            changed = self._changed(file, [each for each in blocks if each.number not in known])
            if changed:
                raise CorruptIndexError(f"{changed[0]}: restore the index from a copy")
            rows = np.concatenate([block.rows for block in blocks])
            start = before._parts.get(file) if before is not None else None
            self._parts[file] = VectorPart.of(self.metric, rows, self._maps[file], start)
            parts.append(self._parts[file].without(self._dead))
        structures = self._structures(before)
        return ApproximateIndex(self.kind, self.metric, self.dim, parts, structures, self._ids_of)

    def _structures(self, before: "DenseLeg | None") -> list[AnnStructure]:
        """Load the structures, up to the first that is damaged: what comes after is scanned."""
        known = before._loaded if before is not None else {}
        self._damaged |= before._damaged if before is not None else set()
        out: list[AnnStructure] = []
        for record in self.structures:
            loaded = known.get(record.number)
            if record.number in self._damaged:
                break
            if loaded is None:
                problem = self._changed_structure(record)
                if problem is not None:
                    self._damaged.add(record.number)
                    warnings.warn(
                        f"{problem}; its vectors are scanned, which is exact and slower, until the "
                        "next write builds it anew",
                        RebuildWarning,
                        stacklevel=5,
                    )
                    break
                loaded = AnnStructure.read(self._structure_maps[record.number])
            self._loaded[record.number] = loaded
            out.append(loaded)
        return out

    def _by_file(self) -> dict[str, list[BlockRecord]]:
        files: dict[str, list[BlockRecord]] = {}
        for block in self.blocks.values():
            files.setdefault(block.file, []).append(block)
        return files

    def _mapped(self, before: "DenseLeg | None") -> dict[str, Vectors]:
        """Map all files, so that they stay readable when a later generation drops them."""
        maps: dict[str, Vectors] = {}
        for file, blocks in self._by_file().items():
            count = blocks[-1].first + blocks[-1].count
            known = before._maps.get(file) if before is not None else None
            try:
                maps[file] = (
                    known
                    if known is not None and len(known) == count
                    else map_vectors(self._layout.vector_file(file), count, self.dim)
                )
            except CorruptIndexError as error:
                self.missing.append(str(error))
        return maps

    def _mapped_structures(self, before: "DenseLeg | None") -> dict[int, object]:
        known = before._structure_maps if before is not None else {}
        maps: dict[int, object] = {}
        for record in self.structures:
            assert record.file is not None  # structures are never small
            try:
                maps[record.number] = known.get(record.number) or mapped(
                    self._layout.segment_file(record.file), record.size
                )
            except (OSError, ValueError):
                continue  # said when it is needed
        return maps

    def _changed(self, file: str, blocks: Sequence[BlockRecord]) -> list[str]:
        """Return the blocks whose bytes are not those that were written."""
        return [
            f"vectors {block.first:,} to {block.first + block.count - 1:,} in "
            f"{self._layout.vector_file(file)} are not those that were written"
            for block in blocks
            if content_hash(self._maps[file][block.first : block.first + block.count]) != block.hash
        ]

    def _changed_structure(self, record: SegmentRecord) -> str | None:
        """Return what is wrong with a structure's file, None if its bytes are as written."""
        name = f"{self._layout.folder}: dense structure {record.number}"
        data = self._structure_maps.get(record.number)
        if data is None:
            return f"{name} is missing or shorter than it was"
        return None if content_hash(data) == record.hash else f"{name} is not what was written"
