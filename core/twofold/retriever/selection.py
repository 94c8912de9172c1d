"""Selecting the hits among the candidates: thresholds, groups, near-duplicates, diversity."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.backend import Keys, SearchScope
from twofold.errors import QueryError
from twofold.retriever.candidates import CandidateSet, Positions
from twofold.retriever.search_plan import SearchOptions
from twofold.types import Passage, Scores, Vectors

_ROUNDING = 1e-6
"""How far the float32 cosine of equal vectors may stay below 1."""
_TIE = 1e-12
"""Difference up to which gains count as equal."""


def group_values(keys: Keys, passages: Sequence[Passage], field: str) -> list[str]:
    """Return each passage's value of a metadata field as JSON; its own key if it lacks the field.

    Equal numbers are one value: 1 and 1.0.
    """
    values = [passage.metadata.get(field) for passage in passages]
    return [
        json.dumps(_integral(value), sort_keys=True) if value is not None else f"key {key}"
        for key, value in zip(keys.tolist(), values, strict=True)
    ]


def _integral(value: Any) -> Any:
    """Return a JSON value in which integral floats are integers: 1.0 is 1."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_integral(item) for item in value]
    if isinstance(value, dict):
        return {name: _integral(item) for name, item in value.items()}
    return value


def passing_positions(options: SearchOptions, candidates: CandidateSet) -> Positions | None:
    """Return the positions of candidates that reach every threshold; None for all."""
    limits = [(options.min_score, candidates.scores)]
    for leg, scores in candidates.legs.items():
        least = options.min_dense if leg == "dense" else options.min_lexical
        if least is not None:
            limits.append((least, scores.completed))
    reached = [values >= limit for limit, values in limits if limit is not None]
    return np.flatnonzero(np.logical_and.reduce(reached)) if reached else None


def select_candidates(
    options: SearchOptions,
    scope: SearchScope,
    candidates: CandidateSet,
    limit: int,
    k: int,
    vector: Vectors | None,
) -> tuple[Positions, list[Positions]]:
    """Return the positions of the best ``k`` candidates, and of each one's near-duplicates.

    ``limit`` is the number of passages taken from each leg, and ``vector`` (dim,) the query's.
    """
    passing = passing_positions(options, candidates)
    if not options.compares:
        return candidates.rank(scope, k, passing), []
    ranked = candidates.rank(scope, limit if options.diversity else len(candidates.keys), passing)
    if candidates.fused is not None or "dense" not in candidates.legs:
        vector = None
    keys, scores = candidates.keys[ranked], candidates.scores[ranked]
    picked, duplicates = pick_hits(options, scope, keys, scores, k, vector)
    return ranked[picked], [ranked[group] for group in duplicates]


def pick_hits(
    options: SearchOptions,
    scope: SearchScope,
    keys: Keys,
    scores: Scores,
    k: int,
    vector: Vectors | None = None,
) -> tuple[Positions, list[Positions]]:
    """Pick up to ``k`` of ``keys`` (n,), best first, by diversity, near-duplicates and groups.

    Diversity is maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998) with lambda =
    1 - ``diversity``: each next hit maximises (1 - diversity) * relevance - diversity * the
    greatest cosine to a hit before it. Relevance is the cosine to ``vector`` (dim,) if one is
    passed, else the score scaled to 0 (worst) and 1 (best). Of equal gains, the better ranked wins.

    Returns:
        The positions of the hits, and for each hit those of its near-duplicates.

    Raises:
        QueryError: Diversity needs vectors, and there are none.
    """
    threshold, field = options.dedup_threshold, options.group_by
    read = threshold is not None or field is not None
    fetched = scope.session.fetch(keys, texts=read, vectors=True)
    passages = list(fetched.passages)  # decoded once
    assert fetched.vectors is not None  # asked for
    vectors = _normalize(fetched.vectors)
    if options.diversity and vectors.shape[1] == 0 and len(keys):
        raise QueryError("diversity compares vectors, and this index has none: leave it out")
    texts = np.array([passage.content for passage in passages], object)
    groups = group_values(keys, passages, field) if field is not None else None
    relevance = vectors @ _normalize(vector) if vector is not None else _scale(scores)
    nearest = np.zeros(len(keys))
    duplicate_of = np.full(len(keys), -1)  # the first hit that a candidate repeats
    taken: Counter[str] = Counter()  # hits of each group
    picked: list[int] = []
    remaining = list(range(len(keys)))
    while remaining and len(picked) < k:
        following = 0
        if options.diversity:
            gains = relevance[remaining]
            if picked:
                gains = (1 - options.diversity) * gains - options.diversity * nearest[remaining]
            following = int(np.argmax(gains >= gains.max() - _TIE))
        at = remaining.pop(following)
        if duplicate_of[at] >= 0 or (groups and taken[groups[at]] == options.per_group):
            continue
        if options.diversity or threshold is not None:
            cosines = vectors @ vectors[at]
            nearest = np.maximum(nearest, cosines) if picked else cosines
            if threshold is not None:
                duplicates = (cosines >= threshold - _ROUNDING) | (texts == texts[at])
                duplicate_of[(duplicate_of < 0) & duplicates] = at
                duplicate_of[[*picked, at]] = -1  # hits themselves
        picked.append(at)
        if groups:
            taken[groups[at]] += 1
    # Duplicates ranked after the last hit are listed too.
    return np.array(picked, np.int64), [np.flatnonzero(duplicate_of == at) for at in picked]


def _normalize(vectors: Vectors) -> NDArray[np.float64]:
    """Return vectors (n, dim) or (dim,) at unit length; zero vectors stay zero."""
    wide = vectors.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=-1, keepdims=True)
    return np.asarray(wide / np.where(lengths > 0, lengths, 1.0))


def _scale(scores: Scores) -> Scores:
    """Return scores scaled to 0 (worst) and 1 (best); all 1 if they are equal."""
    span = float(np.ptp(scores)) if len(scores) else 0.0
    return (scores - scores.min()) / span if span > 0 else np.ones(len(scores))
