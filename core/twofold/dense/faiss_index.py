"""Immutable FAISS structures, which propose candidates among the vectors of some rows."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from twofold.concurrency import limit_faiss_threads
from twofold.dense.index_types import (
    IndexType,
    StructureSearch,
    index_type_as_dict,
    index_type_from_dict,
)
from twofold.similarity import Metric
from twofold.types import Rows, Vectors

_FOOTER_LENGTH_BYTES = 8  # bytes at the end of a file that give the length of its footer
_ALIGNMENT = 16  # dimensions are filled up to a multiple of this, for FAISS's fast instructions
_PARALLEL_ROWS = 20_000  # vectors from which on several threads build faster than one
_MIN_TRAINING = 64  # training vectors, repeated if there are fewer
_BATCH_ROWS = 65_536  # vectors added at once: a build holds 100 MB of floats at 384 dimensions


@dataclass(frozen=True, slots=True)
class AnnStructure:
    """A FAISS structure over the vectors of ascending ``rows`` (n,); position i is rows[i].

    A row of several vectors occurs as often.
    """

    index_type: IndexType
    rows: NDArray[np.uint32]
    structure: Any

    @classmethod
    def build(
        cls,
        index_type: IndexType,
        metric: Metric,
        rows: Rows,
        source: Callable[[NDArray[np.int64] | slice], Vectors],
    ) -> "AnnStructure":
        """Train a structure on a sample of ``rows`` and add all vectors batch by batch.

        ``source`` returns the stored vectors (n, dim) of positions in ``rows``.
        """
        import faiss

        shuffled = np.random.default_rng(0).permutation(len(rows))
        sample = np.sort(shuffled[: index_type.training_size(len(rows))])
        points = _pad_dimensions(source(sample))
        width = points.shape[1]
        distance = faiss.METRIC_INNER_PRODUCT if metric is Metric.DOT else faiss.METRIC_L2
        structure = index_type.create(width, len(rows), distance)
        with limit_faiss_threads((os.cpu_count() or 1) if len(rows) > _PARALLEL_ROWS else 1):
            structure.train(np.resize(points, (max(len(points), _MIN_TRAINING), width)))
            for start in range(0, len(rows), _BATCH_ROWS):
                structure.add(_pad_dimensions(source(slice(start, start + _BATCH_ROWS))))
        return cls(index_type, rows.astype(np.uint32), structure)

    def propose(
        self, queries: Vectors, k: int, effort: float, eligible: NDArray[np.bool_] | None
    ) -> NDArray[np.int64]:
        """Return candidates for the best ``k`` rows (queries, candidates), padded with -1.

        ``queries`` (n, dim) are of `FlatIndex.prepare_queries`; ``eligible`` flags positions.
        """
        import faiss

        count = len(self.rows)
        selector = None
        if eligible is not None:
            bits = np.packbits(eligible, bitorder="little")
            selector = faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))
        search = StructureSearch(queries.shape[1], count, k, effort, selector)
        candidates = min(self.index_type.candidate_count(search), count)
        parameters = self.index_type.search_parameters(search)
        points = _pad_dimensions(queries)
        with limit_faiss_threads(1):
            _, positions = self.structure.search(points, candidates, params=parameters)
        return np.where(positions >= 0, self.rows[positions].astype(np.int64), -1)

    def write(self, file: BinaryIO) -> None:
        """Write the structure, its rows and a JSON footer."""
        import faiss

        writer = faiss.PyCallbackIOWriter(file.write)
        faiss.write_index(self.structure, writer)
        del writer  # flushes its last bytes
        size = file.tell()
        file.write(self.rows.astype("<u4").tobytes())
        kind = index_type_as_dict(self.index_type)
        text = json.dumps({"kind": kind, "size": size, "rows": len(self.rows)}).encode()
        file.write(text + len(text).to_bytes(_FOOTER_LENGTH_BYTES, "little"))

    @classmethod
    def read(cls, data: Any) -> "AnnStructure":
        """Return the structure written to ``data``, a buffer whose checksum is verified.

        Codes are used in place, so that processes share a memory map.
        """
        import faiss

        view = memoryview(data)
        end = len(view) - _FOOTER_LENGTH_BYTES
        footer = json.loads(bytes(view[end - int.from_bytes(view[end:], "little") : end]))
        size, count = footer["size"], footer["rows"]
        array = np.frombuffer(data, np.uint8)
        reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(array), size)
        structure = faiss.read_index(reader)
        structure.referenced_objects = [array]  # keeps the memory alive
        rows = np.frombuffer(data, np.uint8, 4 * count, size).view("<u4")
        return cls(index_type_from_dict(footer["kind"]), rows, structure)


def _pad_dimensions(vectors: Vectors) -> Vectors:
    """Return vectors filled up with zeros to a multiple of _ALIGNMENT dimensions."""
    missing = -vectors.shape[1] % _ALIGNMENT
    if missing:
        vectors = np.pad(vectors, ((0, 0), (0, missing)))
    return np.ascontiguousarray(vectors)
