"""What an upsert changes: which passages are new or other, and where their vectors come from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from twofold.dense import check_vectors
from twofold.errors import IndexMismatchError, VectorError
from twofold.index.encoder_binding import (
    CANARIES,
    EncoderBinding,
    choose_metric,
    encoder_identity,
    new_set,
)
from twofold.index.view import IndexView
from twofold.index.writing.commit import Change
from twofold.similarity import Metric
from twofold.storage import Settings, StoredPassage, VectorSetRecord
from twofold.types import Passage, Rows, Vectors


@dataclass(frozen=True, slots=True)
class UpsertResult:
    """What an upsert did. ``ids`` are in the order given, new ones included.

    ``truncated`` texts are longer than the encoder reads; ``empty`` passages have no words and
    are found by no leg.
    """

    ids: tuple[str, ...]
    added: int
    updated: int
    unchanged: int
    truncated: int
    empty: int


@dataclass(frozen=True, slots=True)
class UpsertPlan:
    """A batch's change, None if nothing changes, and its counts.

    ``counts``: added, updated, unchanged, truncated, empty.
    """

    change: Change | None
    counts: tuple[int, int, int, int, int]


class UpsertPlanner:
    """Plans the batches of one upsert call; ``vectors`` are the caller's, in the call's order."""

    def __init__(
        self, settings: Settings, contract: EncoderBinding, vectors: Vectors | None
    ) -> None:
        self._settings = settings
        self._encoder_binding = contract
        self._vectors = vectors
        self._taken = 0

    def check_vectors(self, passages: int | None) -> None:
        """Check the caller's vectors as a whole; raise VectorError."""
        if self._vectors is None:
            return
        if not self._settings.dense:
            raise VectorError(
                "this index has no dense leg and takes no vectors: it was made with encoder=None "
                "and no dim"
            )
        vectors = np.asarray(self._vectors)
        dim = self._settings.dim
        wanted = dim if dim is not None else (vectors.shape[1] if vectors.ndim == 2 else -1)
        count = passages if passages is not None else len(vectors)
        self._vectors = check_vectors(vectors, wanted, count)
        if self._metric() is Metric.COSINE:
            lengths = np.einsum("ij,ij->i", self._vectors, self._vectors, dtype=np.float64)
            if not lengths.all():
                place = int(np.flatnonzero(lengths == 0)[0])
                raise VectorError(f"vector {place} has zero length, which has no cosine")

    def _metric(self) -> Metric:
        """Return the metric that the index has or will get."""
        if self._settings.metric is not None:
            return self._settings.metric
        if not self._encoder_binding.has_encoder(self._settings):
            return Metric.COSINE
        identity = encoder_identity(self._encoder_binding.encoder(self._settings, None))
        return identity.metric if identity is not None else Metric.COSINE

    def plan(self, batch: Sequence[tuple[Passage, str]], view: IndexView) -> UpsertPlan:
        """Return what this batch changes in the generation of ``view``."""
        given = self._next_vectors(len(batch))
        stored = view.reader.by_id([passage.id for passage, _ in batch])
        settings, vector_set = view.snapshot.settings, view.snapshot.vector_set
        if settings.dense and vector_set is None:
            filling = view.snapshot.pending
            number = filling.record.number + 1 if filling is not None else 1
            settings, vector_set = self._started(settings, number)
        if given is not None and settings.dim not in (None, given.shape[1]):
            raise VectorError(
                f"vectors have {given.shape[1]} dimensions, and those of the index {settings.dim}"
            )
        changed = [
            place
            for place, (passage, metadata) in enumerate(batch)
            if _differs(stored.get(passage.id), passage, metadata)
            or (given is not None and self._moves(stored[passage.id], given[place], view))
        ]
        first = view.snapshot.state.next_row
        added = tuple(
            StoredPassage.of(first + at, *batch[place]) for at, place in enumerate(changed)
        )
        gone = tuple(stored[each.id] for each in added if each.id in stored)
        silent = {passage.id for passage, _ in batch if not passage.content and given is None}
        counts = (len(added) - len(gone), len(gone), len(batch) - len(added))
        if not added:
            return UpsertPlan(None, (*counts, 0, 0))
        truncated = 0
        rows, vectors = np.empty(0, np.int64), np.empty((0, settings.dim or 0), np.float32)
        if settings.dense and vector_set is not None:
            assert settings.metric is not None  # set by _started
            if given is not None:
                rows = np.array([each.row for each in added], np.int64)
                vectors = settings.metric.stored(given[changed])
            else:
                rows, vectors, truncated = self._found(added, stored, view, settings, vector_set)
            if settings.dim is None:
                settings = replace(settings, dim=vectors.shape[1]) if len(rows) else settings
            if not len(rows) and view.snapshot.vector_set is None:
                settings, vector_set = view.snapshot.settings, None
        found = set(rows.tolist())
        empty = sum(each.id in silent and each.row not in found for each in added)
        change = Change(added, gone, rows, vectors, settings, vector_set)
        return UpsertPlan(change, (*counts, truncated, empty))

    def _next_vectors(self, count: int) -> Vectors | None:
        if self._vectors is None:
            return None
        given = self._vectors[self._taken : self._taken + count]
        self._taken += count
        return given

    def _started(self, settings: Settings, number: int) -> tuple[Settings, VectorSetRecord]:
        """Return settings and vector set for the first vectors of an index."""
        if not self._encoder_binding.has_encoder(settings):
            default = settings.metric if settings.metric is not None else Metric.COSINE
            return replace(settings, metric=default), VectorSetRecord(number, "null", b"", 1)
        encoder = self._encoder_binding.encoder(settings, None)
        identity = encoder_identity(encoder)
        if identity is not None and settings.dim not in (None, identity.dim):
            raise IndexMismatchError(
                f"the index was made with dim={settings.dim}, and its encoder "
                f"{identity.name!r} gives {identity.dim} dimensions"
            )
        metric = choose_metric(identity, settings.metric)
        record = new_set(number, encoder, metric)
        self._encoder_binding.use(number, encoder)
        dim = len(record.canaries) // (4 * len(CANARIES))
        return replace(settings, metric=metric, dim=dim), record

    def _moves(self, stored: StoredPassage, vector: Vectors, view: IndexView) -> bool:
        """Whether a given vector is another than the one that is stored for a passage."""
        dense, metric = view.snapshot.dense, view.snapshot.settings.metric
        if dense is None or metric is None:
            return True
        before, found = dense.vectors(np.array([stored.row]))
        return not found[0] or not np.array_equal(before, metric.stored(vector[None, :]))

    def _found(
        self,
        added: Sequence[StoredPassage],
        stored: Mapping[str, StoredPassage],
        view: IndexView,
        settings: Settings,
        vector_set: VectorSetRecord,
    ) -> tuple[Rows, Vectors, int]:
        """Return vectors without encoding what is known; passages without any have no row.

        A passage whose text stays keeps its vector; else the same text's serves, else the text
        is encoded once.
        """
        kept = self._kept(added, stored, view)
        others = [each for each in added if each.row not in kept and each.encoded_text]
        known = self._known(others, view)
        texts = {each.content: each.encoded_text for each in others if each.content not in known}
        truncated = 0
        if texts:
            if not self._encoder_binding.has_encoder(settings):
                raise VectorError(
                    f"this index has no encoder, and {len(texts)} texts have no stored vector: "
                    "give vectors="
                )
            new = list(texts.values())
            encoded = self._encoder_binding.encode_passages(new, settings, vector_set)
            # Stored vectors stay as they are: normalising twice would change their last bits.
            encoded = settings.metric.stored(encoded) if settings.metric is not None else encoded
            encoder = self._encoder_binding.encoder(settings, vector_set)
            count = getattr(encoder, "count_truncated", None)
            truncated = int(count(new)) if count is not None else 0
            known |= dict(zip(texts, encoded, strict=True))
        vectors = kept | {each.row: known[each.content] for each in others}
        rows = np.array(sorted(vectors), np.int64)
        if not len(rows):
            return rows, np.empty((0, settings.dim or 0), np.float32), truncated
        return rows, np.stack([vectors[row] for row in rows.tolist()]), truncated

    def _kept(
        self,
        added: Sequence[StoredPassage],
        stored: Mapping[str, StoredPassage],
        view: IndexView,
    ) -> dict[int, Vectors]:
        """Return, by new row, the vectors of passages whose text is as it was."""
        if view.snapshot.dense is None:
            return {}
        same = [
            each
            for each in added
            if each.id in stored
            and (each.title, each.text) == (stored[each.id].title, stored[each.id].text)
        ]
        before = np.array([stored[each.id].row for each in same], np.int64)
        vectors, found = view.snapshot.dense.vectors(before)
        return {each.row: vectors[place] for place, each in enumerate(same) if found[place]}

    def _known(self, others: Sequence[StoredPassage], view: IndexView) -> dict[bytes, Vectors]:
        """Return the stored vectors of texts that are in the index already, by content.

        Caller's vectors are the caller's to give: they stand for one passage, not for its text.
        """
        if view.snapshot.dense is None or not self._encoder_binding.has_encoder(view.snapshot.settings):
            return {}
        rows = view.reader.rows_with_content([each.content for each in others])
        vectors, found = view.snapshot.dense.vectors(np.array(list(rows.values()), np.int64))
        return {content: vectors[place] for place, content in enumerate(rows) if found[place]}


def _differs(stored: StoredPassage | None, passage: Passage, metadata: str) -> bool:
    """Whether a passage is new or other than the one stored under its id."""
    if stored is None:
        return True
    return (stored.title, stored.text, stored.metadata) != (passage.title, passage.text, metadata)
