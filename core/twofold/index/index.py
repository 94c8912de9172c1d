"""The index: one durable folder with passages, vectors and postings."""

import json
import os
import secrets
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np

from twofold.backend import Capabilities, SearchScope
from twofold.concurrency import caller_pool, runs_event_loop
from twofold.dense import (
    Auto,
    Flat,
    IndexType,
    check_index_type,
    index_type_as_dict,
    index_type_from_name,
)
from twofold.filters import parse_filter
from twofold.index.analyzer_binding import check_title_weight, with_analyzer
from twofold.index.backup import Backup, back_up, restore_backup
from twofold.index.copying import copy_index
from twofold.index.encoder_binding import EncoderBinding
from twofold.index.export import Export, export_index, import_index
from twofold.index.folder_swap import recover_replaced
from twofold.index.layout import Layout, resolve_folder
from twofold.index.open_options import (
    AS_STORED,
    AsStored,
    OpenOptions,
    as_sources,
    as_window_size,
    check_encoder,
    ensure_index,
)
from twofold.index.recall import Recall, measure_recall
from twofold.index.repair import RepairReport, repair_index
from twofold.index.saved.profiles import SearchProfiles
from twofold.index.saved.query_adapters import QueryAdapters
from twofold.index.saved.store import FolderStore
from twofold.index.segment_types import LexicalSegmentType
from twofold.index.verification import Verification, verify
from twofold.index.view import (
    CAPABILITIES,
    IndexView,
    SnapshotProvider,
    check_deletion,
    find_passages,
    served_modes,
)
from twofold.index.writing.commit import Change
from twofold.index.writing.maintenance import build_structures, update_agreement
from twofold.index.writing.passage_input import (
    BATCH,
    ENCODED_BATCH,
    PassageValidator,
)
from twofold.index.writing.progress import PassageProgress
from twofold.index.writing.reencoding import Reencoding
from twofold.index.writing.upsert import UpsertPlanner, UpsertResult, warn_of_unfindable
from twofold.index.writing.writer import IndexWriter
from twofold.lexical import AnalyzerLike, as_analyzer
from twofold.protocols import Encoder
from twofold.similarity import Metric
from twofold.storage import (
    Catalog,
    IndexSettings,
    VectorSetRecord,
    Version,
    read_head,
    storage_errors,
)
from twofold.types import Mode, Passage, PassageLike, Vectors, Where
from twofold.validation import as_path, check_iterable

_TRIES = 20
"""How often an index is read again that another one replaces meanwhile."""
_PAUSE = 5_000
"""Microseconds up to which it waits in between."""


def close_index(
    catalog: Catalog, writer: IndexWriter, temporary: Path | None, process: int
) -> None:
    """Close an index; delete its ``temporary`` folder if this is the ``process`` that made it."""
    catalog.close()
    writer.close()
    if temporary is not None and os.getpid() == process:
        shutil.rmtree(temporary, ignore_errors=True)


def close_unused(
    catalog: Catalog, writer: IndexWriter, temporary: Path | None, process: int
) -> None:
    """Close an index that nobody refers to; if an event loop runs in this thread, in another one.

    The write lock is released at once.
    """
    if not runs_event_loop():
        close_index(catalog, writer, temporary, process)
        return
    import asyncio

    writer.close()
    loop = asyncio.get_running_loop()
    close = weakref.finalize(loop, close_index, catalog, writer, temporary, process)
    loop.call_soon(lambda: caller_pool().submit(close))  # the pool's lock may be held just now


