"""Re-encoding: fills a vector set of another encoder while the present one serves queries."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from twofold.dense import PassageVectors
from twofold.encoders import encoder_from_name
from twofold.index.encoder_binding import (
    EncoderBinding,
    canary_dim,
    choose_metric,
    encode_passages,
    encoder_identity,
    has_drifted,
    has_fingerprint,
    has_same_canaries,
    new_vector_set,
)
from twofold.index.open_options import AsStored, check_encoder, encoder_name, has_identity
from twofold.index.passage_encoding import encode_texts
from twofold.index.snapshot import PendingVectorSet, Snapshot
from twofold.index.view import IndexView
from twofold.index.writing.commit import Change, Fill
from twofold.index.writing.passage_input import ENCODED_BATCH
from twofold.index.writing.progress import PassageProgress
from twofold.index.writing.writer import IndexWriter
from twofold.protocols import Encoder
from twofold.similarity import Metric
from twofold.storage import (
    BlockRecord,
    IndexSettings,
    StoredPassage,
    VectorSetRecord,
    map_vectors,
)


class Reencoding:
    """Fills a pending vector set in the order of rows, and activates it with the last batch.

    Every batch is committed. After an interruption, the same encoder continues the pending set, and
    another encoder replaces it. Passages added meanwhile have larger rows, so they are reached too.
    """

    def __init__(self, writer: IndexWriter, encoder_binding: EncoderBinding, folder: Path) -> None:
        self._writer = writer
        self._encoder_binding = encoder_binding
        self._folder = folder

    def run(
        self,
        encoder: Encoder | str,
        metric: Metric | str | None,
        windows: int | AsStored | None,
        progress: Callable[[int], None] | None,
    ) -> int:
        """Fill and activate the vector set; return how many texts were encoded.

        ``windows`` is as in `IndexSettings`, or AS_STORED for the present value.
        """
        by_name = isinstance(encoder, str)
        model = encoder_from_name(encoder) if isinstance(encoder, str) else check_encoder(encoder)
        identity = encoder_identity(model)
        requested = Metric.from_name(metric) if metric is not None else None
        chosen = choose_metric(identity, requested, stacklevel=4)  # Index.reencode's caller
        with self._writer.snapshots.view() as view:
            stored, settings = view.snapshot.vector_set, view.snapshot.settings
            size = settings.windows if isinstance(windows, AsStored) else windows
            unchanged = chosen is settings.metric and size == settings.windows
            if stored is not None and unchanged:
                same = has_fingerprint(identity, stored)
                if same and not has_drifted(model, stored, chosen):
                    return 0
            record = _resume_or_start(view.snapshot, model, chosen, size)
        target = replace(
            settings,
            dense=True,
            encoder=encoder_name(model),
            named=by_name or has_identity(model),
            home=str(self._folder.resolve()),
            dim=canary_dim(record),
            metric=chosen,
            windows=size,
        )
        return self._fill(model, record, target, progress)

    def _fill(
        self,
        encoder: Encoder,
        record: VectorSetRecord,
        target: IndexSettings,
        progress: Callable[[int], None] | None,
    ) -> int:
        """Commit batch after batch; the last one takes the encoder's settings from ``target``."""
        assert target.dim is not None
        assert target.metric is not None
        encoded, more, shown = 0, True, PassageProgress(progress)
        reached = 0  # the first row that no batch has had
        while more:
            with self._writer.transaction() as transaction:
                view, snapshot = transaction.view, transaction.snapshot
                pending, active = snapshot.pending, snapshot.vector_set
                if pending is not None and pending.record.number != record.number:
                    pending, reached = None, 0  # another encoder's, which this one replaces
                if pending is None and active is not None and active.number >= record.number:
                    record = replace(record, number=active.number + 1)  # added meanwhile
                blocks = pending.blocks if pending is not None else ()
                start = max(reached, int(blocks[-1].rows[-1]) + 1 if blocks else 0)
                rest = view.passages(start)
                # Blank passages have no vector, and must not end a batch early.
                batch = list(islice((p for p in rest if p.encoded_text), ENCODED_BATCH))
                known = self._find_known(view, pending, batch, start, target.dim)
                with shown.encoding(len(batch)):
                    new, vectors = _encode_batch(encoder, batch, known, target)
                reached = batch[-1].row + 1 if batch else reached
                more = len(batch) == ENCODED_BATCH
                settings = replace(snapshot.settings, pending_windows=target.windows)
                if not more:
                    self._encoder_binding.replace(record.number, encoder)
                    settings = replace(
                        settings,
                        dense=True,
                        encoder=target.encoder,
                        named=target.named,
                        home=target.home,
                        dim=target.dim,
                        metric=target.metric,
                        windows=target.windows,
                        pending_windows=None,
                        agreement=None,  # it was the other model's
                        agreement_passages=0,
                        agreement_changed=0,
                    )
                fill = Fill(record, vectors, switch=not more)
                transaction.change = Change(settings=settings, fill=fill)
            encoded += new
            shown.commit(len(batch))
        return encoded

    def _find_known(
        self,
        view: IndexView,
        pending: PendingVectorSet | None,
        batch: Sequence[StoredPassage],
        start: int,
        dim: int,
    ) -> dict[bytes, PassageVectors]:
        """Return vectors of this batch's texts from the pending set (rows < ``start``), by hash."""
        first = view.reader.rows_with_content([passage.content for passage in batch])
        earlier = {content: row for content, row in first.items() if row < start}
        if pending is None or not earlier:
            return {}
        found = {
            content: self._read_pending(pending.blocks, row, dim)
            for content, row in earlier.items()
        }
        return {content: vectors for content, vectors in found.items() if len(vectors)}

    def _read_pending(self, blocks: Sequence[BlockRecord], row: int, dim: int) -> PassageVectors:
        """Return the vectors of a row, which may be in two blocks or more."""
        parts: list[PassageVectors] = []
        lasts = [int(block.rows[-1]) for block in blocks]
        for block in blocks[bisect_left(lasts, row) :]:
            positions = np.flatnonzero(block.rows == row)
            if not len(positions):
                break
            path = self._writer.layout.vector_file(block.file)
            stored = map_vectors(path, block.first + block.count, dim)[block.first :]
            spans = block.spans[positions] if block.spans is not None else None
            parts.append(PassageVectors(block.rows[positions], stored[positions], spans))
        return PassageVectors.concatenate(parts, dim)


