"""Queries of another kind, which must not lose what they found before."""

from collections.abc import Sequence

import numpy as np

from twofold.errors import InputError
from twofold.index import IndexView
from twofold.storage import content_hash
from twofold.training.data.examples import TrainingSet
from twofold.training.data.splitting import folded_query
from twofold.training.data.synthetic import FirstSentences, Titles, synthetic
from twofold.types import Mask

PROBES = 300
_FEWEST = 20


def control_queries_from_passages(
    view: IndexView, known: TrainingSet, taught: TrainingSet, seed: int
) -> TrainingSet | None:
    """Return titles or first sentences of passages that answer none of the known queries.

    Of the two, those that are not ``taught`` themselves; None where too few are left.
    """
    dense = view.snapshot.dense
    assert dense is not None  # checked before
    rows = np.random.default_rng(seed).permutation(dense.live_rows)[: 4 * PROBES]
    fetched = view.passages(rows)
    answering = known.positives
    passages = [fetched[place] for place in range(len(rows))]
    others = [each for each in passages if each.id not in answering][:PROBES]
    learned = {folded_query(each.query) for each in taught}
    for maker in (Titles(), FirstSentences()):
        try:
            made = synthetic(others, [maker], seed=seed)
        except InputError:
            continue  # no passage has a title, or all have a word or two
        fresh = [each for each in made if folded_query(each.query) not in learned]
        if len(fresh) >= min(_FEWEST, len(made)):
            return TrainingSet(tuple(fresh))
    return None


LEARNED = "learned"
"""Where an adapter's card has the marks of the queries that it learned from."""


def query_hashes(training_set: TrainingSet) -> list[str]:
    """Return a hash of each query, 16 hexadecimal digits, the same whatever its case and blanks."""
    return [content_hash(folded_query(each.query).encode())[:8].hex() for each in training_set]


def unseen_by_adapter(view: IndexView, training_set: TrainingSet) -> Mask:
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
    return np.array([mark not in learned for mark in query_hashes(training_set)], np.bool_)
