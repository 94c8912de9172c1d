"""The index: one durable folder with passages, vectors and postings."""

import json
import os
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Literal, NoReturn

import numpy as np

from twofold.backend import Capabilities, SearchScope
from twofold.dense import Auto, Flat, IndexType, as_dict, check_index_type, index_type_from_name
from twofold.errors import DegradedWarning, IndexClosedError
from twofold.index.analyzer_binding import analyzed_by, check_title_weight
from twofold.index.copying import copy_index
from twofold.index.encoder_binding import EncoderBinding
from twofold.index.layout import Layout
from twofold.index.open_options import (
    AS_STORED,
    AsStored,
    OpenOptions,
    create_index,
    resolve_folder,
)
from twofold.index.recall import Recall, measure_recall
from twofold.index.saved.profiles import SearchProfiles
from twofold.index.saved.query_adapters import QueryAdapters
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
from twofold.index.writing.maintenance import Maintenance
from twofold.index.writing.passage_input import (
    BATCH,
    ENCODED_BATCH,
    PassageValidator,
    refuse_single,
)
from twofold.index.writing.reencoding import Reencoding
from twofold.index.writing.upsert import UpsertPlanner, UpsertResult
from twofold.index.writing.writer import IndexWriter, check_generation
from twofold.lexical import AnalyzerLike, as_analyzer
from twofold.protocols import Encoder
from twofold.similarity import Metric
from twofold.storage import Catalog, Settings, WriteLock, read_head
from twofold.types import Mode, Passage, PassageLike, Vectors, Where


def close_index(catalog: Catalog, lock: WriteLock, temporary: Path | None, process: int) -> None:
    """Close an index; the process that made a temporary one removes it."""
    catalog.close()
    lock.release()
    if temporary is not None and os.getpid() == process:
        shutil.rmtree(temporary, ignore_errors=True)


