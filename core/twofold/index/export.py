"""Exports: an index's passages as JSON lines and its vectors as a NumPy array, and back.

The format doesn't depend on the storage format, so another version of the library reads it. It is
a BEIR folder: ``corpus.jsonl`` has a passage a line. Row i of ``vectors.npy`` (float32) is the
vector of line i, NaN for a passage without one. A long passage has further vectors, of its windows,
in ``windows.npy``. ``spans.npy`` (int64) has a row for each vector of these passages, the one in
``vectors.npy`` first: the passage's line from 0, then the part that the vector encodes, as first
and last token + 1, and as first and last character + 1 of title and text. ``export.json`` has the
settings, the encoder's identity and the checksums of all files.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import xxhash
from numpy.lib import format as npy
from numpy.typing import NDArray

from twofold.dense import PassageVectors
from twofold.errors import CorruptIndexError, IndexNotFoundError, UnsupportedStorageError
from twofold.index.analyzer_binding import AnalyzerSources
from twofold.index.encoder_binding import CANARIES
from twofold.index.folder_swap import new_index_folder
from twofold.index.layout import Layout
from twofold.index.saved_records import adapter_records, read_adapter_file
from twofold.index.view import IndexView, SnapshotProvider
from twofold.index.writing.new_index import Batch, IndexContent, write_index
from twofold.index.writing.passage_input import PassageValidator
from twofold.storage import (
    FORMAT,
    IndexSettings,
    VectorSetRecord,
    map_file,
    read_plain,
    storage_errors,
    sync_file,
    sync_folder,
    write_atomic,
)
from twofold.types import Rows, Vectors
from twofold.validation import is_integer

EXPORT_FORMAT = 2
"""Number of the export format. Raise it when files or fields change their meaning."""
_MANIFEST, _CORPUS, _VECTORS, _ADAPTERS = "export.json", "corpus.jsonl", "vectors.npy", "adapters"
_WINDOWS, _SPANS = "windows.npy", "spans.npy"
_NPY_HEADER = 256  # bytes that hold the header of an array of two dimensions
_NPY = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '(<f4|<i8)', 'fortran_order': False, "
    rb"'shape': \(([0-9]{1,12}), ([0-9]{1,6})\), \} *\n",
    re.DOTALL,
)
_BATCH = 4096  # passages read and written at a time
_CHUNK = 1 << 20  # bytes read at a time


@dataclass(frozen=True, slots=True)
class Export:
    """The counts of an export.

    Attributes:
        generation: The generation that was exported.
        passages: How many passages it has.
        vectors: How many of them have a vector.
    """

    generation: int
    passages: int
    vectors: int


def export_index(snapshots: SnapshotProvider, layout: Layout, target: Path) -> Export:
    """Write the newest generation to a new or empty folder.

    The folder appears as a whole or not at all. Neither the encoder nor the analyzer is needed.

    Raises:
        InputError: The folder exists and is not empty.
        CorruptIndexError: Passages or vectors are damaged.
        StorageError: The system can't read or write a file.
    """
    with (
        new_index_folder(target, overwrite=False) as working,
        storage_errors(target),
        snapshots.view() as view,
    ):
        folder = working.folder
        count = _write_corpus(view, folder)
        dense = view.snapshot.dense
        files = [_CORPUS, *([_VECTORS] if dense is not None else [])]
        if dense is not None and dense.has_windows:
            files += [_WINDOWS, _SPANS]
        adapters = adapter_records(view.snapshot.settings)
        if adapters:
            (folder / _ADAPTERS).mkdir()
        for name, record in adapters.items():
            if not layout.adapter_file(name).exists():  # a user may have deleted it
                continue
            data = read_adapter_file(layout, name, record["hash"])
            file = f"{_ADAPTERS}/{layout.adapter_file(name).name}"
            write_atomic(folder / file, lambda out, data=data: out.write(data))  # type: ignore[misc]  # bound here
            files.append(file)
        exported = Export(view.snapshot.generation, view.snapshot.state.passages, count)
        values = {
            "format": EXPORT_FORMAT,
            **asdict(exported),
            "settings": json.loads(view.snapshot.settings.to_json()),
            "vector_set": _describe_vector_set(view.snapshot.vector_set),
            "files": {name: _hash_file(folder / name) for name in files},
        }
        text = json.dumps(values, indent=1, ensure_ascii=False).encode()
        write_atomic(folder / _MANIFEST, lambda out: out.write(text))
        for path in [folder / _ADAPTERS] if adapters else []:
            sync_folder(path)
        sync_folder(folder)
    return exported


def import_index(source: Path, target: Path, sources: AnalyzerSources, *, overwrite: bool) -> None:
    """Write the index that an export describes to a new or empty folder, or over another index.

    Vectors keep their bits. The postings are built anew.

    Raises:
        IndexNotFoundError: There is no export in the folder.
        CorruptIndexError: A file of the export is missing or has changed.
        UnsupportedStorageError: The export was written by a later version.
        IndexMismatchError: The analyzer is missing, or its module isn't trusted.
    """
    with storage_errors(source):
        try:
            text = read_plain(source / _MANIFEST)
        except (FileNotFoundError, NotADirectoryError):
            raise IndexNotFoundError(
                f"there is no export at {source}: it has no {_MANIFEST}"
            ) from None
        try:
            values = json.loads(text)
            number = values["format"]
            if not is_integer(number):
                raise ValueError(f"format must be an integer, got {number!r}")
            if number > EXPORT_FORMAT:
                raise UnsupportedStorageError(
                    f"the export {source} has format {number}, but this version of twofold reads "
                    f"format {EXPORT_FORMAT}: upgrade twofold"
                )
            settings = replace(IndexSettings.from_values(values["settings"]), format=FORMAT)
            vector_set = _read_vector_set(values["vector_set"])
            files: Mapping[str, Any] = dict(values["files"])
            needed = [_CORPUS, *([_VECTORS] if vector_set is not None else [])]
            if not set(needed) <= set(files):
                raise ValueError(f"files must name {' and '.join(needed)}")
            if len({_WINDOWS, _SPANS} & set(files)) == 1:
                raise ValueError(f"files must name {_WINDOWS} and {_SPANS}, or neither")
            _check_vector_set(settings, vector_set)
            passages = values["passages"]
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise CorruptIndexError(f"{source / _MANIFEST} is not valid: {error}") from error
        for name, digest in files.items():
            _check_file(source, name, digest)
        names = {name: Layout(target).adapter_file(name).name for name in adapter_records(settings)}
        adapters = {
            name: (source / _ADAPTERS / file).read_bytes()
            for name, file in names.items()
            if f"{_ADAPTERS}/{file}" in files
        }
        vectors = _ExportedVectors.read(source, files, settings.dim)
        content = IndexContent(settings, vector_set, adapters)
        with new_index_folder(target, overwrite=overwrite) as layout:
            batches = _read_batches(source / _CORPUS, vectors, passages)
            write_index(layout, content, batches, sources)


@dataclass(frozen=True, slots=True)
class _ExportedVectors:
    """The arrays of an export: vectors (n, dim), windows (m, dim) and spans (s, 5).

    ``further`` (m,) are the positions of the windows' spans.
    """

    folder: Path
    vectors: Vectors
    windows: Vectors
    spans: NDArray[np.int64]
    further: NDArray[np.int64]

    @classmethod
    def read(
        cls, folder: Path, files: Collection[str], dim: int | None
    ) -> "_ExportedVectors | None":
        """Map the arrays, None without vectors; raise CorruptIndexError for spans of no vector."""
        if _VECTORS not in files:
            return None
        vectors = _map_array(folder / _VECTORS, "<f4", dim)
        if _SPANS not in files or _WINDOWS not in files:
            windows, spans = np.empty((0, dim or 0), "<f4"), np.empty((0, 5), "<i8")
            return cls(folder, vectors, windows, spans, np.empty(0, np.int64))
        windows = _map_array(folder / _WINDOWS, "<f4", dim)
        spans = _map_array(folder / _SPANS, "<i8", 5)
        lines, parts = spans[:, 0], spans[:, 1:]
        further = np.flatnonzero(np.diff(lines, prepend=-1) == 0)
        valid = (
            bool((np.diff(lines) >= 0).all() and ((lines >= 0) & (lines < len(vectors))).all())
            and len(further) == len(windows)
            and bool(((parts >= 0) & (parts < 1 << 32)).all())
            and bool((parts[:, 0] < parts[:, 1]).all() and (parts[:, 2] <= parts[:, 3]).all())
            and bool(np.isfinite(windows).all() and np.isfinite(vectors[lines]).all())
        )
        if not valid:
            raise CorruptIndexError(f"{folder / _SPANS} does not fit the vectors beside it")
        return cls(folder, vectors, windows, spans, further)

    def select(self, start: int, stop: int) -> PassageVectors:
        """Return the vectors of the lines from ``start`` to ``stop``; rows count from ``start``."""
        some = self.vectors[start:stop]
        if len(some) < stop - start:
            raise CorruptIndexError(f"{self.folder / _VECTORS} has fewer rows than {_CORPUS}")
        rows = np.flatnonzero(np.isfinite(some).all(axis=1))
        first, last = np.searchsorted(self.spans[:, 0], [start, stop])
        if first == last:
            return PassageVectors(rows, some[rows])
        spans = self.spans[first:last]
        is_first = np.diff(spans[:, 0], prepend=-1) > 0
        before, after = np.searchsorted(self.further, [first, last])
        windows = self.windows[before:after]
        whole = np.zeros((len(rows), 4), np.int64)
        whole[np.searchsorted(rows, spans[is_first, 0] - start)] = spans[is_first, 1:]
        joined = np.concatenate([rows, spans[~is_first, 0] - start])
        order = np.argsort(joined, kind="stable")
        return PassageVectors(
            joined[order],
            np.concatenate([some[rows], windows])[order],
            np.concatenate([whole, spans[~is_first, 1:]])[order],
        )


def _write_corpus(view: IndexView, folder: Path) -> int:
    """Write passages and vectors; return how many passages have a vector."""
    snapshot = view.snapshot
    dense, count, line = snapshot.dense, 0, 0
    stored = view.passages()
    spans: list[NDArray[np.int64]] = []
    with ExitStack() as stack:
        corpus, vectors, windows = (
            stack.enter_context((folder / name).open("wb"))
            for name in (_CORPUS, _VECTORS, _WINDOWS)
        )
        if dense is not None:
            _write_header(vectors, "<f4", (snapshot.state.passages, dense.dim))
            _write_header(windows, "<f4", (0, dense.dim))
        while batch := list(islice(stored, _BATCH)):
            for passage in batch:
                values = {"_id": passage.id, "title": passage.title, "text": passage.text}
                values |= {"metadata": json.loads(passage.metadata)}
                corpus.write(json.dumps(values, ensure_ascii=False).encode() + b"\n")
            if dense is not None:
                rows = np.array([passage.row for passage in batch])
                found, present = dense.vectors(rows)
                found = np.where(present[:, None], found, np.float32(np.nan))
                vectors.write(np.ascontiguousarray(found, "<f4").tobytes())
                count += int(present.sum())
            if dense is not None and dense.has_windows:
                spans.append(_write_windows(windows, dense.all_vectors(rows), rows, line))
            line += len(batch)
        if dense is not None and spans:
            every = np.concatenate(spans)
            extra = len(every) - len(np.unique(every[:, 0]))
            windows.seek(0)
            _write_header(windows, "<f4", (extra, dense.dim))
            span_file = stack.enter_context((folder / _SPANS).open("wb"))
            _write_header(span_file, "<i8", every.shape)
            span_file.write(every.astype("<i8").tobytes())
            span_file.flush()
            sync_file(span_file.fileno())
        for file in (corpus, vectors, windows):
            file.flush()
            sync_file(file.fileno())
    if dense is None:
        (folder / _VECTORS).unlink()
    if not spans:
        (folder / _WINDOWS).unlink()
    return count


def _write_header(file: BinaryIO, kind: str, shape: tuple[int, ...]) -> None:
    """Write the header of an array. NumPy leaves room for a larger first dimension."""
    npy.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})


def _write_windows(
    file: BinaryIO, stored: PassageVectors, rows: Rows, line: int
) -> NDArray[np.int64]:
    """Write the further vectors of long passages; return the spans of all their vectors.

    ``rows`` are those of the passages of consecutive lines, from ``line``.
    """
    spans = stored.filled_spans
    is_part = spans[:, 1] > 0
    is_further = is_part & (np.diff(stored.rows, prepend=-1) == 0)
    file.write(np.ascontiguousarray(stored.vectors[is_further], "<f4").tobytes())
    lines = line + np.searchsorted(rows, stored.rows[is_part])
    return np.column_stack([lines, spans[is_part]])


def _read_batches(corpus: Path, vectors: _ExportedVectors | None, count: object) -> Iterator[Batch]:
    """Yield the passages of an export with their vectors; raise unless there are ``count``."""
    validator, start = PassageValidator(), 0
    with corpus.open("rb") as file:
        for batch in validator.iterate_batches(map(_read_line, file), _BATCH):
            stop = start + len(batch)
            yield Batch(batch, vectors.select(start, stop)) if vectors is not None else Batch(batch)
            start = stop
    if start != count or (vectors is not None and len(vectors.vectors) != start):
        raise CorruptIndexError(f"{corpus} has {start:,} passages, but {_MANIFEST} says {count!r}")


def _read_line(line: bytes) -> dict[str, Any]:
    """Return a line of the corpus as a passage."""
    try:
        values = json.loads(line)
        return {
            "id": values["_id"],
            "title": values["title"],
            "text": values["text"],
            "metadata": values["metadata"],
        }
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise CorruptIndexError(f"a line of {_CORPUS} is no passage: {error}") from error


def _describe_vector_set(record: VectorSetRecord | None) -> dict[str, Any] | None:
    if record is None:
        return None
    canaries = np.frombuffer(record.canaries, "<f4").reshape(len(CANARIES), -1)
    return {
        "number": record.number,
        "identity": json.loads(record.identity),
        "canaries": canaries.tolist() if record.canaries else None,
    }


def _read_vector_set(values: Mapping[str, Any] | None) -> VectorSetRecord | None:
    if values is None:
        return None
    number, identity = values["number"], json.dumps(values["identity"])
    if not is_integer(number) or not 1 <= number < 1 << 31:
        raise ValueError(f"vector_set.number must be an integer >= 1, got {number!r:.80}")
    canaries = b""
    if values["canaries"] is not None:
        array = np.array(values["canaries"], "<f4")
        if array.ndim != 2 or len(array) != len(CANARIES):
            raise ValueError(f"vector_set.canaries must have {len(CANARIES)} rows")
        canaries = array.tobytes()
    record = VectorSetRecord(number, identity, canaries, 1)
    record.to_identity()
    return record


def _check_vector_set(settings: IndexSettings, record: VectorSetRecord | None) -> None:
    """Raise ValueError if settings and vector set of an export contradict each other."""
    if record is None:
        return
    if not settings.dense or settings.dim is None or settings.metric is None:
        raise ValueError("settings with vectors must have dense, dim and metric")
    canaries = np.frombuffer(record.canaries, "<f4")
    if len(canaries) not in (0, len(CANARIES) * settings.dim) or not np.isfinite(canaries).all():
        raise ValueError(f"vector_set.canaries must have {settings.dim} finite numbers a row")


def _map_array(path: Path, kind: str, columns: int | None) -> NDArray[Any]:
    """Map an array (n, columns) of an export, in the form in which it is written."""
    with path.open("rb") as file:
        start = file.read(_NPY_HEADER)
    found = _NPY.match(start)
    rows, width = (int(found[2]), int(found[3])) if found is not None else (0, 0)
    end = 10 + int.from_bytes(start[8:10], "little")
    size = rows * width * np.dtype(kind).itemsize
    fits = found is not None and found[1].decode() == kind and width == columns
    if not fits or end + size != path.stat().st_size:
        raise CorruptIndexError(
            f"{path} must be an array of NumPy, {np.dtype(kind).name} and of shape (n, {columns}), "
            "as it was exported"
        )
    data = map_file(path, end + size)
    return np.frombuffer(data, kind, rows * width, end).reshape(rows, width)


def _hash_file(path: Path) -> str:
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _check_file(source: Path, name: str, digest: object) -> None:
    """Raise CorruptIndexError if a file of an export is missing or has changed."""
    known = name in (_CORPUS, _VECTORS, _WINDOWS, _SPANS) or (
        name.startswith(f"{_ADAPTERS}/") and name.count("/") == 1 and name.endswith(".adapter")
    )
    path = source / name
    if not known or not path.is_file() or path.is_symlink() or path.parent.is_symlink():
        raise CorruptIndexError(f"{source} has no file {name!r}, which its {_MANIFEST} names")
    if _hash_file(source / name) != digest:
        raise CorruptIndexError(f"{source / name} has changed since it was exported")
