"""Maintenance after a write: builds ANN structures that are due and measures leg agreement."""

from dataclasses import replace

from twofold.index.leg_agreement import MIN_PASSAGES, measure_agreement
from twofold.index.writing.commit import Change
from twofold.index.writing.writer import IndexWriter
from twofold.storage import IndexSettings


def build_structures(writer: IndexWriter, *, compact: bool) -> None:
    """Build the ANN structures that are due.

    Args:
        writer: The index's writer.
        compact: Whether to merge each leg into one segment; every query reads all segments.
    """
    with writer.transaction() as transaction:
        snapshot, dense = transaction.snapshot, transaction.snapshot.dense
        several = any(len(snapshot.segments_of(leg)) > 1 for leg in snapshot.segment_types)
        if dense is not None and dense.is_due(compact=compact):
            transaction.change = Change(compact=compact, structures="rebuild" if compact else "due")
        elif compact and several:
            transaction.change = Change(compact=True)


def update_agreement(writer: IndexWriter, *, encode: bool = True) -> None:
    """Measure ``Index.agreement`` and store it, if that is due.

    Raises what the encoder raises.

    Args:
        writer: The index's writer.
        encode: Whether the encoder may be used; if not, stored vectors are the queries.
    """
    with writer.transaction() as transaction:
        view, settings = transaction.view, transaction.snapshot.settings
        encode = encode and view.scope.can_encode
        passages = transaction.snapshot.state.passages
        if _is_agreement_due(settings, passages, encode=encode):
            measured = replace(
                settings,
                agreement=measure_agreement(view, encode=encode),
                agreement_passages=passages,
                agreement_encoded=encode,
                agreement_changed=0,
            )
            transaction.change = Change(settings=measured)


def _is_agreement_due(settings: IndexSettings, passages: int, *, encode: bool) -> bool:
    """Return whether an index has both legs and no current measurement of ``agreement``.

    A measurement is current until half of the passages were added, deleted or changed. One made
    without the encoder is also repeated once ``encode`` allows it.
    """
    if not settings.dense or settings.analyzer is None or passages < MIN_PASSAGES:
        return False
    before = settings.agreement_passages
    better = encode and not settings.agreement_encoded
    changed = 2 * settings.agreement_changed >= passages
    return better or changed or before == 0 or passages >= 2 * before or 2 * passages <= before
