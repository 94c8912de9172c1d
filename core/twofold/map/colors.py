"""Colors passages by a metadata field or by cluster."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.concurrency import limit_native_threads
from twofold.errors import InputError
from twofold.filters.values import ValueType, encode_value, flatten_metadata
from twofold.protocols import Analyzer
from twofold.types import Passage, Vectors
from twofold.validation import did_you_mean

MISSING, OTHER = -1, -2
"""Codes of passages without a value, and of passages whose value is too rare for a color."""
_MAX_CATEGORIES = 12
_MAX_CLUSTERS = 8  # color alone distinguishes no more
_CLUSTER_WORDS = 3
_CANDIDATE_WORDS = 10 * _CLUSTER_WORDS
_CHARACTERS = 2000  # of a passage, read to name its cluster
_WORD = r"(?u)\b[^\W\d_]{3,}\b"


@dataclass(frozen=True, slots=True)
class Categories:
    """One category per passage: ``codes`` (n,) are positions in ``names``, MISSING or OTHER."""

    title: str
    names: tuple[str, ...]
    codes: NDArray[np.int64]

    def groups(self) -> Iterator[tuple[int, str, NDArray[np.int64]]]:
        """Yield the code, name and passages' positions of each used category, gray ones last."""
        for code, name in [*enumerate(self.names), (OTHER, "other"), (MISSING, "missing")]:
            positions = np.flatnonzero(self.codes == code)
            if len(positions):
                yield code, name, positions


@dataclass(frozen=True, slots=True)
class Scale:
    """Values of a numeric field for a color scale: one per passage (n,), NaN for none."""

    title: str
    values: NDArray[np.float64]


Coloring = Categories | Scale


def color_by_field(field: str, passages: Sequence[Passage]) -> Coloring:
    """Color passages by a metadata field; ``a.b`` is field b of the object a.

    A field of finite numbers gives a Scale. Others give Categories of the 12 most frequent values.
    """
    values = [flatten_metadata(passage.metadata).get(field) for passage in passages]
    present = [value for value in values if value is not None]
    if present and all(_is_finite(value) for value in present):
        numbers = [math.nan if value is None else float(value) for value in values]
        return Scale(field, np.array(numbers, np.float64))
    names = [None if value is None else _format_value(value) for value in values]
    counts = Counter(name for name in names if name is not None)
    frequent = sorted(counts, key=lambda name: (-counts[name], name))[:_MAX_CATEGORIES]
    code = {name: position for position, name in enumerate(frequent)}
    codes = [MISSING if name is None else code.get(name, OTHER) for name in names]
    return Categories(field, tuple(frequent), np.array(codes, np.int64))


def check_field(field: str, fields: Sequence[str]) -> None:
    """Raise InputError unless ``field`` is in ``fields``, the index's metadata fields."""
    if field in fields:
        return
    known = f"the fields are {', '.join(map(repr, fields))}" if fields else "there is no metadata"
    raise InputError(
        f"no passage has the field {field!r} to color by: {known}; leave the field out to color "
        f"clusters{did_you_mean(field, fields, 0.4)}"
    )


def _is_finite(value: Any) -> bool:
    kind, number, _ = encode_value(value)
    return kind in (ValueType.NUMBER, ValueType.BIG) and math.isfinite(number)


def _format_value(value: Any) -> str:
    """Return a category's name: a string unchanged, anything else as JSON."""
    kind, number, text = encode_value(value)
    if kind is ValueType.BOOL:
        return "true" if number else "false"
    return text if kind is not ValueType.NUMBER else f"{number:g}"


def cluster_passages(
    passages: Sequence[Passage], vectors: Vectors, analyzer: Analyzer | None, seed: int
) -> Categories:
    """Group passages by k-means (Lloyd, 1982; seeded as k-means++), the largest cluster first.

    ``vectors`` are (n, dim). The number of clusters is sqrt(n / 2), at most eight. ``analyzer``
    removes stop words, and all but one inflected form, from the clusters' names.
    """
    from sklearn.cluster import KMeans

    clusters = max(1, min(_MAX_CLUSTERS, round(math.sqrt(len(passages) / 2))))
    clusters = min(clusters, len(np.unique(vectors, axis=0)))
    with limit_native_threads():
        labels = KMeans(clusters, n_init=4, random_state=seed).fit_predict(vectors)
    sizes = np.bincount(labels, minlength=clusters)
    order = np.argsort(-sizes, kind="stable")
    codes = np.argsort(order)[labels].astype(np.int64)
    return Categories("cluster", _name_clusters(passages, codes, clusters, analyzer), codes)


def _name_clusters(
    passages: Sequence[Passage], codes: NDArray[np.int64], clusters: int, analyzer: Analyzer | None
) -> tuple[str, ...]:
    """Name each cluster by its most distinctive words; ``codes`` (n,) are the cluster numbers.

    A word in a share p of the cluster's passages and q of all passages is ranked by p log(p / q),
    its term of the Kullback-Leibler divergence. Neither stop words nor rare words rank high.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(binary=True, token_pattern=_WORD, stop_words="english")
    texts = [passage.content[:_CHARACTERS] for passage in passages]
    analyze = counter.build_analyzer()
    if not any(analyze(text) for text in texts):
        return tuple(f"cluster {number + 1}" for number in range(clusters))
    table = counter.fit_transform(texts)
    words = counter.get_feature_names_out()
    names: list[str] = []
    for number in range(clusters):
        share = _document_shares(table[codes == number])
        ranking = share * np.log(np.maximum(share, 1e-12) / _document_shares(table))
        if clusters == 1:  # all divergences are 0: rank by frequency
            ranking = share
        best = np.argsort(-ranking, kind="stable")[:_CANDIDATE_WORDS]
        candidates = [str(words[column]) for column in best if share[column] > 0]
        chosen = _drop_variants(candidates, analyzer)[:_CLUSTER_WORDS]
        names.append(", ".join(chosen) or f"cluster {number + 1}")
    return tuple(names)


def _drop_variants(words: Sequence[str], analyzer: Analyzer | None) -> list[str]:
    """Drop words that ``analyzer`` stops, or maps to the same terms as an earlier word."""
    if analyzer is None:
        return list(words)
    first: dict[tuple[str, ...], str] = {}
    for word in words:
        terms = tuple(analyzer.passage_terms(word))
        if terms:
            first.setdefault(terms, word)
    return list(first.values())


def _document_shares(table: Any) -> NDArray[np.float64]:
    """Return the share of rows of a sparse 0/1 table in which each word occurs."""
    return np.asarray(table.mean(axis=0), np.float64).ravel()