class Index:
    """A durable hybrid index: passages with a dense leg and a lexical leg, committed together.

    Many threads and processes can read while one process writes. The first write takes the write
    lock; ``close()`` or garbage collection of the Index releases it. Writes raise ReadOnlyError if
    the index is read-only, and IndexLockedError if there is another writer. Every method raises
    IndexClosedError after ``close()``.

    Example:
        >>> from twofold import HashingEncoder, Index
        >>> with Index.open(None, encoder=HashingEncoder()) as index:  # None: a temporary folder
        ...     result = index.upsert([{"id": "1", "text": "Plants make food from light."}])
        ...     index.get(["1"])[0].text
        'Plants make food from light.'
    """

    def __init__(
        self, layout: Layout, options: OpenOptions, temporary: Path | None, *, read_only: bool
    ) -> None:
        self._layout = layout
        self._temporary = temporary
        self._catalog = Catalog(layout.catalog, read_only=read_only)
        try:
            settings, vector_set = _read_settings(self._catalog, layout, options.head)
            options.check(settings)
            self._opened = settings
            self._snapshots = SnapshotProvider(
                self._catalog,
                layout,
                options.analyzer_sources,
                EncoderBinding(options.load_encoder(settings), layout.folder),
                options.check,
            )
            self._writer = IndexWriter(
                self._catalog, layout, self._snapshots, read_only=read_only, wait=options.wait
            )
            if vector_set is not None and options.names_another(settings):
                self._encoder_binding.check_passed(settings, vector_set)
        except BaseException:
            self._catalog.close()
            raise
        self._finalizer = weakref.finalize(
            self, close_unused, self._catalog, self._writer, temporary, os.getpid()
        )

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] | None,
        *,
        encoder: Encoder | str | AsStored | None = AS_STORED,
        dim: int | Literal["first"] | None = None,
        metric: Metric | str | None = None,
        analyzer: AnalyzerLike | AsStored | None = AS_STORED,
        title_weight: int | None = None,
        windows: bool | int | None = None,
        create: bool = True,
        read_only: bool = False,
        trust: Collection[str] = (),
        wait: float = 0.0,
    ) -> "Index":
        """Open the index in a folder, or create it there.

        Arguments that are left out keep their stored values.

        Args:
            path: The folder, or None for a temporary one that ``close`` deletes.
            encoder: A model's name or an `Encoder`. A new index uses all-MiniLM-L6-v2 by default.
                None makes an index without a dense leg, unless ``dim`` is passed.
            dim: Dimensions of vectors that the caller passes; ``"first"``: as in the first ones.
            metric: The similarity of vectors. A new index uses the model's own by default.
            analyzer: A language's name or code (``twofold.lexical.LANGUAGES``), an `Analyzer`, or
                a function from a text to its terms. The function is stored by its import path:
                pass it again on opening, or see ``trust``. A new index uses ``"english"`` by
                default; None makes one without a lexical leg.
            title_weight: How many times each term of a title counts. Default: 1.
            windows: How passages are encoded that are longer than the encoder reads. True, the
                default of a new index: as a whole as far as it reads, and in overlapping windows
                of 200 tokens. A number changes the tokens of a window; False: no windows.
            create: Whether to create the index if there is none.
            read_only: Whether to refuse writes.
            trust: Modules that may be imported to find the analyzer that the index names, such as
                ``{"my.analyzers"}``. The environment variable ``TWOFOLD_TRUST`` adds others,
                separated by commas. Analyzers of languages need no trust.
            wait: Seconds that a write waits for the write lock while another process has it,
                before IndexLockedError is raised. Other Index objects of this process hand it over.

        Raises:
            InputError: An argument is invalid.
            IndexNotFoundError: There is no index, and it can't be created there.
            IndexMismatchError: An argument contradicts what is stored.
            CorruptIndexError: Stored bytes have changed.
            StorageError: The system refuses to read or create files.
            UnsupportedStorageError: The folder is on a network file system, or its format is of
                another version.
        """
        temporary = Path(tempfile.mkdtemp(prefix="twofold-")) if path is None else None
        layout = Layout(resolve_folder(path if path is not None else str(temporary)))
        try:
            with storage_errors(layout.folder):
                if not layout.folder.exists():
                    recover_replaced(layout.folder)
                head = read_head(layout.head)
            options = OpenOptions(
                encoder, dim, metric, analyzer, title_weight, windows, trust, wait, head
            )
            with storage_errors(layout.folder):
                ensure_index(layout, options, create=create and not read_only)
            return cls(layout, options, temporary, read_only=read_only)
        except BaseException:
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)
            raise

    @property
    def _encoder_binding(self) -> EncoderBinding:
        return self._snapshots.encoder_binding

    @property
    def path(self) -> Path:
        """The index's folder."""
        return self._layout.folder

    @property
    def dim(self) -> int | None:
        """The vectors' dimensions, None before the first vector."""
        return self._settings().dim

    @property
    def metric(self) -> Metric | None:
        """The similarity of vectors, None before the first vector."""
        return self._settings().metric

    @property
    def encoder(self) -> Encoder | None:
        """The encoder, loaded on first use; None where callers pass vectors."""
        with self.view() as view:
            settings, vector_set = view.snapshot.settings, view.snapshot.vector_set
        if not self._encoder_binding.has_encoder(settings):
            return None
        return self._encoder_binding.encoder(settings, vector_set)

    @property
    def loaded_encoder(self) -> Encoder | None:
        """The encoder if it was passed or used before, else None. Reads no file."""
        latest = self._snapshots.latest
        vector_set = latest.vector_set if latest is not None else None
        return self._encoder_binding.find_loaded(self.last_settings, vector_set)

    @property
    def last_settings(self) -> IndexSettings:
        """The settings of the last generation that was read. Reads no file."""
        self._writer.check_open()
        latest = self._snapshots.latest
        return latest.settings if latest is not None else self._opened

    @property
    def encoder_name(self) -> str | None:
        """The name of the encoder, None where callers pass vectors."""
        return self._settings().encoder

    @property
    def analyzer(self) -> str | None:
        """The name of the analyzer, None without a lexical leg."""
        return self._settings().analyzer

    @property
    def title_weight(self) -> int:
        """How many times each term of a title counts."""
        return self._settings().title_weight

    @property
    def windows(self) -> bool | int:
        """How long passages are encoded, as in `Index.open`: True, False or tokens per window."""
        size = self._settings().windows
        return True if size is None else size or False

    @property
    def agreement(self) -> float | None:
        """How well the dense ranking agrees with the lexical one, 1.0 at best; None if unknown."""
        return self._settings().agreement

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The search modes (hybrid, dense, lexical) that a retriever over this index can use."""
        return served_modes(self._settings())

    @property
    def capabilities(self) -> Capabilities:
        """The modes and features that a retriever can use, as of the last generation read."""
        return CAPABILITIES[served_modes(self.last_settings)]

    @property
    def index_type(self) -> IndexType:
        """The type of ANN structure in use; up to 10,000 newer vectors are scanned without one."""
        with self.view() as view:
            dense = view.snapshot.dense
        structures = dense.index.structures if dense is not None and dense.structures else ()
        return structures[0].index_type if structures else Flat()

    @property
    def profiles(self) -> SearchProfiles:
        """The saved search profiles by name."""
        return SearchProfiles(FolderStore(self._writer))

    @property
    def query_adapters(self) -> QueryAdapters:
        """The saved query adapters by name; the active profile names the one in use."""
        return QueryAdapters(FolderStore(self._writer))

    def adapted(self, vectors: Vectors) -> Vectors:
        """Return the query vectors ``vectors`` (n, dim), mapped by the active query adapter."""
        with self.open_search() as scope:
            return scope.adapt(vectors)

    def upsert(
        self,
        passages: Iterable[PassageLike],
        *,
        vectors: Vectors | None = None,
        replace_all: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> UpsertResult:
        """Add passages; replace those stored under the same ids.

        A passage without an id gets one from its title, text and metadata. The same content is
        therefore one passage, whether it is passed in one call or in several. Metadata values are
        converted to JSON as ``twofold.metadata`` describes.

        Passages are committed in batches of hundreds, each as a whole. A call that was stopped
        can be repeated: unchanged passages are skipped, and stored texts are not encoded again. A
        list is checked before anything is written, a generator batch by batch. With
        ``replace_all``, all are one batch in memory, and a call that was stopped has stored none.

        ``agreement`` is measured again once half of 50 or more passages have changed. This encodes
        about 100 sentences, none if ``vectors`` are passed.

        Args:
            passages: The passages.
            vectors: Their vectors (n, dim), used instead of encoding.
            replace_all: Delete all other passages. Everything is one commit, so that a reader sees
                the old passages or the new ones.
            progress: Called with the number of passages encoded or committed so far.

        Raises:
            PassageError: A passage is invalid.
            VectorError: The vectors are invalid, or missing in an index without an encoder.
            EncoderMismatchError: The encoder is not the one that produced the stored vectors.
        """
        check_iterable(passages)
        self._writer.begin()
        if vectors is not None and not isinstance(passages, Sequence):
            passages = list(passages)
        settings = self._settings()
        planner = UpsertPlanner(settings, self._encoder_binding, vectors)
        planner.check_vectors(passages if isinstance(passages, Sequence) else None)
        encoded = vectors is None and self._encoder_binding.has_encoder(settings)
        ids: list[str] = []
        counts = np.zeros(7, np.int64)
        size = ENCODED_BATCH if encoded else BATCH
        batches = PassageValidator().iterate_batches(passages, size)
        if replace_all:
            batches = iter([list(chain.from_iterable(batches))])
        shown = PassageProgress(progress)
        for batch in batches:
            with self._writer.transaction() as transaction, shown.encoding(len(batch)):
                transaction.change, batch_counts = planner.plan(
                    batch, transaction.view, replace_all=replace_all
                )
            ids += [passage.id for passage, _ in batch]
            counts += batch_counts
            shown.commit(len(batch))
        compact = replace_all or (len(ids) > size and 2 * int(counts[0]) >= len(self))
        build_structures(self._writer, compact=compact)
        update_agreement(self._writer, encode=vectors is None)
        result = UpsertResult(tuple(ids), *counts.tolist())
        warn_of_unfindable(result, stacklevel=3)
        return result

    def delete(self, ids: Iterable[str] | None = None, *, where: Where | None = None) -> int:
        """Delete passages that satisfy ``ids``, ``where`` or both, if passed; return how many.

        Unknown ids are ignored.

        Raises:
            InputError: Neither ``ids`` nor ``where`` is passed.
            FilterError: The filter is invalid.
        """
        selected = check_deletion("delete", ids, where)
        with self._writer.transaction() as transaction:
            deleted = find_passages(transaction.view, selected, where)
            if deleted:
                transaction.change = Change(deleted=deleted)
        if deleted:
            build_structures(self._writer, compact=False)
        return len(deleted)

    def reanalyze(self, analyzer: AnalyzerLike, *, title_weight: int | None = None) -> None:
        """Rebuild the postings with another analyzer, or after the analyzer has changed.

        Nothing is encoded. An index without a lexical leg gets one.

        Args:
            analyzer: The analyzer, as in `Index.open`.
            title_weight: How often the terms of a title count; unchanged if None.
        """
        new = as_analyzer(analyzer)
        if title_weight is not None:
            check_title_weight(title_weight)
        with self._writer.transaction() as transaction:
            before = transaction.snapshot.settings
            weight = title_weight if title_weight is not None else before.title_weight
            transaction.change = Change(
                settings=with_analyzer(before, new, weight),
                reanalyzed=LexicalSegmentType(new, weight),
            )
            # Each generation uses the one that built it.
            self._snapshots.analyzers.given.append(new)
        update_agreement(self._writer, encode=False)

    def reencode(
        self,
        encoder: Encoder | str,
        *,
        metric: Metric | str | None = None,
        windows: bool | int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """Change to another encoder or other windows, and encode all passages again.

        Queries use the old vectors until all passages have new ones. A call that was stopped
        continues when it is repeated with the same encoder. An index without a dense leg gets one.

        Args:
            encoder: A model's name or an `Encoder`.
            metric: The similarity of vectors, by default the model's own.
            windows: The windows of long passages, as in `Index.open`; unchanged if None.
            progress: Called with the number of passages done so far.

        Returns:
            How many texts were encoded; 0 if this encoder produced the stored vectors.

        Raises:
            EncoderNotFoundError: There is no model of that name.
        """
        size = as_window_size(windows)
        self._writer.begin()
        encoded = Reencoding(self._writer, self._encoder_binding, self._layout.folder).run(
            encoder, metric, size, progress
        )
        update_agreement(self._writer)
        return encoded

    def reindex(self, index_type: IndexType | Auto | str) -> IndexType:
        """Change the type of the dense leg's ANN structure, and rebuild it from stored vectors.

        Args:
            index_type: A type of ``twofold.dense``, such as ``HNSW(search_effort=200)``, or its
                name. `Auto` chooses one by the number of vectors.

        Returns:
            The type in use.
        """
        if isinstance(index_type, str):
            index_type = index_type_from_name(index_type)
        kind = json.dumps(index_type_as_dict(check_index_type(index_type)))
        with self._writer.transaction() as transaction:
            settings = replace(transaction.snapshot.settings, index_type=kind)
            transaction.change = Change(settings=settings, structures="rebuild")
        return self.index_type

    def get(self, ids: Iterable[str] | None = None, *, where: Where | None = None) -> list[Passage]:
        """Return the passages that satisfy ``ids`` (in their order), ``where`` or both, if passed.

        Raises:
            InputError: Neither ``ids`` nor ``where`` is passed.
            FilterError: The filter is invalid.
        """
        selected = check_deletion("get", ids, where)
        with self.view() as view:
            found = find_passages(view, selected, where)
        if selected is None:
            return [stored.to_passage() for stored in found]
        by_id = {stored.id: stored for stored in found}
        return [by_id[name].to_passage() for name in selected if name in by_id]

    def count(self, where: Where | None = None) -> int:
        """Return the number of passages, or of those that match ``where``."""
        with self.view() as view:
            if where is None:
                return view.corpus.passages
            return int(np.count_nonzero(view.mask(parse_filter(where))))

    def __len__(self) -> int:
        return self.count()

    def __iter__(self) -> Iterator[Passage]:
        """Yield all passages of one generation, in the order in which they were stored."""
        with self.view() as view:
            for stored in view.passages():
                yield stored.to_passage()

    def __contains__(self, passage_id: object) -> bool:
        return isinstance(passage_id, str) and bool(self.get([passage_id]))

    def view(self) -> AbstractContextManager[IndexView]:
        """Return a context manager that opens a session of the newest generation."""
        return self._snapshots.view()

    def session(self) -> AbstractContextManager[IndexView]:
        """Return the same as ``view``, to implement `Backend`."""
        return self.view()

    @contextmanager
    def open_search(self) -> Iterator[SearchScope]:
        """Open the newest generation with its encoder, profile and query adapter."""
        with self.view() as view:
            yield view.scope

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return query vectors (n, dim) by the encoder that produced the stored vectors.

        Raises:
            QueryError: There is no encoder.
        """
        with self.open_search() as scope:
            return scope.encode_queries(texts)

    def recall(
        self,
        sample: int = 200,
        *,
        k: int = 10,
        queries: Sequence[str] | Vectors | None = None,
        effort: float = 1.0,
    ) -> Recall:
        """Measure the recall@``k`` of the dense leg against exact search.

        Args:
            sample: How many stored vectors are used as queries if ``queries`` is None.
            k: Passages per query.
            queries: Texts, or vectors (n, dim); real user queries give the best estimate.
            effort: The search effort; 1.0 is the index type's default.
        """
        with self.view() as view:
            return measure_recall(view, queries, sample, k, effort)

    def warm(self) -> None:
        """Load in advance what the first query needs: model, compiled kernels, verified vectors."""
        with self.view() as view:
            view.warm()

    def copy(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Copy the newest generation to a folder; others may read and write meanwhile.

        ``overwrite`` allows ``path`` to hold another index, which is replaced.

        Raises:
            InputError: The folder holds something else.
            IndexLockedError: A writer has the lock of the index that would be overwritten.
        """
        self._writer.check_open()
        copy_index(self._layout, self._snapshots, resolve_folder(path), overwrite=overwrite)

    def backup(self, archive: str | os.PathLike[str]) -> Backup:
        """Add the newest generation to an archive; others may read and write meanwhile.

        The archive is one tar file for all backups of an index. A backup adds the catalog and those
        vectors and segments that the archive does not have yet. What it adds is compared with its
        checksums first.

        Args:
            archive: The file, created if it is missing.

        Returns:
            The backup's number in the archive, and its size.

        Raises:
            InputError: The file is no archive of backups, or of another index.
            CorruptIndexError: The index is damaged. The archive stays as it was.
        """
        self._writer.check_open()
        return back_up(self._layout, self._snapshots, as_path("archive", archive).absolute())

    @classmethod
    def from_backup(
        cls,
        archive: str | os.PathLike[str],
        path: str | os.PathLike[str],
        *,
        number: int | None = None,
        overwrite: bool = False,
    ) -> "Index":
        """Restore a backup to a folder, and open it.

        Args:
            archive: The file that ``backup`` wrote.
            path: A new or empty folder.
            number: The backup's number, None for the newest.
            overwrite: Allows ``path`` to hold another index, which is replaced.

        The restored index counts as another one: its own backups need a new archive.

        Raises:
            InputError: There is no such backup, or the folder holds something else.
            IndexLockedError: A writer has the lock of the index that would be overwritten.
            CorruptIndexError: The archive is damaged. The folder stays as it was.
        """
        folder = resolve_folder(path)
        restore_backup(
            as_path("archive", archive).absolute(), folder, number=number, overwrite=overwrite
        )
        return cls.open(folder, create=False)

    def export(self, folder: str | os.PathLike[str]) -> Export:
        """Write all passages and vectors to a new folder, in a format for any version.

        ``corpus.jsonl`` has a passage a line, as in BEIR. Row i of ``vectors.npy`` (n, dim) is the
        vector of line i, NaN for a passage without one. ``export.json`` has the settings, the saved
        profiles and the identity of the encoder. Others may read and write meanwhile.

        Vectors that an unfinished ``reencode`` has made so far are left out.

        Raises:
            InputError: The folder exists and is not empty.
            CorruptIndexError: The index is damaged. Nothing was written.
        """
        self._writer.check_open()
        return export_index(self._snapshots, self._layout, resolve_folder(folder))

    @classmethod
    def from_export(
        cls,
        folder: str | os.PathLike[str],
        path: str | os.PathLike[str],
        *,
        analyzer: AnalyzerLike | None = None,
        trust: Collection[str] = (),
        overwrite: bool = False,
    ) -> "Index":
        """Write the index that an export describes, and open it. Nothing is encoded.

        Args:
            folder: The folder that ``export`` wrote.
            path: A new or empty folder for the index.
            analyzer: The analyzer that the export names, if it is a function of yours.
            trust: Modules that may be imported for it, as in ``open``.
            overwrite: Allows ``path`` to hold another index, which is replaced.

        Raises:
            IndexNotFoundError: There is no export in the folder.
            InputError: ``path`` holds something else.
            CorruptIndexError: The export has changed since it was written.
            PassageError: A line of the export is no valid passage.
            IndexMismatchError: The analyzer is missing, or its module isn't trusted.
            IndexLockedError: A writer has the lock of the index that would be overwritten.
            UnsupportedStorageError: A later version wrote the export.
        """
        sources, target = as_sources(analyzer, trust), resolve_folder(path)
        import_index(resolve_folder(folder), target, sources, overwrite=overwrite)
        return cls.open(target, create=False, trust=sources.modules)

    @staticmethod
    def repair(
        path: str | os.PathLike[str],
        to: str | os.PathLike[str],
        *,
        encoder: Encoder | None = None,
        analyzer: AnalyzerLike | None = None,
        trust: Collection[str] = (),
    ) -> RepairReport:
        """Save what a damaged index still holds into a new folder.

        Passages and vectors whose checksums are right are saved. Postings and ANN structures are
        built anew. Lost vectors are encoded again, if the encoder can be loaded or is passed. The
        damaged folder is only read.

        Args:
            path: The damaged index's folder.
            to: A new or empty folder.
            encoder: The encoder of the stored vectors, if it can't be loaded by its name.
            analyzer: The analyzer that the index names, if it is a function of yours.
            trust: Modules that may be imported for it, as in ``open``.

        Returns:
            What was saved, and the ids of what was not.

        Raises:
            IndexNotFoundError: There is no index in the folder.
            CorruptIndexError: No passage could be saved.
            IndexLockedError: A writer has the index open.
        """
        checked = check_encoder(encoder) if encoder is not None else None
        sources, layout = as_sources(analyzer, trust), Layout(resolve_folder(path))
        return repair_index(layout, resolve_folder(to), checked, sources)

    def verify(self, *, deep: bool = False) -> Verification:
        """Read the whole index, compare it with its checksums, and report all damage.

        Needs no encoder. ``deep`` also compares the stored postings and columns with rebuilt ones.
        """
        self._writer.check_open()
        return verify(self._catalog, self._layout, self._snapshots.analyzers, deep=deep)

    def close(self) -> None:
        """Release the write lock and all files; a temporary index is deleted."""
        unclosed = self._finalizer.detach()
        if unclosed is not None:
            _, _, arguments, _ = unclosed
            close_index(*arguments)

    def __enter__(self) -> "Index":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __copy__(self) -> "Index":
        """Return this object, which copies of a retriever share."""
        return self

    def __deepcopy__(self, memo: object) -> "Index":
        """Return this object, which copies of a retriever share."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the folder's path, which is opened again, read-only in another process.

        A temporary index can't be pickled.
        """
        if self._temporary is not None:
            raise TypeError(
                "an index in a temporary folder can't be pickled: pass Index.open a path, which "
                "another process can open"
            )
        given = self._encoder_binding.given
        encoder = given if given is not None else AS_STORED
        trust = self._snapshots.analyzers.modules
        return _reopen, (str(self.path), encoder, self._writer.read_only, trust, os.getpid())

    def __repr__(self) -> str:
        return f"Index.open({str(self.path)!r})"

    def _settings(self) -> IndexSettings:
        with self.view() as view:
            return view.snapshot.settings


def _read_settings(
    catalog: Catalog, layout: Layout, head: Version | None
) -> tuple[IndexSettings, VectorSetRecord | None]:
    """Return the settings and the vector set; raise CorruptIndexError if commits are lost.

    ``head`` was read before. If another index takes the folder meanwhile, both are read again.
    """
    for _ in range(_TRIES):
        with catalog.read_transaction() as reader:
            version, settings, vector_set = reader.version(), reader.settings(), reader.vector_set()
        if head is None or head[0] == version[0]:
            break
        time.sleep(secrets.randbelow(_PAUSE) / 1e6)  # not in step with who replaces it
        with storage_errors(layout.folder):
            head = read_head(layout.head)
    layout.check_head(version, head)
    return settings, vector_set


def _reopen(
    path: str, encoder: Encoder | AsStored, read_only: bool, trust: Collection[str], process: int
) -> Index:
    """Open a pickled index in the process that unpickles it.

    Another process than the one that pickled it reads only: that one may be the writer.
    """
    read_only = bool(read_only) or process != os.getpid()
    return Index.open(path, encoder=encoder, create=False, read_only=read_only, trust=trust)
