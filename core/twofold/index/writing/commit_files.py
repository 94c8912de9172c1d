"""The files of one commit: named, written and synced before the catalog knows of them."""

from dataclasses import replace

import numpy as np

from twofold.dense import AnnStructure
from twofold.index.layout import Layout
from twofold.index.segment_types import SegmentContent
from twofold.index.snapshot import DENSE
from twofold.storage import (
    BlockRecord,
    SegmentRecord,
    State,
    append_vectors,
    content_hash,
    mapped,
    pack,
    rows_data,
    write_whole,
)
from twofold.types import Rows, Vectors

IN_CATALOG = 1 << 18
"""Segments up to this many bytes live in the catalog itself, larger ones in files."""
BLOCK = 1024
"""Vectors up to which the last block still grows, so that small writes don't make many."""


class CommitFiles:
    """Names and writes files; those of a commit that fails are cleared by the next writer."""

    def __init__(self, layout: Layout, state: State) -> None:
        self._layout = layout
        self._next = state.next_file
        self.used = 0

    def segment(self, leg: str, content: SegmentContent) -> SegmentRecord:
        """Write a segment, a small one into the record itself."""
        number = self._number()
        data = pack(content.arrays())
        record = SegmentRecord(
            number=number,
            leg=leg,
            first=int(content.rows[0]),
            last=int(content.rows[-1]),
            rows=len(content.rows),
            file=None,
            blob=data,
            size=len(data),
            hash=content_hash(data),
        )
        if len(data) <= IN_CATALOG:
            return record
        name = f"{number:010d}.{leg}"
        path = self._layout.segment_file(name)
        write_whole(path, lambda file: file.write(data))
        return replace(record, file=name, blob=None)

    def vectors(
        self,
        vector_set: int,
        last: BlockRecord | None,
        rows: Rows,
        vectors: Vectors,
        *,
        before: Vectors | None,
    ) -> tuple[BlockRecord, ...]:
        """Append vectors after the ``last`` block, or to a new file; return their blocks.

        ``before`` are the vectors of the last block where it is to grow by the new ones.
        """
        if last is None:
            name, start = f"{self._number():010d}.f32", 0
        else:
            name, start = last.file, last.first + last.count
        path = self._layout.vector_file(name)
        append_vectors(path, start, vectors)
        if before is not None and last is not None:
            rows = np.concatenate([last.rows, rows])
            vectors = np.concatenate([before, vectors])
            start = last.first
        return tuple(
            BlockRecord(
                number=self._number(),
                vector_set=vector_set,
                file=name,
                first=start + at,
                count=len(rows[at : at + BLOCK]),
                rows_data=rows_data(rows[at : at + BLOCK]),
                hash=content_hash(np.ascontiguousarray(vectors[at : at + BLOCK])),
            )
            for at in range(0, len(rows), BLOCK)
        )

    def structure(self, content: AnnStructure) -> SegmentRecord:
        """Write a structure over vectors, piece by piece."""
        number = self._number()
        name = f"{number:010d}.{DENSE}"
        path = self._layout.segment_file(name)
        write_whole(path, content.write)
        size = path.stat().st_size
        return SegmentRecord(
            number=number,
            leg=DENSE,
            first=int(content.rows[0]),
            last=int(content.rows[-1]),
            rows=len(content.rows),
            file=name,
            blob=None,
            size=size,
            hash=content_hash(mapped(path, size)),
        )

    def _number(self) -> int:
        number = self._next + self.used
        self.used += 1
        return number
