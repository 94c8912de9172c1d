"""Repair: saves what a damaged index still holds into a new folder."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from twofold.dense import PassageVectors
from twofold.errors import (
    CorruptIndexError,
    IndexLockedError,
    IndexNotFoundError,
    InputError,
    TwofoldError,
)
from twofold.filters import ColumnSegment
from twofold.index.analyzer_binding import AnalyzerSources, with_analyzer
from twofold.index.encoder_binding import EncoderBinding
from twofold.index.folder_swap import new_index_folder
from twofold.index.layout import Layout
from twofold.index.open_options import DEFAULT_ANALYZER
from twofold.index.passage_encoding import encode_texts
from twofold.index.saved_records import (
    adapter_records,
    find_adapter_problem,
    profile_records,
    read_adapter_file,
)
from twofold.index.segment_types import ColumnSegmentType
from twofold.index.writing.new_index import Batch, IndexContent, write_index
from twofold.lexical import analyzer_from_name
from twofold.protocols import Encoder
from twofold.storage import (
    BlockRecord,
    CatalogSalvage,
    IndexSettings,
    StoredPassage,
    VectorSetRecord,
    WriteLock,
    content_hash,
    map_file,
    read_head,
    real_path,
    storage_errors,
    unpack_arrays,
)
from twofold.types import Rows, Vectors

_BATCH = 1024  # passages in one commit


@dataclass(frozen=True, slots=True)
class RepairReport:
    """The outcome of `Index.repair`.

    Attributes:
        passages: How many passages were saved.
        vectors: How many of them have a vector.
        encoded: How many of the vectors were lost, and encoded again.
        lost: The ids of the passages that could not be saved.
        lost_unnamed: How many more were lost, whose ids are unknown.
        without_vector: The ids of saved passages whose vector was lost: only words find them.
        is_complete: Whether nothing else was lost, such as settings, the last commits, profiles, or
            which passages were deleted.
        problems: Descriptions of what was damaged.
    """

    passages: int
    vectors: int
    encoded: int
    lost: tuple[str, ...]
    lost_unnamed: int
    without_vector: tuple[str, ...]
    is_complete: bool
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether everything was saved."""
        lost = self.lost or self.lost_unnamed or self.without_vector
        return self.is_complete and not lost


def repair_index(
    source: Layout, target: Path, encoder: Encoder | None, sources: AnalyzerSources
) -> RepairReport:
    """Save what the folder of ``source`` still holds into a new or empty folder.

    Postings, columns and ANN structures are built anew. Lost vectors are encoded again if the
    encoder can be loaded. The damaged folder is only read.

    Raises:
        IndexNotFoundError: The folder has no catalog.
        IndexLockedError: A writer has the index's lock.
        CorruptIndexError: No passage could be saved.
        IndexMismatchError: The analyzer is missing, or its module isn't trusted.
    """
    if real_path(target).is_relative_to(real_path(source.folder)):
        raise InputError(f"{target} is in the damaged index's folder: pass a path outside of it")
    lock = WriteLock(source.lock)
    with storage_errors(source.folder):
        if not source.catalog.is_file():
            raise IndexNotFoundError(f"there is no index at {source.folder}: it has no catalog")
        if source.lock.is_file():
            _acquire_if_writable(lock)
        try:
            with new_index_folder(target, overwrite=False) as layout:
                catalog = layout.folder.with_name("damaged.sqlite")
                _copy_catalog(source, catalog)
                with closing(CatalogSalvage(catalog)) as salvage:
                    repair = _Repair(source, salvage, encoder)
                    if not len(repair.rows) and not repair.was_empty:
                        raise CorruptIndexError(
                            f"no passage of {source.folder} could be saved: restore the index "
                            "from a backup"
                        )
                    write_index(layout, repair.content, repair.batches(), sources)
                    return repair.report()
        finally:
            lock.release()


def _acquire_if_writable(lock: WriteLock) -> None:
    """Take the write lock; a folder that can't be written has no writer."""
    try:
        lock.acquire()
    except IndexLockedError:
        raise
    except OSError:
        return


