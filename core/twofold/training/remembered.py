"""What the adapter in use has learned from, so that a new one isn't compared with its memory."""

from collections.abc import Sequence

import numpy as np

from twofold.catalog import content_hash
from twofold.index import IndexView
from twofold.training.splitting import folded_query
from twofold.training.training_set import TrainingSet
from twofold.types import Mask

LEARNED = "learned"
"""Where an adapter's card has the marks of the queries that it learned from."""


def marks_of(training_set: TrainingSet) -> list[str]:
    """Return a hash of each query, 16 hexadecimal digits, the same whatever its case and blanks."""
    return [content_hash(folded_query(each.query).encode())[:8].hex() for each in training_set]


def fresh(view: IndexView, training_set: TrainingSet) -> Mask:
    """Return which queries (n,) the adapter in use has not learned from; all where there is none.

    None are where its card doesn't say.
    """
    adapter = view.snapshot.adapting.adapter
    if adapter is None:
        return np.ones(len(training_set), np.bool_)
    known: Sequence[str] | None = adapter.card.get(LEARNED)
    if known is None:
        return np.zeros(len(training_set), np.bool_)
    learned = frozenset(known)
    return np.array([mark not in learned for mark in marks_of(training_set)], np.bool_)
