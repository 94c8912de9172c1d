"""Another encoder for an index: a new vector set is filled while the old one serves."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from twofold.encoders import encoder_from_name
from twofold.index.encoder_binding import (
    CANARIES,
    EncoderBinding,
    choose_metric,
    encode_passages,
    encoder_identity,
    has_drifted,
    new_set,
)
from twofold.index.layout import Layout
from twofold.index.open_options import check_encoder, encoder_name, has_identity
from twofold.index.snapshot import PendingVectorSet
from twofold.index.view import IndexView, SnapshotProvider
from twofold.index.writing.commit import Change, Fill
from twofold.index.writing.passage_input import ENCODED_BATCH
from twofold.index.writing.writer import IndexWriter
from twofold.protocols import Encoder
from twofold.segments import positions_of
from twofold.similarity import Metric
from twofold.storage import Settings, StoredPassage, VectorSetRecord, map_vectors
from twofold.types import Vectors


class Reencoding:
    """Fills a vector set in the order of the rows, each batch committed, and switches at the end.

    What a call that was stopped had encoded is kept: the same encoder goes on from there, another
    one starts anew. Passages that come meanwhile have greater rows, and those that go are skipped.
    """

    def __init__(
        self,
        layout: Layout,
        writer: IndexWriter,
        generations: SnapshotProvider,
        contract: EncoderBinding,
    ) -> None:
        self._layout = layout
        self._writer = writer
        self._generations = generations
        self._encoder_binding = contract

    def run(
        self,
        encoder: Encoder | str,
        metric: Metric | str | None,
        progress: Callable[[int], None] | None,
    ) -> int:
        """Fill and switch; return how many texts were encoded, 0 if nothing was to be done."""
        own = encoder_from_name(encoder) if isinstance(encoder, str) else check_encoder(encoder)
        name = encoder if isinstance(encoder, str) else encoder_name(own)
        named = isinstance(encoder, str) or has_identity(own)
        chosen = choose_metric(
            encoder_identity(own), Metric.of(metric) if metric is not None else None
        )
        with self._generations.view() as view:
            stored, settings = view.snapshot.vector_set, view.snapshot.settings
            if stored is not None and chosen is settings.metric:
                identity = encoder_identity(own)
                same = identity is not None and identity == stored.to_identity()
                if same and not has_drifted(own, stored, chosen):
                    return 0
            record = self._record(view, own, chosen)
        target = replace(
            settings,
            dense=True,
            encoder=name,
            named=named,
            dim=len(record.canaries) // (4 * len(CANARIES)),
            metric=chosen,
        )
        return self._fill(own, record, target, progress)

    def _fill(
        self,
        encoder: Encoder,
        record: VectorSetRecord,
        target: Settings,
        progress: Callable[[int], None] | None,
    ) -> int:
        """Commit batch after batch, the last of them with the ``target`` settings' switch."""
        assert target.dim is not None
        assert target.metric is not None
        encoded, done, more = 0, 0, True
        while more:
            with self._writer.turn:
                with self._generations.view() as view:
                    snapshot, filling = view.snapshot, view.snapshot.pending
                    if filling is not None and filling.record.number != record.number:
                        filling = None  # another encoder's, which this one replaces
                    active = snapshot.vector_set
                    if filling is None and active is not None and active.number >= record.number:
                        record = replace(record, number=active.number + 1)  # begun meanwhile
                    begun = filling.blocks if filling is not None else ()
                    start = int(begun[-1].rows[-1]) + 1 if begun else 0
                    rest = view.reader.between(start, snapshot.state.next_row)
                    # Blank ones have no vector, and must not end a batch early.
                    texts = (each for each in rest if each.encoded_text)
                    batch = list(islice(texts, ENCODED_BATCH))
                    known = self._known(view, filling, batch, start, target.dim)
                more = len(batch) == ENCODED_BATCH
                fresh, vectors = _encoded(encoder, batch, known, target.metric, target.dim)
                rows = np.array([each.row for each in batch], np.int64)
                now = snapshot.settings
                if not more:
                    self._encoder_binding.adopt(record.number, encoder)
                    now = replace(
                        now,
                        dense=True,
                        encoder=target.encoder,
                        named=target.named,
                        dim=target.dim,
                        metric=target.metric,
                        agreement=None,  # the other model's
                        agreement_of=0,
                        agreement_changed=0,
                    )
                change = Change.of_nothing(now, snapshot.vector_set)
                fill = Fill(record, rows, vectors, switch=not more)
                self._writer.commit(replace(change, fill=fill))
            encoded += fresh
            done += len(batch)
            if progress is not None:
                progress(done)
        return encoded

    def _record(self, view: IndexView, encoder: Encoder, metric: Metric) -> VectorSetRecord:
        """Return the set that was begun with this encoder, or a new one."""
        active, filling = view.snapshot.vector_set, view.snapshot.pending
        number = 1 + max(
            active.number if active is not None else 0,
            filling.record.number if filling is not None else 0,
        )
        record = replace(new_set(number, encoder, metric), active=0)
        if filling is not None and record.identity == filling.record.identity != "null":
            same = np.array_equal(
                np.frombuffer(record.canaries, np.float32),
                np.frombuffer(filling.record.canaries, np.float32),
            )
            return filling.record if same else record
        return record

    def _known(
        self,
        view: IndexView,
        pending: PendingVectorSet | None,
        batch: Sequence[StoredPassage],
        start: int,
        dim: int,
    ) -> dict[bytes, Vectors]:
        """Return the vectors of texts that this set has already, by content."""
        first = view.reader.rows_with_content([each.content for each in batch])
        earlier = {content: row for content, row in first.items() if row < start}
        if pending is None or not earlier:
            return {}
        firsts = [int(block.rows[0]) for block in pending.blocks]
        out: dict[bytes, Vectors] = {}
        for content, row in earlier.items():
            block = pending.blocks[bisect_right(firsts, row) - 1]
            place = int(positions_of(np.array([row]), block.rows)[0])
            if place >= 0:
                path = self._layout.vector_file(block.file)
                stored = map_vectors(path, block.first + block.count, dim)
                out[content] = stored[block.first + place]
        return out


def _encoded(
    encoder: Encoder,
    batch: Sequence[StoredPassage],
    known: dict[bytes, Vectors],
    metric: Metric,
    dim: int,
) -> tuple[int, Vectors]:
    """Return how many texts were encoded, and the vectors of all (n, dim)."""
    texts = {each.content: each.encoded_text for each in batch if each.content not in known}
    if texts:
        vectors = metric.stored(encode_passages(encoder, list(texts.values()), dim))
        known = known | dict(zip(texts, vectors, strict=True))
    out = [known[each.content] for each in batch]
    return len(texts), np.stack(out) if out else np.empty((0, dim), np.float32)
