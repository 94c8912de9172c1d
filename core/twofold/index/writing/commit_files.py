"""Writes the files of one commit, before the catalog refers to them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.dense import AnnStructure, PassageVectors
from twofold.index.layout import Layout
from twofold.index.segment_types import SegmentContent
from twofold.index.snapshot import DENSE
from twofold.storage import (
    BlockRecord,
    SegmentRecord,
    State,
    append_vectors,
    content_hash,
    encode_rows,
    map_file,
    pack_arrays,
    write_atomic,
)

IN_CATALOG = 1 << 18
"""Segments of up to this many bytes are stored in the catalog, larger ones in files."""
BLOCK = 1024
"""Vectors up to which the last block still grows, so that small writes don't add many blocks."""


class CommitFiles:
    """Names and writes the files of one commit. If it fails, the next writer deletes them.

    ``used`` counts the numbers assigned to files and records.
    """

    def __init__(self, layout: Layout, state: State) -> None:
        self._layout = layout
        self._next = state.next_file
        self._identity = state.identity
        self.used = 0

    def write_segment(self, leg: str, content: SegmentContent) -> SegmentRecord:
        """Store a segment: a small one in its record, a larger one in a file."""
        number = self._next_number()
        data = pack_arrays(content.arrays())
        if len(data) <= IN_CATALOG:
            return _segment_record(number, leg, content.rows, None, data, data)
        name = self._name(number, leg)
        write_atomic(self._layout.segment_file(name), lambda file: file.write(data))
        return _segment_record(number, leg, content.rows, name, None, data)

    def write_vectors(
        self,
        vector_set: int,
        last: BlockRecord | None,
        new: PassageVectors,
        *,
        before: PassageVectors | None = None,
    ) -> tuple[BlockRecord, ...]:
        """Append vectors after block ``last``, None for a new file; return their blocks.

        ``before`` are the vectors of ``last``, if a larger block is to replace it.
        """
        if not len(new):
            return ()
        if last is None:
            name, start = self._name(self._next_number(), "f32"), 0
        else:
            name, start = last.file, last.first + last.count
        append_vectors(self._layout.vector_file(name), start, new.vectors)
        if before is not None and last is not None:
            new = PassageVectors.concatenate([before, new], new.vectors.shape[1])
            start = last.first
        pieces = {at: new[at : at + BLOCK] for at in range(0, len(new), BLOCK)}
        return tuple(
            BlockRecord(
                number=self._next_number(),
                vector_set=vector_set,
                file=name,
                first=start + at,
                count=len(piece),
                rows_data=encode_rows(piece.rows, piece.spans),
                hash=content_hash(np.ascontiguousarray(piece.vectors)),
            )
            for at, piece in pieces.items()
        )

    def write_structure(self, structure: AnnStructure) -> SegmentRecord:
        """Write an ANN structure to a file."""
        number = self._next_number()
        name = self._name(number, DENSE)
        path = self._layout.segment_file(name)
        write_atomic(path, structure.write)
        data = map_file(path, path.stat().st_size)
        return _segment_record(number, DENSE, structure.rows, name, None, data)

    def _name(self, number: int, suffix: str) -> str:
        """Return a file's name, which no other index uses."""
        return f"{self._identity}-{number:010d}.{suffix}"

    def _next_number(self) -> int:
        number = self._next + self.used
        self.used += 1
        return number


def _segment_record(
    number: int, leg: str, rows: NDArray[Any], file: str | None, blob: bytes | None, data: Any
) -> SegmentRecord:
    first, last, count = int(rows[0]), int(rows[-1]), len(rows)
    size, digest = len(data), content_hash(data)
    return SegmentRecord(number, leg, first, last, count, file, blob, size, digest)
