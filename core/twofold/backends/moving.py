"""Moves an index to a server, and back: passages and vectors as they are stored.

Nothing is encoded. A push that was stopped can be repeated: equal passages are left alone. At its
end, the copy is read back and compared by counts, checksums and a sample of rankings.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import xxhash

from twofold.backend import SearchScope
from twofold.backends.remote_index import RemoteIndex
from twofold.dense import PassageVectors
from twofold.errors import BackendError, IndexMismatchError, InputError
from twofold.index import Index
from twofold.index.analyzer_binding import AnalyzerSources
from twofold.index.folder_swap import new_index_folder
from twofold.index.layout import Layout, resolve_folder
from twofold.index.saved_records import adapter_records, read_adapter_file
from twofold.index.view import IndexView
from twofold.index.writing.new_index import Batch, IndexContent, write_index
from twofold.types import LegHits, Passage

_BATCH = 2048
_PROBES = 20
"""Passages whose openings are the queries that both sides must answer alike."""
_DEPTH, _OPENING = 10, 200
_TOLERANCE = 1e-6
_SHARED = 0.8
"""The share of the sample's passages that both sides must find by their own text and vector."""
_MODULUS = 1 << 64


@dataclass(frozen=True, slots=True)
class Moved:
    """The outcome of `push` or `pull`.

    Attributes:
        passages: How many passages both sides have.
        vectors: How many vectors, those of windows included.
        written: How many passages were new or had changed.
        removed: How many others were deleted.
        rankings: How many sample rankings were compared: the passages that a text or a vector is of
            must be found by it, and scores be equal where a server computes the index's, exactly.
    """

    passages: int
    vectors: int
    written: int
    removed: int
    rankings: int


@dataclass(slots=True)
class Tally:
    """Counts and a checksum of passages with their vectors, in any order."""

    passages: int = 0
    vectors: int = 0
    digest: int = 0

    def add(
        self, batch: Sequence[tuple[Passage, str]], vectors: Sequence[PassageVectors | None]
    ) -> None:
        """Add passages, each with its metadata as JSON and its vectors."""
        for (passage, metadata), stored in zip(batch, vectors, strict=True):
            hashed = xxhash.xxh3_64()
            for text in (passage.id, passage.title, passage.text, metadata):
                data = text.encode()
                hashed.update(len(data).to_bytes(8, "little") + data)
            if stored is not None:
                hashed.update(np.ascontiguousarray(stored.vectors, "<f4").tobytes())
                hashed.update(stored.filled_spans.astype("<i8").tobytes())
                self.vectors += len(stored)
            self.passages += 1
            self.digest = (self.digest + hashed.intdigest()) % _MODULUS


