"""An index made and filled in one step, as adapters do it."""

import os
from collections.abc import Sequence

from twofold.index.index import Index
from twofold.index.opening import AsStored
from twofold.lexical import AnalyzerLike
from twofold.metrics import Metric
from twofold.protocols import Encoder
from twofold.types import PassageLike


def filled_index(
    path: str | os.PathLike[str] | None,
    passages: Sequence[PassageLike],
    *,
    encoder: Encoder | str | AsStored | None,
    metric: Metric | str | None,
    analyzer: AnalyzerLike | AsStored | None,
) -> Index:
    """Return an index to retrieve from after adding ``passages``; the write lock is let go.

    So a notebook cell can be run twice, and another process can write.
    """
    index = Index.open(path, encoder=encoder, metric=metric, analyzer=analyzer)
    try:
        index.upsert(passages)
        if path is None:
            return index
        loaded = index.encoder if encoder is not None else None  # so that no model loads twice
    except BaseException:
        index.close()
        raise
    index.close()
    return Index.open(path, encoder=loaded, metric=metric, analyzer=analyzer)
