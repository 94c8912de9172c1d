"""What the colour of a point says: a category or a number, from the passages' metadata."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.concurrency import limit_native_threads
from twofold.errors import InputError
from twofold.filters.values import ValueType, encode_value, flatten_metadata
from twofold.protocols import Analyzer
from twofold.types import Passage, Vectors

MOST = 12
"""Categories that are told apart by colour and shape."""
MISSING, OTHER = -1, -2
"""The codes of passages without a value, and of those whose value is too rare for a colour."""


@dataclass(frozen=True, slots=True)
class Categories:
    """One name a passage: ``codes`` (n,) are places in ``names``, MISSING or OTHER."""

    title: str
    names: tuple[str, ...]
    codes: NDArray[np.int64]

    def groups(self) -> Iterator[tuple[int, str, NDArray[np.int64]]]:
        """Yield code, name and the passages of each category that has any; the grey ones last."""
        named = [*enumerate(self.names), (OTHER, "other"), (MISSING, "missing")]
        for code, name in named:
            places = np.flatnonzero(self.codes == code)
            if len(places):
                yield code, name, places


@dataclass(frozen=True, slots=True)
class Scale:
    """One number a passage: ``values`` (n,), NaN where it has none."""

    title: str
    values: NDArray[np.float64]


Coloring = Categories | Scale


def color_by_field(field: str, passages: Sequence[Passage]) -> Coloring:
    """Colour passages by a metadata field, ``a.b`` reaching into objects.

    Numbers make a scale if nothing else occurs; anything else is a category, of which the most
    frequent are named.
    """
    found = [flatten_metadata(passage.metadata).get(field) for passage in passages]
    present = [each for each in found if each is not None]
    if present and all(_is_finite(each) for each in present):
        numbers = [math.nan if each is None else float(each) for each in found]
        return Scale(field, np.array(numbers, np.float64))
    names = [None if each is None else _name(each) for each in found]
    counted = Counter(each for each in names if each is not None)
    frequent = sorted(counted, key=lambda name: (-counted[name], name))[:MOST]
    code = {name: place for place, name in enumerate(frequent)}
    codes = [MISSING if each is None else code.get(each, OTHER) for each in names]
    return Categories(field, tuple(frequent), np.array(codes, np.int64))


def check_field(field: str, fields: Sequence[str]) -> None:
    """Raise InputError for a field that no passage has; ``fields`` are those there are."""
    if field in fields:
        return
    near = get_close_matches(field, fields, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    there = ", ".join(repr(each) for each in fields)
    raise InputError(
        f"no passage has the field {field!r} to be coloured by{hint} "
        + (f"The fields are {there}" if there else "No passage has any metadata")
        + "; without a field, clusters are coloured"
    )


def _is_finite(value: Any) -> bool:
    """Return whether a value is a number that has a place on a scale."""
    kind, number, _ = encode_value(value)
    return kind in (ValueType.NUMBER, ValueType.BIG) and math.isfinite(number)


def _name(value: Any) -> str:
    """Return a value as a category's name: strings as they are, anything else as JSON."""
    kind, number, text = encode_value(value)
    if kind is ValueType.BOOL:
        return "true" if number else "false"
    return text if kind is not ValueType.NUMBER else f"{number:g}"


MOST_CLUSTERS = 8
"""Clusters: more can't be told apart by colour alone."""
WORDS = 3
_TRIED = 10  # words looked at for each that is named
_READ = 2000  # characters of a passage that its cluster is named by
_WORD = r"(?u)\b[^\W\d_]{3,}\b"


def cluster_passages(
    passages: Sequence[Passage], vectors: Vectors, analyzer: Analyzer | None, seed: int
) -> Categories:
    """Group passages by k-means (Lloyd, 1982; seeded as k-means++) on their vectors (n, dim).

    The number of clusters grows with the root of the passages, to eight. Each is named by the
    words that tell most about being in it, the largest first; stop words of the ``analyzer`` and
    other forms of a word that is named are left out.
    """
    from sklearn.cluster import KMeans

    wanted = max(1, min(MOST_CLUSTERS, round(math.sqrt(len(passages) / 2))))
    wanted = min(wanted, len(np.unique(vectors, axis=0)))
    if wanted == 1:
        labels = np.zeros(len(passages), np.int64)
    else:
        with limit_native_threads():
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
