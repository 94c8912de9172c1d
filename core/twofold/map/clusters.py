"""Passages coloured by what they are about: k-means on their vectors, named by their words."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.map.coloring import Categories
from twofold.protocols import Analyzer
from twofold.threads import one_native_thread
from twofold.types import Passage, Vectors

MOST = 8
"""Clusters: more can't be told apart by colour alone."""
WORDS = 3
_TRIED = 10  # words looked at for each that is named
_READ = 2000  # characters of a passage that its cluster is named by
_WORD = r"(?u)\b[^\W\d_]{3,}\b"


def clustered(
    passages: Sequence[Passage], vectors: Vectors, analyzer: Analyzer | None, seed: int
) -> Categories:
    """Group passages by k-means (Lloyd, 1982; seeded as k-means++) on their vectors (n, dim).

    The number of clusters grows with the root of the passages, to eight. Each is named by the
    words that tell most about being in it, the largest first; stop words of the ``analyzer`` and
    other forms of a word that is named are left out.
    """
    from sklearn.cluster import KMeans

    wanted = max(1, min(MOST, round(math.sqrt(len(passages) / 2))))
    wanted = min(wanted, len(np.unique(vectors, axis=0)))
    if wanted == 1:
        labels = np.zeros(len(passages), np.int64)
    else:
        with one_native_thread():
            labels = KMeans(wanted, n_init=4, random_state=seed).fit_predict(vectors)
    sizes = np.bincount(labels, minlength=wanted)
    order = np.argsort(-sizes, kind="stable")
    codes = np.argsort(order)[labels].astype(np.int64)
    return Categories("cluster", _named(passages, codes, wanted, analyzer), codes)


def _named(
    passages: Sequence[Passage],
    codes: NDArray[np.int64],
    clusters: int,
    analyzer: Analyzer | None,
) -> tuple[str, ...]:
    """Return each cluster's most telling words.

    A word tells p log(p / q), the part of the Kullback-Leibler divergence that is due to it: it
    occurs in p of the cluster's passages, and in q of all. So neither stop words nor rare ones win.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(binary=True, token_pattern=_WORD, stop_words="english")
    texts = [passage.content[:_READ] for passage in passages]
    analyze = counter.build_analyzer()
    if not any(analyze(text) for text in texts):
        return tuple(f"cluster {number + 1}" for number in range(clusters))
    table = counter.fit_transform(texts)
    words = counter.get_feature_names_out()
    names: list[str] = []
    for number in range(clusters):
        inside = _part(table[codes == number])
        telling = inside * np.log(np.maximum(inside, 1e-12) / _part(table))
        # A single cluster has no word that others lack: its frequent words are what it has.
        telling = telling if clusters > 1 else inside
        best = np.argsort(-telling, kind="stable")[: _TRIED * WORDS]
        candidates = [str(words[place]) for place in best if inside[place] > 0]
        chosen = _distinct(candidates, analyzer)[:WORDS]
        names.append(", ".join(chosen) or f"cluster {number + 1}")
    return tuple(names)


def _distinct(words: Sequence[str], analyzer: Analyzer | None) -> list[str]:
    """Return the words without stop words and without other forms of an earlier one."""
    if analyzer is None:
        return list(words)
    first: dict[tuple[str, ...], str] = {}
    for word in words:
        terms = tuple(analyzer.passage_terms(word))
        if terms:
            first.setdefault(terms, word)
    return list(first.values())


def _part(table: Any) -> NDArray[np.float64]:
    """Return in which part of the rows of a sparse 0/1 table each word occurs."""
    return np.asarray(table.mean(axis=0), np.float64).ravel()
