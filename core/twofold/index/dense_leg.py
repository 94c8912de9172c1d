"""The dense leg of one generation: maps its files, and verifies them on the first search."""

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from twofold.concurrency import ForkSafeLock, lockless_property
from twofold.dense import (
    MAX_TAIL,
    AnnStructure,
    ApproximateIndex,
    PassageVectors,
    SampledMoments,
    Spans,
    VectorBlock,
    VectorMoments,
    index_type_from_dict,
)
from twofold.errors import CorruptIndexError, RebuildWarning
from twofold.index.layout import Layout
from twofold.storage import (
    BlockRecord,
    IndexSettings,
    SegmentRecord,
    content_hash,
    map_file,
    map_vectors,
)
from twofold.types import Mask, Moments, Rows, Vectors

READ = 4 << 30
"""Bytes of vectors up to which all checksums are verified before the first search."""
SAMPLED = 16_384
"""Number of vectors above which score moments come from a seeded sample of this size."""


class DenseLeg:
    """The vector blocks and ANN structures of one generation.

    Blocks that ``before``, an earlier generation's leg, has verified are not verified again. Above
    READ bytes only ``damage`` compares checksums. A missing or damaged structure is left out with a
    warning, and its vectors are scanned. ``ids_of`` returns the ids of rows, to order ties.
    """

    def __init__(
        self,
        layout: Layout,
        settings: IndexSettings,
        blocks: Sequence[BlockRecord],
        structures: Sequence[SegmentRecord],
        dead: Rows,
        ids_of: Callable[[Rows], list[str]],
        before: "DenseLeg | None",
    ) -> None:
        assert settings.metric is not None
        assert settings.dim is not None
        self.metric = settings.metric
        self.dim = settings.dim
        try:
            self.index_type = index_type_from_dict(json.loads(settings.index_type))
        except (LookupError, TypeError, ValueError) as error:
            raise CorruptIndexError(
                f"the stored index type is damaged ({error}): restore the index from a copy"
            ) from error
        self.blocks: Mapping[int, BlockRecord] = {block.number: block for block in blocks}
        self.structures = tuple(structures)
        self._layout = layout
        self._dead = dead
        self._ids_of = ids_of
        self._lock = ForkSafeLock()
        self._index: ApproximateIndex | None = None
        self._moments: VectorMoments | SampledMoments | Literal[False] | None = None
        self._parts: dict[str, VectorBlock] = {}
        self._loaded: dict[int, AnnStructure] = {}
        self._damaged: set[int] = set()
        # A leg that was never searched has loaded nothing: use the one before it.
        self._before: DenseLeg | None = (
            before._before if before is not None and before._index is None else before
        )
        self.missing: list[str] = []
        self._maps = self._map_vectors(before)
        self._structure_maps = self._map_structures(before)

    @lockless_property
    def index(self) -> ApproximateIndex:
        """The searchable index; raises CorruptIndexError if vectors on disk have changed."""
        with self._lock:
            if self._index is None:
                if self.missing:
                    raise CorruptIndexError(f"{self.missing[0]}: restore the index from a copy")
                self._index = self._build()
                self._before = None
            return self._index

    @property
    def vector_count(self) -> int:
        """Number of vectors, those of deleted passages included."""
        return sum(block.count for block in self.blocks.values())

    @property
    def has_windows(self) -> bool:
        """Whether a passage has several vectors."""
        return any(block.spans is not None for block in self.blocks.values())

    @property
    def rows(self) -> Rows:
        """The row of each vector's passage, deleted ones included, ascending."""
        blocks = (block.rows for block in self.blocks.values())
        return np.concatenate([np.empty(0, np.int64), *blocks])

    @property
    def live_rows(self) -> Rows:
        """The rows of stored passages that have a vector, ascending."""
        rows = np.unique(self.rows) if self.has_windows else self.rows
        return np.setdiff1d(rows, self._dead, assume_unique=True)

    @property
    def tail(self) -> int:
        """Number of vectors added since the last ANN structure, deleted ones included."""
        end = self.structures[-1].last if self.structures else -1
        count = 0
        for block in reversed(list(self.blocks.values())):
            after = int((block.rows > end).sum())
            count += after
            if after < block.count:
                break
        return count

    def is_due(self, *, compact: bool) -> bool:
        """Return whether ANN structures must be built: with ``compact``, one of all vectors."""
        if not compact and not self.structures and self.tail <= MAX_TAIL:
            return False
        return self.is_damaged or self.index.plan_builds(compact=compact) is not None

    @property
    def is_damaged(self) -> bool:
        """Whether an ANN structure was left out because it is missing or damaged."""
        return len(self.index.structures) < len(self.structures)

    def vectors(self, rows: Rows) -> tuple[Vectors, Mask]:
        """Return one stored vector of each of ``rows`` (n, dim), and which rows have one.

        Of a passage with windows, it is the one of the text's beginning.
        """
        return self.index.flat.get_vectors(rows)

    def all_vectors(self, rows: Rows) -> PassageVectors:
        """Return all stored vectors of ``rows``, which ascend; rows without one are left out."""
        return self.index.flat.get_all_vectors(rows)

    def block_vectors(self, block: BlockRecord) -> PassageVectors:
        """Return the vectors of one block, verified."""
        _ = self.index  # raises if a vector has changed
        vectors = self._maps[block.file][block.first : block.first + block.count]
        return PassageVectors(block.rows, vectors, block.spans)

    def moments(self, query: Vectors) -> Moments:
        """Return the moments of all live vectors' scores for one query (dim,), 0 without vectors.

        Raises QueryError for an invalid query.
        """
        prepared = self.index.flat.prepare_queries(query[None, :])[0]
        if self._moments is None:
            self._moments = self._compute_moments()  # False without vectors
        return self._moments.scores(prepared) if self._moments else Moments(0.0, 0.0)

    def damage(self) -> list[str]:
        """Read all vectors and structures; describe those that are missing or have changed."""
        problems = list(self.missing)
        for file, blocks in self._blocks_by_file().items():
            if file in self._maps:
                problems += self._find_changed(file, blocks)
        found = [self._structure_problem(record) for record in self.structures]
        return problems + [problem for problem in found if problem is not None]

    def _compute_moments(self) -> VectorMoments | SampledMoments | Literal[False]:
        """Return the moments of the live vectors, False if there are none."""
        rows = self.live_rows
        most = SAMPLED * len(rows) // max(self.index.flat.vector_count(len(rows)), 1)
        if len(rows) > most:
            rows = np.sort(np.random.default_rng(0).choice(rows, most, replace=False))
        if self.has_windows and len(rows):
            return SampledMoments.from_passages(self.metric, self.all_vectors(rows))
        vectors = self.index.flat.get_vectors(rows)[0]
        return VectorMoments.from_vectors(self.metric, vectors) if len(rows) else False

    @property
    def _size(self) -> int:
        """Bytes of all vectors."""
        return sum(vectors.nbytes for vectors in self._maps.values())

    def _build(self) -> ApproximateIndex:
        before = self._before
        verified: Mapping[int, BlockRecord] = before.blocks if before is not None else {}
        if self._size > READ:
            verified = self.blocks
        parts: list[VectorBlock] = []
        for file, blocks in self._blocks_by_file().items():
            changed = self._find_changed(file, [b for b in blocks if b.number not in verified])
            if changed:
                raise CorruptIndexError(f"{changed[0]}: restore the index from a copy")
            rows = np.concatenate([block.rows for block in blocks])
            stored = PassageVectors(rows, self._maps[file], _join_spans(blocks))
            start = before._parts.get(file) if before is not None else None
            self._parts[file] = VectorBlock.from_vectors(self.metric, stored, start)
            parts.append(self._parts[file].without(self._dead))
        structures = self._load_structures(before)
        return ApproximateIndex(
            self.index_type, self.metric, self.dim, parts, structures, self._ids_of
        )

    def _load_structures(self, before: "DenseLeg | None") -> list[AnnStructure]:
        """Load the structures up to the first damaged one; the vectors after it are scanned."""
        known = before._loaded if before is not None else {}
        self._damaged |= before._damaged if before is not None else set()
        structures: list[AnnStructure] = []
        for record in self.structures:
            if record.number in self._damaged:
                break
            structure = known.get(record.number)
            if structure is None:
                problem = self._structure_problem(record)
                if problem is not None:
                    self._damaged.add(record.number)
                    warnings.warn(
                        f"{problem}; its vectors are scanned, which is exact but slower, until the "
                        "next write rebuilds it",
                        RebuildWarning,
                        stacklevel=5,
                    )
                    break
                structure = AnnStructure.read(self._structure_maps[record.number])
            self._loaded[record.number] = structure
            structures.append(structure)
        return structures

    def _blocks_by_file(self) -> dict[str, list[BlockRecord]]:
        files: dict[str, list[BlockRecord]] = {}
        for block in self.blocks.values():
            files.setdefault(block.file, []).append(block)
        return files

    def _map_vectors(self, before: "DenseLeg | None") -> dict[str, Vectors]:
        """Map all vector files: mapped files stay readable when a later generation deletes them."""
        maps: dict[str, Vectors] = {}
        for file, blocks in self._blocks_by_file().items():
            count = blocks[-1].first + blocks[-1].count
            known = before._maps.get(file) if before is not None else None
            if known is not None and len(known) == count:
                maps[file] = known
                continue
            try:
                maps[file] = map_vectors(self._layout.vector_file(file), count, self.dim)
            except CorruptIndexError as error:
                self.missing.append(str(error))
        return maps

    def _map_structures(self, before: "DenseLeg | None") -> dict[int, object]:
        known = before._structure_maps if before is not None else {}
        maps: dict[int, object] = {}
        for record in self.structures:
            assert record.file is not None  # structures are never stored in the catalog
            path = self._layout.segment_file(record.file)
            try:
                maps[record.number] = known.get(record.number) or map_file(path, record.size)
            except (OSError, ValueError):
                continue  # reported when the structure is loaded
        return maps

    def _find_changed(self, file: str, blocks: Sequence[BlockRecord]) -> list[str]:
        """Return descriptions of the blocks whose bytes have changed."""
        return [
            f"vectors {block.first:,} to {block.first + block.count - 1:,} in "
            f"{self._layout.vector_file(file)} are not those that were written"
            for block in blocks
            if content_hash(self._maps[file][block.first : block.first + block.count]) != block.hash
        ]

    def _structure_problem(self, record: SegmentRecord) -> str | None:
        """Return what is wrong with a structure's file, None if nothing is."""
        name = f"{self._layout.folder}: dense structure {record.number}"
        data = self._structure_maps.get(record.number)
        if data is None:
            return f"{name} is missing or shorter than it was"
        return None if content_hash(data) == record.hash else f"{name} is not what was written"


def _join_spans(blocks: Sequence[BlockRecord]) -> Spans | None:
    """Return the spans of the blocks' vectors, None if no passage has several."""
    spans = [block.spans for block in blocks]
    if all(each is None for each in spans):
        return None
    return np.concatenate(
        [
            each if each is not None else np.zeros((block.count, 4), np.int64)
            for each, block in zip(spans, blocks, strict=True)
        ]
    )
