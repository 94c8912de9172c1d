"""Approximate neighbours among the vectors of some rows: an immutable FAISS structure."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from twofold.concurrency import faiss_threads
from twofold.dense.index_types import IndexType, Search, Size, as_dict, index_type_from_dict
from twofold.similarity import Metric
from twofold.types import Rows, Vectors

_LENGTH = 8
"""Bytes at the end of a file that give the length of its footer."""
_ALIGNED = 16
"""Dimensions are a multiple of this inside structures."""
_PARALLEL = 20_000
"""Vectors from which on threads help to build; below, they mostly wait for each other."""
_LEAST = 64
"""Points to train on, repeated if there are fewer."""
_BLOCK = 65_536
"""Vectors added at once: 100 MB at 384 dimensions is all that a build holds as floats."""

Source = Callable[[Rows], Vectors]
"""Gives the stored vectors (n, dim) of rows."""


@dataclass(frozen=True, slots=True)
class AnnStructure:
    """Proposes rows near to a query; ``rows`` are ascending, and places count them from 0."""

    kind: IndexType
    rows: NDArray[np.uint32]
    structure: Any

    @classmethod
    def build(cls, kind: IndexType, metric: Metric, rows: Rows, source: Source) -> "AnnStructure":
        """Train on a sample, and add block after block; all floats are never held at once."""
        chosen = np.random.default_rng(0).permutation(len(rows))[: kind.sample(len(rows))]
        points = _padded(source(rows[np.sort(chosen)]))
        width = points.shape[1]
        structure = kind.empty(Size(width, len(rows), metric))
        with faiss_threads((os.cpu_count() or 1) if len(rows) > _PARALLEL else 1):
            structure.train(np.resize(points, (max(len(points), _LEAST), width)))
            for start in range(0, len(rows), _BLOCK):
                structure.add(_padded(source(rows[start : start + _BLOCK])))
        return cls(kind, rows.astype(np.uint32), structure)

    def propose(
        self,
        queries: Vectors,
        k: int,
        effort: float,
        eligible: NDArray[np.bool_] | None,
    ) -> NDArray[np.int64]:
        """Return rows likely to hold the best ``k``, (queries, candidates), -1 for none.

        ``queries`` (n, dim) are prepared ones; ``eligible`` flags places, None for all.
        """
        import faiss

        count = len(self.rows)
        selector = None
        if eligible is not None:
            bits = np.packbits(eligible, bitorder="little")
            selector = faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))
        search = Search(queries.shape[1], count, k, effort, selector)
        wanted = min(self.kind.candidates(search), count)
        parameters = self.kind.parameters(search)
        points = _padded(queries)
        with faiss_threads(1):
            _, places = self.structure.search(points, wanted, params=parameters)
        return np.where(places >= 0, self.rows[places].astype(np.int64), -1)

    def write(self, file: BinaryIO) -> None:
        """Write everything, the structure piece by piece: first it, then rows, then a footer."""
        import faiss

        writer = faiss.PyCallbackIOWriter(file.write)
        faiss.write_index(self.structure, writer)
        del writer  # which may hold back some bytes until now
        size = file.tell()
        file.write(self.rows.astype("<u4").tobytes())
        footer = {
            "kind": as_dict(self.kind),
            "size": size,
            "rows": len(self.rows),
        }
        text = json.dumps(footer).encode()
        file.write(text + len(text).to_bytes(_LENGTH, "little"))

    @classmethod
    def read(cls, data: Any) -> "AnnStructure":
        """Return what was written; ``data`` is a buffer whose checksum was compared before.

        Codes are used where they lie, so that processes share a memory map.
        """
        import faiss

        view = memoryview(data)
        end = len(view) - _LENGTH
        footer = json.loads(bytes(view[end - int.from_bytes(view[end:], "little") : end]))
        size, count = footer["size"], footer["rows"]
        array = np.frombuffer(data, np.uint8)
        reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(array), size)
        structure = faiss.read_index(reader)
        structure.referenced_objects = [array]  # whose memory it uses
        rows = np.frombuffer(data, np.uint8, 4 * count, size).view("<u4")
        return cls(index_type_from_dict(footer["kind"]), rows, structure)


def _padded(vectors: Vectors) -> Vectors:
    """Return vectors filled up with zeros to dimensions that FAISS has fast instructions for."""
    missing = -vectors.shape[1] % _ALIGNED
    if missing:
        vectors = np.pad(vectors, ((0, 0), (0, missing)))
    return np.ascontiguousarray(vectors)
