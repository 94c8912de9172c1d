"""Postings as another weight of titles would have made them."""

from dataclasses import replace

from twofold.catalog import CatalogReader
from twofold.index.legs import LexicalKind
from twofold.index.snapshot import Snapshot
from twofold.lexical import LiveSegment, PostingsIndex


def retitled(snapshot: Snapshot, reader: CatalogReader, title_weight: int) -> PostingsIndex:
    """Return postings in memory of all passages, by the analyzer that built the stored ones."""
    kind = snapshot.kinds["lexical"]
    assert isinstance(kind, LexicalKind)
    passages = list(reader.between(0, snapshot.state.next_row))
    segment = replace(kind, title_weight=title_weight).build(passages)
    return PostingsIndex(kind.analyzer, segments=[LiveSegment.of(segment)])
