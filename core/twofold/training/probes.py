"""Queries of another kind, which must not lose what they found before."""

import numpy as np

from twofold.errors import InputError
from twofold.index import IndexView
from twofold.training.synthetic import FirstSentences, Titles, synthetic
from twofold.training.training_set import TrainingSet

PROBES = 300


def made_of_passages(view: IndexView, known: TrainingSet, seed: int) -> TrainingSet | None:
    """Return queries made of passages that answer none of the known ones."""
    dense = view.snapshot.dense
    assert dense is not None  # checked before
    rows = np.random.default_rng(seed).permutation(dense.live_rows)[: 4 * PROBES]
    fetched = view.passages(rows)
    answering = known.positives
    passages = [fetched[place] for place in range(len(rows))]
    others = [each for each in passages if each.id not in answering][:PROBES]
    titled = [each for each in others if each.title]
    try:
        return synthetic(
            titled if titled else others, [Titles() if titled else FirstSentences()], seed=seed
        )
    except InputError:
        return None  # passages of a word or two make no queries
