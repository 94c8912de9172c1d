"""Holding queries out: by query, or so that no relevant passage of theirs is learned from."""

import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

import numpy as np

from twofold.errors import InputError
from twofold.storage import content_hash
from twofold.training.data.examples import Example, TrainingSet

By = Literal["query", "passage"]
"""What stays together: equal queries, or also queries that share a relevant passage."""


@dataclass(frozen=True, slots=True)
class Split:
    """Examples to learn from, and those held out to measure what was learned."""

    fit: TrainingSet
    held: TrainingSet


def split(
    training_set: TrainingSet, share: float = 0.2, *, by: By = "query", seed: int = 0
) -> Split:
    """Hold out about a ``share`` of the queries, at least one.

    ``by="query"``: queries that are equal but for case and blanks stay together.
    ``by="passage"``: so do those that share a positive, over any number of steps; no positive of a
    held-out query is a positive in ``fit``. What belongs together is held out only if it fits into
    the share; if nothing does, one of the smallest is. The order of the examples changes nothing.

    Raises InputError for a share that isn't between 0 and 1, and if everything belongs together.
    """
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
        raise InputError(f"share is {share!r}: a number between 0 and 1 is wanted")
    groups = _groups(training_set, by, seed, fewest=2)
    room = min(max(1, round(share * len(training_set))), len(training_set) - 1)
    held: list[str] = []
    for group in groups:
        if len(held) + len(group) <= room:
            held += group
    return _parted(training_set, held if held else min(groups, key=len))


def folds(
    training_set: TrainingSet, n: int = 5, *, by: By = "query", seed: int = 0
) -> tuple[Split, ...]:
    """Return ``n`` splits in which each query is held out once; ``by`` is as for ``split``.

    The folds are as equal in size as what belongs together allows. Raises InputError if there are
    fewer groups of queries than folds.
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 2:
        raise InputError(f"n is {n!r}: a whole number of at least 2 folds is wanted")
    held: list[list[str]] = [[] for _ in range(n)]
    for group in sorted(_groups(training_set, by, seed, fewest=int(n)), key=len, reverse=True):
        min(held, key=len).extend(group)
    return tuple(_parted(training_set, each) for each in held)


def unseen(held: TrainingSet, fit: TrainingSet) -> frozenset[str]:
    """Return the ids of held-out queries of which no positive is a positive in ``fit``."""
    known = fit.positives
    return frozenset(each.query_id for each in held if known.isdisjoint(each.positives))


def folded_query(query: str) -> str:
    """Return a query without differences of case, blanks and compatible characters (NFKC)."""
    return " ".join(unicodedata.normalize("NFKC", query).casefold().split())


def _parted(training_set: TrainingSet, held: list[str]) -> Split:
    out = set(held)
    rest = (each.query_id for each in training_set if each.query_id not in out)
    return Split(training_set.having(rest), training_set.having(out))


def _groups(training_set: TrainingSet, by: By, seed: int, *, fewest: int) -> list[list[str]]:
    """Return the query ids that belong together, in an order drawn by ``seed``.

    The order is that of hashes, so that examples which are added later leave most where they were.
    """
    if by not in ("query", "passage"):
        raise InputError(f"by is {by!r}: 'query' or 'passage' is wanted")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise InputError(f"seed is {seed!r}: a whole number is wanted")
    leaders: dict[tuple[str, str], tuple[str, str]] = {}

    def leader(node: tuple[str, str]) -> tuple[str, str]:
        leaders.setdefault(node, node)
        while leaders[node] != node:
            leaders[node] = leaders[leaders[node]]
            node = leaders[node]
        return node

    for each in training_set:
        own, *others = _nodes(each, by)
        for node in others:
            leaders[leader(node)] = leader(own)
    together: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for each in training_set:
        together[leader(_nodes(each, by)[0])].append(each.query_id)
    if len(together) < fewest:
        raise InputError(
            f"{len(training_set)} queries make {len(together)} groups that stay together by {by}, "
            f"and at least {fewest} are wanted: give more examples"
            + (", or split by 'query'" if by == "passage" else "")
        )
    groups = [sorted(each) for each in together.values()]
    return sorted(groups, key=lambda group: content_hash(f"{int(seed)}:{group[0]}".encode()))


def _nodes(example: Example, by: By) -> list[tuple[str, str]]:
    """Return what an example is linked by: its query's words first, then its positives."""
    words = ("query", folded_query(example.query))
    return [words, *(("passage", own) for own in example.positives if by == "passage")]
