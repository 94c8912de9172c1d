"""Re-encoding: fills a vector set of another encoder while the present one serves queries."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

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
from twofold.index.open_options import check_encoder, encoder_name, has_identity
from twofold.index.snapshot import PendingVectorSet, Snapshot
from twofold.index.view import IndexView
from twofold.index.writing.commit import Change, Fill
from twofold.index.writing.passage_input import ENCODED_BATCH
from twofold.index.writing.writer import IndexWriter
from twofold.protocols import Encoder
from twofold.segments import find_positions
from twofold.similarity import Metric
from twofold.storage import IndexSettings, StoredPassage, VectorSetRecord, map_vectors
from twofold.types import Rows, Vectors


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
        progress: Callable[[int], None] | None,
    ) -> int:
        """Fill and activate the vector set; return how many texts were encoded."""
        by_name = isinstance(encoder, str)
        model = encoder_from_name(encoder) if isinstance(encoder, str) else check_encoder(encoder)
        identity = encoder_identity(model)
        requested = Metric.from_name(metric) if metric is not None else None
        chosen = choose_metric(identity, requested, stacklevel=4)  # Index.reencode's caller
        with self._writer.snapshots.view() as view:
            stored, settings = view.snapshot.vector_set, view.snapshot.settings
            if stored is not None and chosen is settings.metric:
                same = has_fingerprint(identity, stored)
                if same and not has_drifted(model, stored, chosen):
                    return 0
            record = _resume_or_start(view.snapshot, model, chosen)
        target = replace(
            settings,
            dense=True,
            encoder=encoder_name(model),
            named=by_name or has_identity(model),
            home=str(self._folder.resolve()),
            dim=canary_dim(record),
            metric=chosen,
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
        encoded, done, more = 0, 0, True
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
                new, rows, vectors = _encode_batch(encoder, batch, known, target.metric, target.dim)
                reached = batch[-1].row + 1 if batch else reached
                more = len(batch) == ENCODED_BATCH
                settings = snapshot.settings
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
                        agreement=None,  # it was the other model's
                        agreement_passages=0,
                        agreement_changed=0,
                    )
                fill = Fill(record, rows, vectors, switch=not more)
                transaction.change = Change(settings=settings, fill=fill)
            encoded += new
            done += len(batch)
            if progress is not None:
                progress(done)
        return encoded

    def _find_known(
        self,
        view: IndexView,
        pending: PendingVectorSet | None,
        batch: Sequence[StoredPassage],
        start: int,
        dim: int,
    ) -> dict[bytes, Vectors]:
        """Return vectors of this batch's texts from the pending set (rows < ``start``), by hash."""
        first = view.reader.rows_with_content([passage.content for passage in batch])
        earlier = {content: row for content, row in first.items() if row < start}
        if pending is None or not earlier:
            return {}
        firsts = [int(block.rows[0]) for block in pending.blocks]
        known: dict[bytes, Vectors] = {}
        for content, row in earlier.items():
            block = pending.blocks[bisect_right(firsts, row) - 1]
            position = int(find_positions(np.array([row]), block.rows)[0])
            if position >= 0:
                path = self._writer.layout.vector_file(block.file)
                stored = map_vectors(path, block.first + block.count, dim)
                known[content] = stored[block.first + position]
        return known


def _resume_or_start(snapshot: Snapshot, encoder: Encoder, metric: Metric) -> VectorSetRecord:
    """Return the pending vector set if it is this encoder's, else a new one."""
    active, pending = snapshot.vector_set, snapshot.pending
    number = 1 + max(
        active.number if active is not None else 0,
        pending.record.number if pending is not None else 0,
    )
    record = replace(new_vector_set(number, encoder, metric), active=0)
    if pending is not None and record.identity == pending.record.identity != "null":
        return pending.record if has_same_canaries(pending.record, record) else record
    return record


def _encode_batch(
    encoder: Encoder,
    batch: Sequence[StoredPassage],
    known: dict[bytes, Vectors],
    metric: Metric,
    dim: int,
) -> tuple[int, Rows, Vectors]:
    """Return how many texts were encoded, the rows with a vector, and the vectors (n, dim)."""
    texts = {p.content: p.encoded_text for p in batch if p.content not in known}
    if texts:
        encoded = encode_passages(encoder, list(texts.values()), dim)
        usable = metric.can_compare(encoded)
        contents = [content for content, use in zip(texts, usable, strict=True) if use]
        known = known | dict(zip(contents, metric.prepare(encoded[usable]), strict=True))
    out = [(passage.row, known[passage.content]) for passage in batch if passage.content in known]
    if not out:
        return len(texts), np.empty(0, np.int64), np.empty((0, dim), np.float32)
    return len(texts), np.array([row for row, _ in out]), np.stack([vector for _, vector in out])
