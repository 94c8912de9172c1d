"""What follows a write: structures that are due, and the agreement of the legs."""

from dataclasses import replace
from typing import Literal

from twofold.index.leg_agreement import measure_agreement, needs_measuring
from twofold.index.view import SnapshotProvider
from twofold.index.writing.commit import Change
from twofold.index.writing.writer import IndexWriter


class Maintenance:
    """Keeps what is derived in step with what was written, in commits of its own."""

    def __init__(self, writer: IndexWriter, generations: SnapshotProvider) -> None:
        self._writer = writer
        self._generations = generations

    def structures(self, *, compact: bool) -> None:
        """Build the structures over vectors that are due.

        ``compact`` leaves one segment a leg, as a large load deserves: queries visit every one.
        """
        with self._writer.turn:
            with self._generations.view() as view:
                snapshot = view.snapshot
            dense = snapshot.dense
            several = any(len(snapshot.of_leg(leg)) > 1 for leg in snapshot.segment_types)
            due = dense is not None and dense.is_due(compact=compact)
            if due or (compact and several):
                change = Change.of_nothing(snapshot.settings, snapshot.vector_set)
                built: Literal["left", "due", "anew"] = "due" if due else "left"
                built = "anew" if due and compact else built
                self._writer.commit(replace(change, compact=compact, structures=built))

    def agreement(self, *, encode: bool = True) -> None:
        """Measure the agreement of the legs where that is due, and store it.

        Raises what the encoder raises; ``encode=False`` does without it.
        """
        with self._writer.turn:
            with self._generations.view() as view:
                snapshot = view.snapshot
                encode = encode and view.encodes
                passages = snapshot.state.passages
                if not needs_measuring(snapshot.settings, passages, encode=encode):
                    return
                found = measure_agreement(view, encode=encode)
            settings = replace(
                snapshot.settings,
                agreement=found,
                agreement_of=passages,
                agreement_encoded=encode,
                agreement_changed=0,
            )
            self._writer.commit(Change.of_nothing(settings, snapshot.vector_set))
