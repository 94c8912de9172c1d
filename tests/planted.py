"""A relation between words that no model knows, to be found after training."""

import itertools

import numpy as np

from twofold.training import TrainingSet

NOUNS = "plant light press wave food river stone glass horse cloud"
MADE_UP = "blar quon trib zelf morn vask plix drom yurt fenk"
SECRET = dict(zip(NOUNS.split(), MADE_UP.split(), strict=True))


def secrets():
    """Passages of two nouns, and queries that name them by words which no passage has."""
    rng = np.random.default_rng(0)
    pairs = list(itertools.permutations(SECRET, 2))
    rng.shuffle(pairs)
    passages = [{"id": str(n), "text": f"{a} before {b}"} for n, (a, b) in enumerate(pairs)]
    queries = {f"q{n}": f"{SECRET[a]} {SECRET[b]}" for n, (a, b) in enumerate(pairs)}
    return passages, TrainingSet.from_qrels(
        queries, {f"q{n}": {str(n): 1} for n in range(len(pairs))}
    )