def _resume_or_start(
    snapshot: Snapshot, encoder: Encoder, metric: Metric, windows: int | None
) -> VectorSetRecord:
    """Return the pending vector set if it is this encoder's with these windows, else a new one."""
    active, pending = snapshot.vector_set, snapshot.pending
    number = 1 + max(
        active.number if active is not None else 0,
        pending.record.number if pending is not None else 0,
    )
    record = replace(new_vector_set(number, encoder, metric), active=0)
    if pending is None or snapshot.settings.pending_windows != windows:
        return record
    if record.identity == pending.record.identity != "null":
        return pending.record if has_same_canaries(pending.record, record) else record
    return record


def _encode_batch(
    encoder: Encoder,
    batch: Sequence[StoredPassage],
    known: dict[bytes, PassageVectors],
    target: IndexSettings,
) -> tuple[int, PassageVectors]:
    """Return how many texts were encoded, and the vectors of all passages in the batch."""
    dim, metric = target.dim, target.metric
    assert dim is not None
    assert metric is not None
    texts = {p.content: p.encoded_text for p in batch if p.content not in known}
    if texts:
        encoded = encode_texts(
            list(texts.values()),
            encoder,
            lambda some: encode_passages(encoder, some, dim),
            metric,
            target.windows,
        )
        pairs = zip(texts, encoded.vectors, strict=True)
        known = known | {content: vectors for content, vectors in pairs if vectors is not None}
    groups = {p.row: known[p.content] for p in batch if p.content in known}
    return len(texts), PassageVectors.assign(groups, dim)
