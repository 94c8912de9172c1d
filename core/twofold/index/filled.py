"""An index made and filled in one step, as adapters do it."""

import os
from collections.abc import Sequence
from typing import Literal

from twofold.index.index import Index
from twofold.index.opening import AsStored
from twofold.lexical import AnalyzerLike
from twofold.metrics import Metric
from twofold.protocols import Encoder
from twofold.types import PassageLike, Vectors


def filled_index(
    path: str | os.PathLike[str] | None,
    passages: Sequence[PassageLike],
    *,
    encoder: Encoder | str | AsStored | None,
    metric: Metric | str | None,
    analyzer: AnalyzerLike | AsStored | None,
    dim: Literal["first"] | None = None,
    vectors: Vectors | None = None,
) -> Index:
    """Return an index to retrieve from after adding ``passages``; the write lock is let go.

    So a notebook cell can be run twice, and another process can write. ``vectors`` (n, dim) are
    those of the first n passages; the others are encoded.
    """
    known = len(vectors) if vectors is not None else 0
    index = Index.open(path, encoder=encoder, dim=dim, metric=metric, analyzer=analyzer)
    try:
        if known:
            index.upsert(passages[:known], vectors=vectors)
        if len(passages) > known:
            index.upsert(passages[known:])
        if path is None:
            return index
        loaded = index.encoder if encoder is not None else None  # so that no model loads twice
    except BaseException:
        index.close()
        raise
    index.close()
    return Index.open(path, encoder=loaded, dim=dim, metric=metric, analyzer=analyzer)
