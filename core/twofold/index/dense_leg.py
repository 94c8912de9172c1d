"""The dense leg of one generation: vector files mapped and verified when first searched."""

import threading
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from twofold.catalog import BlockRecord, content_hash, map_vectors
from twofold.dense import FlatIndex, VectorPart
from twofold.errors import CorruptIndexError
from twofold.index.layout import Layout
from twofold.metrics import Metric
from twofold.types import Rows, Vectors


class DenseLeg:
    """Blocks of vectors, less the dead rows; what an earlier generation verified isn't again."""

    def __init__(
        self,
        layout: Layout,
        metric: Metric,
        dim: int,
        blocks: Sequence[BlockRecord],
        dead: Rows,
        ids_of: Callable[[Rows], list[str]],
        before: "DenseLeg | None",
    ) -> None:
        self.metric = metric
        self.dim = dim
        self.blocks: Mapping[int, BlockRecord] = {block.number: block for block in blocks}
        self._layout = layout
        self._dead = dead
        self._ids_of = ids_of
        self._lock = threading.Lock()
        self._index: FlatIndex | None = None
        self._parts: dict[str, VectorPart] = {}
        # An unbuilt generation knows nothing: what to build upon is what it would have used.
        self._before: DenseLeg | None = (
            before._before if before is not None and before._index is None else before
        )
        self.missing: list[str] = []
        self._maps = self._mapped(before)

    def index(self) -> FlatIndex:
        """Return the searchable index; raise CorruptIndexError where bytes have changed."""
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

    def vectors(self, rows: Rows) -> tuple[Vectors, NDArray[np.bool_]]:
        """Return the stored vectors (n, dim) of rows, and which of them have one."""
        out = np.zeros((len(rows), self.dim), np.float32)
        found = np.zeros(len(rows), np.bool_)
        for part in self.index().parts:
            places = part.locate(rows)
            here = places >= 0
            out[here] = part.vectors[places[here]]
            found |= here
        return out, found

    def damage(self) -> list[str]:
        """Return what is wrong with the stored vectors, block by block; all are read."""
        problems = list(self.missing)
        for file, blocks in self._by_file().items():
            if file in self._maps:
                problems += self._changed(file, blocks)
        return problems

    def _build(self) -> FlatIndex:
        before = self._before
        known = before.blocks if before is not None else {}
        parts: list[VectorPart] = []
        for file, blocks in self._by_file().items():
            changed = self._changed(file, [each for each in blocks if each.number not in known])
            if changed:
                raise CorruptIndexError(f"{changed[0]}: restore the index from a copy")
            rows = np.concatenate([block.rows for block in blocks])
            start = before._parts.get(file) if before is not None else None
            self._parts[file] = VectorPart.of(self.metric, rows, self._maps[file], start)
            parts.append(self._parts[file].without(self._dead))
        return FlatIndex(self.metric, self.dim, parts, self._ids_of)

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

    def _changed(self, file: str, blocks: Sequence[BlockRecord]) -> list[str]:
        """Return the blocks whose bytes are not those that were written."""
        return [
            f"vectors {block.first:,} to {block.first + block.count - 1:,} in "
            f"{self._layout.vector_file(file)} are not those that were written"
            for block in blocks
            if content_hash(self._maps[file][block.first : block.first + block.count]) != block.hash
        ]
