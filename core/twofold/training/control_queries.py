"""Control queries, and the queries that an active query adapter was trained on.

Control queries are of another kind than the training queries: they show whether other searches get
worse.
"""

from collections.abc import Sequence

import numpy as np

from twofold.backend import SearchScope
from twofold.errors import InputError
from twofold.storage import content_hash
from twofold.training.data.examples import TrainingSet
from twofold.training.data.splitting import normalize_query
from twofold.training.data.synthetic import FirstSentences, Titles, generate_examples
from twofold.types import Mask

LEARNED = "learned"
"""Key of the training queries' hashes in an adapter's metadata."""
_MAX_PASSAGES = 300
_MIN_QUERIES = 20


def control_queries_from_passages(
    scope: SearchScope, judged: TrainingSet, train: TrainingSet, seed: int
) -> TrainingSet | None:
    """Make control queries from the titles, or else the first sentences, of sampled passages.

    Passages that are relevant to a ``judged`` query are skipped, and so are ``train`` queries.
    Returns None if too few queries are left.
    """
    keys = np.random.default_rng(seed).permutation(scope.list_keys())[: 4 * _MAX_PASSAGES]
    relevant = judged.positives
    passages = scope.session.fetch(keys).passages
    others = [passage for passage in passages if passage.id not in relevant][:_MAX_PASSAGES]
    trained = {normalize_query(example.query) for example in train}
    for generator in (Titles(), FirstSentences()):
        try:
            made = generate_examples(others, [generator], seed=seed)
        except InputError:
            continue  # no passage has a title, or none has more than a few words
        fresh = [example for example in made if normalize_query(example.query) not in trained]
        if len(fresh) >= min(_MIN_QUERIES, len(made)):
            return TrainingSet(tuple(fresh))
    return None


def query_hashes(training_set: TrainingSet) -> list[str]:
    """Return a hash of each query, 16 hex digits; case and white space don't change it."""
    folded = (normalize_query(example.query) for example in training_set)
    return [content_hash(query.encode())[:8].hex() for query in folded]


def unseen_by_adapter(scope: SearchScope, training_set: TrainingSet) -> Mask:
    """Return a mask (n,) of the queries that the active adapter was not trained on.

    Without an adapter all queries count as unseen; with one that lacks this metadata, none does.
    """
    adapter = scope.query_adapter
    if adapter is None:
        return np.ones(len(training_set), np.bool_)
    hashes: Sequence[str] | None = getattr(adapter, "metadata", {}).get(LEARNED)
    if hashes is None:
        return np.zeros(len(training_set), np.bool_)
    trained = frozenset(hashes)
    return np.array([query not in trained for query in query_hashes(training_set)], np.bool_)