def push(
    index: Index,
    backend: RemoteIndex,
    *,
    replace: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Moved:
    """Copy an index to a server, where equal passages are left alone, and compare both.

    Profiles, query adapters and the measured agreement of both legs are copied as well. The copy
    is one state of the index, also while a writer goes on.

    Args:
        index: The index.
        backend: The target, made with ``template=index``.
        replace: Delete the passages of the target that the index doesn't have.
        progress: Called with the number of passages copied, and the number of all.

    Raises:
        InputError: The target has passages that the index doesn't have.
        IndexMismatchError: The target was made for another model, or with other settings.
        BackendError: The server failed, or the copy differs. Call again to go on.
    """
    with index.view() as view:
        content, total = _read_content(index, view), view.snapshot.state.passages
        check_same_content(content, backend.read_content())
        if not replace:
            _check_others(view, backend)
        first = None
        if content.vector_set is not None:
            first = content.settings, content.vector_set
        source, written = Tally(), 0
        for batch, vectors in _read_batches(view):
            stored = backend.write_batch(batch, vectors, first)
            written += stored.added + stored.updated
            source.add(batch, vectors)
            if progress is not None:
                progress(source.passages, total)
        others = _find_others(view, backend) if len(backend) > total else []
        removed = backend.delete(others) if others else 0
        backend.write_settings(content.settings, content.adapters)
        _compare(source, backend)
        with backend.open_search() as scope:
            rankings = _compare_rankings(view.scope, scope, view, backend)
    return Moved(source.passages, source.vectors, written, removed, rankings)


def pull(
    backend: RemoteIndex,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Moved:
    """Copy the passages, vectors and settings of a server to a new index, and compare both.

    The folder appears as a whole or not at all. The postings are built anew.

    Args:
        backend: The server.
        path: A new or empty folder.
        overwrite: Replace an index that is there.
        progress: Called with the number of passages copied, and the number of all.

    Raises:
        InputError: The folder holds other files, or an index without ``overwrite``.
        BackendError: The server failed, or its passages changed meanwhile.
    """
    source, content, total = Tally(), backend.read_content(), len(backend)

    def read() -> Iterator[Batch]:
        for batch, vectors in backend.read_batches(_BATCH):
            source.add(batch, vectors)
            groups = {at: each for at, each in enumerate(vectors) if each is not None}
            yield Batch(batch, PassageVectors.assign(groups, content.settings.dim or 0))
            if progress is not None:
                progress(source.passages, total)

    with new_index_folder(resolve_folder(path), overwrite=overwrite) as layout:
        write_index(layout, content, read(), AnalyzerSources([*backend.given_analyzers]))
    with Index.open(path, create=False, read_only=True) as index, index.view() as view:
        copied = Tally()
        for batch, vectors in _read_batches(view):
            copied.add(batch, vectors)
        if copied != source:
            raise BackendError(f"the copy in {index.path} differs from what the server sent")
        with backend.open_search() as scope:
            rankings = 0
            if scope.session.corpus.passages == source.passages:
                rankings = _compare_rankings(view.scope, scope, view, backend)
    return Moved(source.passages, source.vectors, source.passages, 0, rankings)


def _read_content(index: Index, view: IndexView) -> IndexContent:
    """Return the settings, the vectors' encoder and the query adapters of an index."""
    settings, layout = view.snapshot.settings, Layout(index.path)
    adapters = {
        name: read_adapter_file(layout, name, record["hash"])
        for name, record in adapter_records(settings).items()
    }
    return IndexContent(settings, view.snapshot.vector_set, adapters)


def check_same_content(source: IndexContent, target: IndexContent) -> None:
    """Raise IndexMismatchError if a target was made with other settings or for another model."""
    for name in ("dense", "analyzer", "analyzer_fingerprint", "title_weight", "windows"):
        _check_equal(name, getattr(source.settings, name), getattr(target.settings, name))
    if target.vector_set is None or source.vector_set is None:
        return
    for name in ("dim", "metric"):
        _check_equal(name, getattr(source.settings, name), getattr(target.settings, name))
    _check_equal("model", source.vector_set.identity, target.vector_set.identity)


def _check_equal(name: str, ours: object, theirs: object) -> None:
    if ours != theirs:
        raise IndexMismatchError(
            f"the target was made with another {name} ({theirs!r:.120}) than the index "
            f"({ours!r:.120}): push to a new schema"
        )


def _read_batches(
    view: IndexView,
) -> Iterator[tuple[list[tuple[Passage, str]], list[PassageVectors | None]]]:
    """Yield the passages of an index with their metadata as JSON, and their vectors."""
    stored, dense = view.passages(), view.snapshot.dense
    while batch := list(islice(stored, _BATCH)):
        by_row: dict[int, PassageVectors] = {}
        if dense is not None:
            rows = np.array([passage.row for passage in batch], np.int64)
            by_row = dict(dense.all_vectors(rows).by_passage())
        yield (
            [(passage.to_passage(), passage.metadata) for passage in batch],
            [by_row.get(passage.row) for passage in batch],
        )


def _find_others(view: IndexView, backend: RemoteIndex) -> list[str]:
    """Return the ids that a server has and an index doesn't."""
    others: list[str] = []
    ids = (passage.id for passage in backend)
    while some := list(islice(ids, _BATCH)):
        known = set(view.fetch(ids=some, texts=False).ids)
        others += [name for name in some if name not in known]
    return others


def _check_others(view: IndexView, backend: RemoteIndex) -> None:
    """Raise InputError if a server has passages that an index doesn't have."""
    others = _find_others(view, backend)
    if others:
        raise InputError(
            f"{backend!r} has {len(others):,} passages that the index doesn't have, such as "
            f"{others[0]!r:.60}: pass replace=True to delete them, or push to a new schema"
        )


def _compare(source: Tally, backend: RemoteIndex) -> None:
    """Raise BackendError unless a server has the passages and vectors that were sent."""
    copied = Tally()
    for batch, vectors in backend.read_batches(_BATCH):
        copied.add(batch, vectors)
    if copied != source:
        raise BackendError(
            f"{backend!r} has {copied.passages:,} passages and {copied.vectors:,} vectors after "
            f"the copy of {source.passages:,} and {source.vectors:,}, or their content differs: "
            "another client writes to it; stop it and push again"
        )


def _compare_rankings(
    ours: SearchScope, theirs: SearchScope, view: IndexView, backend: RemoteIndex
) -> int:
    """Return how many sample rankings were compared; raise BackendError if they differ."""
    keys = view.list_keys()
    probes = keys[:: max(len(keys) // _PROBES, 1)][:_PROBES]
    fetched = view.fetch(probes, vectors=True)
    has_vector = fetched.has_vector if fetched.has_vector is not None else np.zeros(len(probes))
    texts = [passage.content[:_OPENING] for passage in fetched.passages]
    compared = 0
    if ours.has_lexical:
        with_text = [at for at, text in enumerate(texts) if text.strip()]
        asked = [texts[at] for at in with_text]
        first = ours.session.search_lexical(asked, _DEPTH, None, None)
        second = theirs.session.search_lexical(asked, _DEPTH, None, None)
        names = [fetched.ids[at] for at in with_text]
        _compare_leg("lexical", names, _ids_of(ours, first), _ids_of(theirs, second))
        if backend.same_lexical_scores:
            _compare_scores("lexical", first, second)
        compared += len(with_text)
    if fetched.vectors is not None and has_vector.any():
        exact = theirs.capabilities.exact
        embedded = np.flatnonzero(has_vector)
        vectors = fetched.vectors[embedded]
        first = ours.session.search_dense(vectors, _DEPTH, None, np.inf)
        second = theirs.session.search_dense(vectors, _DEPTH, None, np.inf if exact else 1.0)
        names = [fetched.ids[at] for at in embedded.tolist()]
        _compare_leg("dense", names, _ids_of(ours, first), _ids_of(theirs, second))
        if exact:
            _compare_scores("dense", first, second)
        compared += len(vectors)
    return compared


def _ids_of(scope: SearchScope, found: Sequence[LegHits]) -> list[set[str]]:
    return [set(scope.ids(hits.keys)) for hits in found]


def _compare_scores(leg: str, first: Sequence[LegHits], second: Sequence[LegHits]) -> None:
    """Raise BackendError unless all rankings have equal scores."""
    for before, after in zip(first, second, strict=True):
        if len(before.keys) != len(after.keys) or not np.allclose(
            before.scores, after.scores, rtol=_TOLERANCE, atol=_TOLERANCE
        ):
            raise BackendError(
                f"the {leg} leg gives other scores there than here: push again, and report this "
                "if it stays"
            )


def _compare_leg(
    leg: str, names: Sequence[str], first: Sequence[set[str]], second: Sequence[set[str]]
) -> None:
    """Raise BackendError unless passages that are found here by themselves are found there, too."""
    pairs = zip(names, first, second, strict=True)
    here = [name in after for name, before, after in pairs if name in before]
    if sum(here) < _SHARED * len(here):
        raise BackendError(
            f"the {leg} leg finds only {sum(here)} of {len(here)} passages there that it finds "
            "here by their own text: push again, and report this if it stays"
        )