def _copy_catalog(source: Layout, catalog: Path) -> None:
    """Copy the catalog and its log: SQLite may change files that it opens.

    A reader that closes may write the log back and delete it, so the log is copied first.
    """
    for suffix in ("-wal", ""):
        path = source.catalog.with_name(source.catalog.name + suffix)
        if path.is_file():
            shutil.copyfile(path, catalog.with_name(catalog.name + suffix))


class _Repair:
    """The passages and vectors of a damaged index that can be saved.

    Attributes:
        content: Settings, encoder and query adapters of the new index.
        rows: The rows of the passages to save, ascending.
    """

    def __init__(self, layout: Layout, salvage: CatalogSalvage, encoder: Encoder | None) -> None:
        self._layout = layout
        self._salvage = salvage
        self._problems = salvage.problems
        self._is_complete = True
        self._blocks = salvage.blocks()
        self._binding = EncoderBinding(encoder, layout.folder)
        self._state = salvage.state()
        self._check_head()
        stored, self._ids = self._find_stored()
        held = np.isin(stored, np.array(sorted(salvage.cells), np.int64))
        self._lost = stored[~held].tolist()
        self.rows = self._check_passages(stored[held])
        self.content = self._find_content()
        settings = self.content.settings
        self._dim = settings.dim if settings.dense else None
        self._places = self._find_vectors()
        self._had = self._count_had()
        self._encoded = 0
        self._vectors = 0
        self._without: list[str] = []

    def batches(self) -> Iterator[Batch]:
        """Yield the passages with their vectors; lost vectors are encoded again if possible."""
        for start in range(0, len(self.rows), _BATCH):
            rows = self.rows[start : start + _BATCH]
            passages = [self._salvage.passage(row) for row in rows.tolist()]
            pairs = [(passage.to_passage(), passage.metadata) for passage in passages]
            if self._dim is None:
                yield Batch(pairs)
                continue
            saved = self._read_vectors(rows)
            self._encode_lost(passages, saved)
            self._vectors += len(saved)
            yield Batch(pairs, PassageVectors.assign(saved, self._dim))

    def report(self) -> RepairReport:
        """Return the report, after all batches were written."""
        named = [self._ids[row] for row in self._lost if row in self._ids]
        unnamed = len(self._lost) - len(named)
        if self._state is not None:
            unnamed = max(unnamed, self._state.passages - len(self.rows) - len(named))
            digest = sum(self._salvage.passage(row).checksum for row in self.rows.tolist())
            complete = len(self.rows) == self._state.passages
            if complete and digest % (1 << 64) != self._state.digest:
                self._report_loss("the saved passages are not all those of the last commit")
        return RepairReport(
            len(self.rows),
            self._vectors,
            self._encoded,
            tuple(sorted(named)),
            unnamed,
            tuple(sorted(self._without)),
            self._is_complete,
            tuple(dict.fromkeys(self._problems)),
        )

    @property
    def was_empty(self) -> bool:
        """Whether the index is known to have had no passages."""
        known = self._state is not None and self._state.passages == 0
        return known and self._is_complete and not self._lost

    def _report_loss(self, problem: str) -> None:
        self._problems.append(problem)
        self._is_complete = False

    def _check_passages(self, rows: Rows) -> Rows:
        """Return the rows without those whose passage is no valid one, or was replaced later."""
        newest: dict[str, int] = {}
        for row in rows.tolist():
            passage = self._salvage.passage(row)
            try:
                passage.to_passage()
            except CorruptIndexError as error:
                self._report_loss(str(error))
                self._lost.append(row)
                self._ids = {**self._ids, row: passage.id}
                continue
            if passage.id in newest:
                self._report_loss(f"passage {passage.id!r} is stored twice: the newer one is saved")
            newest[passage.id] = row
        return np.array(sorted(newest.values()), np.int64)

    def _check_head(self) -> None:
        try:
            head = read_head(self._layout.head)
        except CorruptIndexError as error:
            self._problems.append(str(error))
            return
        if head is None:
            self._problems.append("the HEAD file is missing")
        elif self._state is None or head[1] > self._state.generation:
            generation = self._state.generation if self._state is not None else "unknown"
            self._report_loss(
                f"the generation of the catalog is {generation}, but generation {head[1]} was "
                "committed: the changes since are lost"
            )

    def _find_stored(self) -> tuple[Rows, dict[int, str]]:
        """Return the rows of the stored passages, ascending, and the ids that are known.

        The columns tell them, else SQLite, else the passages that were found.
        """
        salvage = self._salvage
        dead, complete = salvage.dead_rows()
        columns = self._load_columns()
        if columns is not None and complete:
            names = {
                row: name
                for segment in columns
                for row, name in zip(segment.rows.tolist(), segment.ids.tolist(), strict=True)
            }
            rows = np.setdiff1d(np.array(sorted(names), np.int64), dead)
            return rows, names
        current = salvage.current_rows()
        if current is not None:
            return current, salvage.damaged
        self._report_loss(
            "it is unknown which passages were deleted: the newest of each id is saved, and "
            "deleted ones may be back"
        )
        newest = {
            salvage.passage(row).id: row for row in sorted(set(salvage.cells) - set(dead.tolist()))
        }
        lost = [row for row, name in salvage.damaged.items() if name not in newest]
        return np.array(sorted([*newest.values(), *lost]), np.int64), salvage.damaged

    def _load_columns(self) -> list[ColumnSegment] | None:
        """Return the columns of all passages, None if some are missing or damaged."""
        records = self._salvage.segments()
        if records is None or self._state is None or len(records) != self._state.segments:
            return None
        segments: list[ColumnSegment] = []
        for record in records:
            if record.leg != ColumnSegmentType.leg:
                continue
            try:
                data: Any = record.blob
                if record.file is not None:
                    data = map_file(self._layout.segment_file(record.file), record.size)
                if content_hash(data) != record.hash:
                    raise CorruptIndexError("its bytes are not those that were written")
                segments.append(ColumnSegment.from_arrays(unpack_arrays(data)))
            except (OSError, ValueError, LookupError, TypeError) as error:
                self._problems.append(f"columns segment {record.number}: {error}")
                return None
        return segments

    def _find_content(self) -> IndexContent:
        """Return the settings, the vectors' encoder and the query adapters."""
        settings = self._salvage.settings()
        if settings is None:
            self._report_loss(
                f"the new index has the analyzer {DEFAULT_ANALYZER!r} and no dense leg: "
                "Index.reanalyze and Index.reencode change this"
            )
            lexical = IndexSettings(dense=False)
            return IndexContent(
                with_analyzer(lexical, analyzer_from_name(DEFAULT_ANALYZER), 1), None
            )
        adapters: dict[str, bytes] = {}
        records = adapter_records(settings)
        for name, record in records.items():
            problem = find_adapter_problem(self._layout, name, record["hash"])
            if problem is None:
                adapters[name] = read_adapter_file(self._layout, name, record["hash"])
            else:
                self._report_loss(problem)
        profiles = {
            name: values
            for name, values in profile_records(settings).items()
            if values.get("adapter") in (None, *adapters)
        }
        settings = replace(
            settings,
            query_adapters=json.dumps({name: records[name] for name in adapters}),
            profiles=json.dumps(profiles),
            active_profile=settings.active_profile if settings.active_profile in profiles else None,
        )
        return IndexContent(settings, self._find_vector_set(settings), adapters)

    def _find_vector_set(self, settings: IndexSettings) -> VectorSetRecord | None:
        active = [record for record in self._salvage.vector_sets() if record.active == 1]
        if active:
            return max(active, key=lambda record: record.number)
        blocks = self._blocks
        if not blocks or settings.dim is None:
            return None
        self._report_loss(
            "the identity of the encoder is lost: another encoder is not noticed any more"
        )
        return VectorSetRecord(blocks[-1].vector_set, "null", b"", 1)

    def _find_vectors(self) -> dict[int, list[tuple[BlockRecord, int]]]:
        """Return where the vectors of each row are: their blocks, and their positions there."""
        vector_set = self.content.vector_set
        places: dict[int, list[tuple[BlockRecord, int]]] = {}
        if vector_set is None or self._dim is None:
            return {}
        for block in self._blocks:
            if block.vector_set != vector_set.number:
                continue
            try:
                changed = content_hash(self._map_block(block)) != block.hash
            except (OSError, ValueError) as error:
                self._problems.append(f"vector block {block.number}: {error}")
                continue
            if changed:
                self._problems.append(
                    f"vectors {block.first:,} to {block.first + block.count - 1:,} in {block.file} "
                    "are not those that were written"
                )
                continue
            for at, row in enumerate(block.rows.tolist()):
                places.setdefault(row, []).append((block, at))
        return places

    def _map_block(self, block: BlockRecord) -> Vectors:
        """Return the vectors (n, dim) of a block."""
        assert self._dim is not None
        first, last = (4 * self._dim * at for at in (block.first, block.first + block.count))
        data = map_file(self._layout.vector_file(block.file), last)
        return np.frombuffer(data, "<f4")[first // 4 :].reshape(block.count, self._dim)

    def _count_had(self) -> Counter[int]:
        """Return how many vectors each row had, as far as the blocks' records tell."""
        vector_set = self.content.vector_set
        if vector_set is None:
            return Counter()
        blocks = [block for block in self._blocks if block.vector_set == vector_set.number]
        return Counter(row for block in blocks for row in block.rows.tolist())

    def _read_vectors(self, rows: Rows) -> dict[int, PassageVectors]:
        """Return the stored vectors of rows by position; rows without one are left out."""
        assert self._dim is not None
        saved: dict[int, PassageVectors] = {}
        loaded: dict[int, PassageVectors] = {}
        for at, row in enumerate(rows.tolist()):
            parts: list[PassageVectors] = []
            for block, position in self._places.get(row, ()):
                if block.number not in loaded:
                    vectors = self._map_block(block)
                    loaded[block.number] = PassageVectors(block.rows, vectors, block.spans)
                parts.append(loaded[block.number][position : position + 1])
            if any(part.spans is None for part in parts):
                parts = parts[-1:]  # a vector of a whole passage has no others beside it
            if parts:
                saved[at] = PassageVectors.concatenate(parts, self._dim)
        return saved

    def _encode_lost(self, passages: list[StoredPassage], saved: dict[int, PassageVectors]) -> None:
        """Encode the passages of which a vector was lost, and enter the vectors."""
        lost = [
            at
            for at, passage in enumerate(passages)
            if passage.encoded_text and self._has_lost(passage.row, saved.get(at))
        ]
        if not lost:
            return
        settings, vector_set = self.content.settings, self.content.vector_set
        assert settings.metric is not None
        try:
            encoded = encode_texts(
                [passages[at].encoded_text for at in lost],
                self._binding.encoder(settings, vector_set),
                lambda some: self._binding.encode_passages(some, settings, vector_set),
                settings.metric,
                settings.windows,
            )
        except TwofoldError as error:
            self._problems.append(f"lost vectors can't be encoded again: {error}")
            self._without += [passages[at].id for at in lost if at not in saved]
            if any(at in saved for at in lost):
                self._report_loss("vectors of some windows of long passages are lost, or may be")
            return
        for at, vectors in zip(lost, encoded.vectors, strict=True):
            if vectors is not None:
                saved[at] = vectors
                self._encoded += 1
            elif at not in saved:
                self._without.append(passages[at].id)

    @property
    def _has_all_blocks(self) -> bool:
        """Whether the records of all vector blocks were found."""
        found = sum(block.count for block in self._blocks)
        return self._state is not None and found >= self._state.vectors

    def _has_lost(self, row: int, saved: PassageVectors | None) -> bool:
        """Return whether a row had vectors that can't be read, or may have had."""
        if saved is None:
            return row in self._had or not self._has_all_blocks
        if saved.spans is not None and not self._has_all_blocks:
            return True
        return len(saved) < self._had[row]