class Index:
    """A durable hybrid index: a dense leg, a lexical leg and the passages, always in step.

    Safe for many threads and processes that read, beside one that writes. Use ``Index.open``.
    """

    def __init__(self, layout: Layout, choices: OpenOptions, temporary: Path | None) -> None:
        self._layout = layout
        self._catalog = Catalog(layout.catalog, read_only=choices.read_only)
        try:
            with self._catalog.reading() as reader:
                check_generation(layout, reader.generation(), choices.head)
                settings = reader.settings()
                vector_set = reader.vector_set()
            choices.check(settings)
            self._opened = settings
            own = choices.own_analyzer
            self._encoder_binding = EncoderBinding(choices.encoder(settings))
            self._generations = SnapshotProvider(
                self._catalog, layout, [own] if own is not None else [], self._encoder_binding
            )
            self._writer = IndexWriter(
                self._catalog, layout, self._generations, read_only=choices.read_only
            )
            self._tending = Maintenance(self._writer, self._generations)
            if vector_set is not None and choices.is_another(settings):
                self._encoder_binding.check(settings, vector_set)
        except BaseException:
            self._catalog.close()
            raise
        self._finalizer = weakref.finalize(
            self, close_index, self._catalog, self._writer.lock, temporary, os.getpid()
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
        create: bool = True,
        read_only: bool = False,
    ) -> "Index":
        """Open the index in the folder ``path``, or create it there.

        What is left out is as stored, and for a new index all-MiniLM-L6-v2, that model's own
        metric, and the ``"english"`` analyzer. ``encoder=None`` without ``dim`` makes an index
        without a dense leg, ``dim`` alone one of caller's vectors (``"first"``: as many dimensions
        as the first have), ``analyzer=None`` one without a lexical leg. An analyzer is a
        language's name or code (``twofold.lexical.LANGUAGES``), any function from a text to its
        terms, stored by its import path (opening imports it: open such an index only from people
        you trust), or an ``Analyzer``. The terms of titles count ``title_weight`` times.
        ``path=None`` is a temporary folder, removed when the index is closed.

        Raises IndexNotFoundError where there is nothing to open, IndexMismatchError where an
        argument contradicts what is stored, CorruptIndexError where stored bytes have changed,
        UnsupportedStorageError on a network file system or for another format.
        """
        temporary = Path(tempfile.mkdtemp(prefix="twofold-")) if path is None else None
        layout = Layout(temporary if temporary is not None else resolve_folder(path))
        try:
            choices = OpenOptions.of(
                encoder, dim, metric, analyzer, title_weight, read_only, read_head(layout.head)
            )
            create_index(layout, choices, create=create and not read_only)
            return cls(layout, choices, temporary)
        except BaseException:
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)
            raise

    @property
    def path(self) -> Path:
        """The index's folder."""
        return self._layout.folder

    @property
    def dim(self) -> int | None:
        """The vectors' dimensions, None before the first one."""
        return self._settings().dim

    @property
    def metric(self) -> Metric | None:
        """The vectors' metric, None before the first one."""
        return self._settings().metric

    @property
    def encoder(self) -> Encoder | None:
        """The encoder, loaded when first used; None where the index takes caller's vectors."""
        with self.view() as view:
            settings, vector_set = view.snapshot.settings, view.snapshot.vector_set
        if not self._encoder_binding.has_encoder(settings):
            return None
        return self._encoder_binding.encoder(settings, vector_set)

    @property
    def analyzer(self) -> str | None:
        """The name of the analyzer that the index was built with, None without a lexical leg."""
        return self._settings().analyzer

    @property
    def title_weight(self) -> int:
        """How often the terms of a title count."""
        return self._settings().title_weight

    @property
    def agreement(self) -> float | None:
        """How near the dense leg puts what shares words, 1.0 at best; None if not measured."""
        return self._settings().agreement

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The modes that a retriever over this index can use."""
        return served_modes(self._settings())

    @property
    def capabilities(self) -> Capabilities:
        """What a retriever can ask for, as of the last generation that was read."""
        self._check_open()
        latest = self._generations.latest
        return CAPABILITIES[served_modes(latest.settings if latest is not None else self._opened)]

    @property
    def profiles(self) -> SearchProfiles:
        """Saved settings of searches by name, and which one is in use."""
        return SearchProfiles(self._writer, self._generations, self._check_open)

    @property
    def query_adapters(self) -> QueryAdapters:
        """Saved query adapters by name; the setting in use says which one searches go through."""
        return QueryAdapters(self._layout, self._writer, self._generations, self._check_open)

    def adapted(self, vectors: Vectors) -> Vectors:
        """Return the encoder's query vectors (n, dim) as texts are searched by, ready to give."""
        with self.view() as view:
            return view.adapted(vectors)

    def upsert(
        self,
        passages: Iterable[PassageLike],
        *,
        vectors: Vectors | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> UpsertResult:
        """Add passages, and replace those whose ids are stored already.

        ``vectors`` (n, dim) are used instead of encoding. Batches of some hundred passages are
        committed one by one: each is all or nothing, and a call that was stopped can simply be
        run again, since unchanged passages cost little and unchanged text is never encoded
        twice. ``progress`` is called with the number of passages committed so far.

        From 50 passages on, and whenever as many as half of them came, went or changed since, the
        agreement of the legs is measured after the last batch: about 100 sentences are encoded as
        queries, or none where ``vectors`` are given. If that fails, all passages are committed
        already.

        Raises PassageError, VectorError, IndexLockedError, ReadOnlyError, EncoderMismatchError.
        A list is checked as a whole before anything is written, a generator batch by batch.
        """
        self._check_open()
        refuse_single(passages)
        self._writer.begin()
        if vectors is not None and not isinstance(passages, Sequence):
            passages = list(passages)
        settings = self._settings()
        planner = UpsertPlanner(settings, self._encoder_binding, vectors)
        planner.check_vectors(len(passages) if isinstance(passages, Sequence) else None)
        encoded = vectors is None and self._encoder_binding.has_encoder(settings)
        ids: list[str] = []
        totals = np.zeros(5, np.int64)
        size = ENCODED_BATCH if encoded else BATCH
        for batch in PassageValidator().batches(passages, size):
            self._check_open()
            with self._writer.turn:
                with self._generations.view() as view:
                    plan = planner.plan(batch, view)
                if plan.change is not None:
                    self._writer.commit(plan.change)
            ids += [passage.id for passage, _ in batch]
            totals += plan.counts
            if progress is not None:
                progress(len(ids))
        compact = len(ids) > size and 2 * int(totals[0]) >= len(self)
        self._tending.structures(compact=compact)
        self._tending.agreement(encode=vectors is None)
        result = UpsertResult(tuple(ids), *totals.tolist())
        if result.empty:
            warnings.warn(
                f"{result.empty:,} passages have no words: they are stored, and no leg finds them",
                DegradedWarning,
                stacklevel=2,
            )
        return result

    def delete(self, ids: Iterable[str] | None = None, *, where: Where | None = None) -> int:
        """Delete the passages of these ids, or those that a filter matches; return how many.

        With both, only passages that are in both go. Unknown ids are ignored. Raises InputError if
        neither is given, FilterError, IndexLockedError, ReadOnlyError.
        """
        self._check_open()
        wanted = check_deletion("delete", ids, where)
        self._writer.begin()
        with self._writer.turn:
            with self._generations.view() as view:
                snapshot, gone = view.snapshot, find_passages(view, wanted, where)
            if gone:
                change = Change.of_nothing(snapshot.settings, snapshot.vector_set)
                self._writer.commit(replace(change, gone=gone))
                self._tending.structures(compact=False)
        return len(gone)

    def reanalyze(self, analyzer: AnalyzerLike, *, title_weight: int | None = None) -> None:
        """Build the postings anew with another analyzer, or after this one has changed.

        Nothing is encoded, and all else stays; readers see the old postings until the new ones
        are committed. ``title_weight`` stays as it is if left out. An index without a lexical leg
        gets one. Raises InputError, IndexLockedError, ReadOnlyError.
        """
        self._check_open()
        own = as_analyzer(analyzer)
        if title_weight is not None:
            check_title_weight(title_weight)
        self._writer.begin()
        with self._writer.turn:
            with self._generations.view() as view:
                snapshot = view.snapshot
            weight = title_weight if title_weight is not None else snapshot.settings.title_weight
            settings = analyzed_by(snapshot.settings, own, weight)
            change = replace(
                Change.of_nothing(settings, snapshot.vector_set),
                reanalyzed=LexicalSegmentType(own, weight),
            )
            self._generations.analyzers.append(own)  # each generation takes the one that built it
            self._writer.commit(change)
        self._tending.agreement(encode=False)

    def reencode(
        self,
        encoder: Encoder | str,
        *,
        metric: Metric | str | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """Change to another encoder; return how many texts were encoded.

        Queries go on with the old vectors until all passages have new ones. Batches are committed
        one by one: a call that was stopped goes on where it was when it is made again with the
        same encoder. ``metric`` is the model's own if left out. An index without a dense leg gets
        one. Nothing is done where the vectors are this encoder's already. ``progress`` is called
        with the number of passages done.

        Raises InputError, EncoderNotFoundError, VectorError, IndexLockedError, ReadOnlyError.
        """
        self._check_open()
        self._writer.begin()
        reencoding = Reencoding(self._layout, self._writer, self._generations, self._encoder_binding)
        encoded = reencoding.run(encoder, metric, progress)
        self._tending.agreement()
        return encoded

    def reindex(self, kind: IndexType | Auto | str) -> IndexType:
        """Change what finds near vectors; return the kind in use, which ``Auto`` has chosen.

        A kind is a spec of ``twofold.dense``, such as ``HNSW(search_effort=200)``, or its name.
        Structures are built at once, and after larger writes. Nothing is encoded. Raises
        InputError, IndexLockedError, ReadOnlyError.
        """
        self._check_open()
        chosen = index_type_from_name(kind) if isinstance(kind, str) else check_index_type(kind)
        self._writer.begin()
        with self._writer.turn:
            with self._generations.view() as view:
                snapshot = view.snapshot
            settings = replace(snapshot.settings, kind=json.dumps(as_dict(chosen)))
            change = Change.of_nothing(settings, snapshot.vector_set)
            self._writer.commit(replace(change, structures="anew"))
        return self.kind

    @property
    def kind(self) -> IndexType:
        """What finds near vectors now; up to 10,000 that came last are scanned, whatever it is."""
        with self.view() as view:
            dense = view.snapshot.dense
        if dense is None or not dense.structures:
            return Flat()
        structures = dense.index().structures
        return structures[0].kind if structures else Flat()

    def get(self, ids: Iterable[str] | None = None, *, where: Where | None = None) -> list[Passage]:
        """Return the passages of these ids in their order, or all that a filter matches.

        With both, those in both. Raises InputError if neither is given, FilterError.
        """
        self._check_open()
        wanted = check_deletion("get", ids, where)
        with self._generations.view() as view:
            found = find_passages(view, wanted, where)
        if wanted is None:
            return [each.to_passage() for each in found]
        by_id = {each.id: each for each in found}
        return [by_id[each].to_passage() for each in wanted if each in by_id]

    def count(self, where: Where | None = None) -> int:
        """Return how many passages there are, or how many a filter matches."""
        self._check_open()
        with self._generations.view() as view:
            allowed = view.allowed(where)
            return view.snapshot.state.passages if allowed is None else int(allowed.sum())

    def __len__(self) -> int:
        return self.count()

    def __iter__(self) -> Iterator[Passage]:
        """Yield all passages of one generation, in the order in which they were stored."""
        self._check_open()
        with self._generations.view() as view:
            for each in view.reader.between(0, view.snapshot.state.next_row):
                yield each.to_passage()

    def __contains__(self, passage_id: object) -> bool:
        return isinstance(passage_id, str) and bool(self.get([passage_id]))

    def view(self) -> AbstractContextManager[IndexView]:
        """Open the newest generation for a query."""
        self._check_open()
        return self._generations.view()

    def session(self) -> AbstractContextManager[IndexView]:
        """Open a session of the newest generation, as `Backend` asks."""
        return self.view()

    @contextmanager
    def open_search(self) -> Iterator[SearchScope]:
        """Open the newest generation with its encoder, profile and query adapter."""
        self._check_open()
        with self._generations.view() as view:
            yield view.scope

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return query vectors (n, dim) by the encoder that filled the index.

        Raises QueryError if it has none, EncoderMismatchError if it is another one.
        """
        with self.view() as view:
            return view.encode_queries(texts)

    def recall(
        self,
        sample: int = 200,
        *,
        k: int = 10,
        queries: Sequence[str] | Vectors | None = None,
        effort: float = 1.0,
    ) -> Recall:
        """Measure what the dense leg finds of the exact answer, now and for these queries.

        ``queries`` are texts, or vectors (n, dim), best real ones; left out, a seeded ``sample`` of
        the stored vectors asks for its neighbours. Raises QueryError.
        """
        with self.view() as view:
            return measure_recall(view, queries, sample, k, effort)

    def warm(self) -> None:
        """Load what a first query would: model, kernels, and the checksums of the vectors."""
        with self.view() as view:
            view.warm()

    def copy(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Copy the newest generation to a new or empty folder, beside readers and a writer.

        ``overwrite`` lets it take another index's place. The copy is on disk when the call returns.
        Raises InputError, IndexLockedError, UnsupportedStorageError on a network file system.
        """
        self._check_open()
        copy_index(self._layout, self._generations, resolve_folder(path), overwrite=overwrite)

    def verify(self, *, deep: bool = False) -> Verification:
        """Read every byte of the index and report what is not as it was written.

        ``deep`` also builds postings and columns anew and compares them. Needs no encoder.
        """
        self._check_open()
        return verify(self._catalog, self._layout, self._generations.analyzers, deep=deep)

    def close(self) -> None:
        """Let go of the write lock and of all files; a temporary index is removed."""
        self._finalizer()

    def __enter__(self) -> "Index":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"an index can't be pickled or deep-copied: open {str(self.path)!r} where it is needed"
        )

    def __repr__(self) -> str:
        return f"Index.open({str(self.path)!r})"

    def _settings(self) -> Settings:
        """Return the settings of the newest generation."""
        self._check_open()
        with self._generations.view() as view:
            return view.snapshot.settings

    def _check_open(self) -> None:
        if not self._finalizer.alive:
            raise IndexClosedError(f"the index {self.path} was closed: open it again")
