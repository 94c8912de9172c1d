"""Plans an upsert: finds new and changed passages, and gets their vectors."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from twofold.dense import PassageVectors
from twofold.errors import DegradedWarning, IndexMismatchError, InputError, VectorError
from twofold.index.encoder_binding import (
    EncoderBinding,
    canary_dim,
    choose_metric,
    encoder_identity,
    new_vector_set,
)
from twofold.index.passage_encoding import encode_texts
from twofold.index.view import IndexView
from twofold.index.writing.commit import Change
from twofold.similarity import Metric
from twofold.storage import IndexSettings, StoredPassage, VectorSetRecord
from twofold.types import Passage, PassageLike, Vectors
from twofold.validation import as_array, as_passage, check_vectors

MAX_ROWS = 1 << 32
"""Rows of an index, which are stored as 32-bit numbers and never used again."""


@dataclass(frozen=True, slots=True)
class UpsertResult:
    """The outcome of an upsert.

    Attributes:
        ids: The passages' ids in the order passed, generated ones included.
        added: How many passages are new.
        updated: How many replaced a stored passage.
        unchanged: How many were stored already, or passed before, with the same content.
        truncated: How many texts are longer than the encoder reads, and have no windows.
        windowed: How many texts are longer than the encoder reads, and were encoded in windows.
        empty: How many passages have no words, so that no leg finds them.
        zero_vectors: Under cosine, how many passages have a vector of length zero, which has no
            cosine, so that only words find them.

    Example:
        >>> from twofold import Index
        >>> result = Index.open(None, encoder=None).upsert(["plants make food", "a garden"])
        >>> result.added, result.unchanged
        (2, 0)
    """

    ids: tuple[str, ...]
    added: int
    updated: int
    unchanged: int
    truncated: int
    windowed: int
    empty: int
    zero_vectors: int


def warn_of_unfindable(result: UpsertResult, *, stacklevel: int) -> None:
    """Warn of stored passages that a leg, or no leg, can find."""
    if result.empty:
        warnings.warn(
            f"{result.empty:,} passages have no words: they are stored, but no leg finds them",
            DegradedWarning,
            stacklevel=stacklevel,
        )
    if result.zero_vectors:
        warnings.warn(
            f"{result.zero_vectors:,} passages have a vector of length zero, which has no "
            "cosine: they are stored, and only words find them",
            DegradedWarning,
            stacklevel=stacklevel,
        )


class UpsertPlanner:
    """Plans the batches of one upsert call; ``vectors`` (n, dim) are those passed, if any."""

    def __init__(
        self, settings: IndexSettings, encoder_binding: EncoderBinding, vectors: Vectors | None
    ) -> None:
        self._settings = settings
        self._encoder_binding = encoder_binding
        self._vectors = vectors
        self._used = 0

    def check_vectors(self, passages: Sequence[PassageLike] | None) -> None:
        """Check the vectors passed, for these passages if known; raise VectorError."""
        if self._vectors is None:
            return
        if not self._settings.dense:
            raise VectorError(
                "this index has no dense leg and takes no vectors: it was made with encoder=None "
                "and no dim"
            )
        vectors = as_array(self._vectors)
        dim = self._settings.dim
        expected = dim if dim is not None else (vectors.shape[1] if vectors.ndim == 2 else -1)
        if passages is None:
            self._vectors = check_vectors(vectors, expected, len(vectors))
        else:
            self._vectors = check_vectors(
                vectors, expected, len(passages), partial(_describe_vector, passages)
            )

    def plan(
        self, batch: Sequence[tuple[Passage, str]], view: IndexView, *, replace_all: bool = False
    ) -> tuple[Change | None, tuple[int, ...]]:
        """Return the change that stores a batch of (passage, metadata as JSON), None for none.

        Of several passages with one id, the last counts. ``replace_all`` deletes all stored
        passages that aren't in the batch. Also returns the batch's counts, in the order of the
        fields of `UpsertResult`.
        """
        given = self.next_vectors(len(batch))
        last = {passage.id: position for position, (passage, _) in enumerate(batch)}
        stored = view.passages_by_id(list(last))
        settings, vector_set = view.snapshot.settings, view.snapshot.vector_set
        if settings.dense and vector_set is None:
            pending = view.snapshot.pending
            number = pending.record.number + 1 if pending is not None else 1
            settings, vector_set = start_vector_set(settings, self._encoder_binding, number)
        if given is not None and settings.dim not in (None, given.shape[1]):
            raise VectorError(
                f"vectors must have the index's {settings.dim} dimensions, got {given.shape[1]}"
            )
        changed = [
            position
            for name, position in last.items()
            if differs(stored.get(name), *batch[position])
            or (given is not None and _vector_differs(stored[name], given[position], view))
        ]
        first = view.snapshot.state.next_row
        if first + len(changed) > MAX_ROWS:
            raise InputError(
                f"an index stores at most {MAX_ROWS:,} passages in its lifetime, replaced ones "
                f"included, and this one has room for {MAX_ROWS - first:,} more, got "
                f"{len(changed):,}: Index.export and Index.from_export number them anew"
            )
        added = tuple(
            StoredPassage.from_passage(first + at, *batch[position])
            for at, position in enumerate(changed)
        )
        deleted = tuple(stored[passage.id] for passage in added if passage.id in stored)
        counts = (len(added) - len(deleted), len(deleted), len(batch) - len(added))
        if replace_all:
            everything = view.passages()
            deleted += tuple(passage for passage in everything if passage.id not in last)
        if not added:
            return Change(deleted=deleted) if deleted else None, (*counts, 0, 0, 0, 0)
        truncated = windowed = 0
        vectors = PassageVectors.empty(settings.dim or 0)
        if settings.dense and vector_set is not None:
            assert settings.metric is not None  # set by start_vector_set
            if given is not None:
                rows = np.array([passage.row for passage in added], np.int64)
                usable = settings.metric.can_compare(given[changed])
                prepared = settings.metric.prepare(given[changed][usable])
                vectors = PassageVectors(rows[usable], prepared)
            else:
                vectors, truncated, windowed = self._encode(
                    added, stored, view, settings, vector_set
                )
            if settings.dim is None and len(vectors):
                settings = replace(settings, dim=vectors.vectors.shape[1])
            if not len(vectors) and view.snapshot.vector_set is None:
                settings, vector_set = view.snapshot.settings, None
        with_vector = set(vectors.rows.tolist())
        zero_vectors = sum(
            p.row not in with_vector and (given is not None or bool(p.encoded_text))
            for p in (added if settings.dense else ())
        )
        wordless = {passage.id for passage, _ in batch if not passage.content}
        empty = sum(p.id in wordless and p.row not in with_vector for p in added)
        change = Change(added, deleted, vectors, settings, vector_set)
        return change, (*counts, truncated, windowed, empty, zero_vectors)

    def next_vectors(self, count: int) -> Vectors | None:
        """Return the vectors passed for the next ``count`` passages, None if none were passed."""
        if self._vectors is None:
            return None
        self._used += count
        return self._vectors[self._used - count : self._used]

    def _encode(
        self,
        added: Sequence[StoredPassage],
        stored: Mapping[str, StoredPassage],
        view: IndexView,
        settings: IndexSettings,
        vector_set: VectorSetRecord,
    ) -> tuple[PassageVectors, int, int]:
        """Return the vectors of added passages, and how many are truncated and windowed.

        A passage whose text is unchanged keeps its vectors. Otherwise those of a stored passage of
        the same text are used, or the text is encoded once. A vector without a cosine is left out.
        """
        retained = _find_retained(added, stored, view)
        others = [p for p in added if p.row not in retained and p.encoded_text]
        known = self._find_known(others, view)
        texts = {p.content: p.encoded_text for p in others if p.content not in known}
        truncated = windowed = 0
        if texts:
            if not self._encoder_binding.has_encoder(settings):
                raise VectorError(
                    f"this index has no encoder, and {len(texts)} texts have no stored vector: "
                    "pass vectors="
                )
            assert settings.metric is not None  # set by start_vector_set
            binding = self._encoder_binding
            encoded = encode_texts(
                list(texts.values()),
                binding.encoder(settings, vector_set),
                lambda some: binding.encode_passages(some, settings, vector_set),
                settings.metric,
                settings.windows,
            )
            truncated, windowed = encoded.truncated, encoded.windowed
            pairs = zip(texts, encoded.vectors, strict=True)
            known |= {content: vectors for content, vectors in pairs if vectors is not None}
        found = retained | {p.row: known[p.content] for p in others if p.content in known}
        return PassageVectors.assign(found, settings.dim or 0), truncated, windowed

    def _find_known(
        self, others: Sequence[StoredPassage], view: IndexView
    ) -> dict[bytes, PassageVectors]:
        """Return the vectors of texts that are stored already, by content hash.

        Returns none where callers pass vectors, since equal texts may then have other vectors.
        """
        dense = view.snapshot.dense
        if dense is None or not self._encoder_binding.has_encoder(view.snapshot.settings):
            return {}
        rows = view.reader.rows_with_content([passage.content for passage in others])
        if not rows:
            return {}
        stored = dense.all_vectors(np.unique(np.array(list(rows.values()), np.int64)))
        by_row = dict(stored.by_passage())
        return {content: by_row[row] for content, row in rows.items() if row in by_row}


def start_vector_set(
    settings: IndexSettings, binding: EncoderBinding, number: int
) -> tuple[IndexSettings, VectorSetRecord]:
    """Return settings and vector set for the first vectors of an index; asks the encoder."""
    if not binding.has_encoder(settings):
        metric = settings.metric if settings.metric is not None else Metric.COSINE
        return replace(settings, metric=metric), VectorSetRecord(number, "null", b"", 1)
    encoder = binding.encoder(settings, None)
    identity = encoder_identity(encoder)
    if identity is not None and settings.dim not in (None, identity.dim):
        raise IndexMismatchError(
            f"the index was made with dim={settings.dim}, but its encoder "
            f"{identity.name!r} gives {identity.dim} dimensions"
        )
    metric = choose_metric(identity, settings.metric, stacklevel=5)  # the caller of upsert
    record = new_vector_set(number, encoder, metric)
    binding.assign(number, encoder)
    return replace(settings, metric=metric, dim=canary_dim(record)), record


def differs(stored: StoredPassage | None, passage: Passage, metadata: str) -> bool:
    """Return whether a passage is new or differs from the one stored under its id."""
    if stored is None:
        return True
    return (stored.title, stored.text, stored.metadata) != (passage.title, passage.text, metadata)


def _vector_differs(stored: StoredPassage, vector: Vectors, view: IndexView) -> bool:
    """Return whether ``vector`` differs from the one stored for a passage."""
    dense, metric = view.snapshot.dense, view.snapshot.settings.metric
    if metric is None:
        return True
    usable = bool(metric.can_compare(vector[None, :])[0])
    if dense is None:
        return usable
    before = dense.all_vectors(np.array([stored.row])).vectors
    if not usable or not len(before):
        return usable or bool(len(before))
    return not np.array_equal(before, metric.prepare(vector[None, :]))


def _describe_vector(passages: Sequence[PassageLike], position: int) -> str:
    """Return how a message names the vector of a passage."""
    return f"{position}, of passage {as_passage(passages[position]).id!r},"


def _find_retained(
    added: Sequence[StoredPassage], stored: Mapping[str, StoredPassage], view: IndexView
) -> dict[int, PassageVectors]:
    """Return the vectors of passages whose text is unchanged, by new row."""
    if view.snapshot.dense is None:
        return {}
    same = [
        passage
        for passage in added
        if (before := stored.get(passage.id)) is not None
        and (passage.title, passage.text) == (before.title, before.text)
    ]
    if not same:
        return {}
    old_rows = {passage.row: stored[passage.id].row for passage in same}
    rows = np.array(sorted(old_rows.values()), np.int64)
    by_row = dict(view.snapshot.dense.all_vectors(rows).by_passage())
    return {new: by_row[old] for new, old in old_rows.items() if old in by_row}
