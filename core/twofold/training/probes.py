"""Queries of another kind, which must not lose what they found before."""

import numpy as np

from twofold.errors import InputError
from twofold.index import IndexView
from twofold.training.splitting import folded_query
from twofold.training.synthetic import FirstSentences, Titles, synthetic
from twofold.training.training_set import TrainingSet

PROBES = 300
_FEWEST = 20


def made_of_passages(
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
