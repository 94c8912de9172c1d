"""Splits of training data by query, or so that no relevant passage is on both sides."""

import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from typing import Literal, get_args

from twofold.errors import InputError
from twofold.storage import content_hash
from twofold.training.data.examples import Example, TrainingSet
from twofold.validation import check_choice, check_integer, check_number, check_seed

By = Literal["query", "passage"]
"""Queries that a split keeps together: equal ones, or also those that share a positive."""


@dataclass(frozen=True, slots=True)
class Split:
    """A training part and a held-out test part."""

    train: TrainingSet
    test: TrainingSet


def split(
    training_set: TrainingSet, share: float = 0.2, *, by: By = "query", seed: int = 0
) -> Split:
    """Hold out about a share of the queries, at least one, as the test part.

    Linked queries stay together: a group is held out only if it fits into the share. If no group
    fits, the smallest is held out. The split doesn't depend on the order of the examples.

    Args:
        training_set: The examples.
        share: Share of the queries, > 0 and < 1.
        by: ``"query"`` links queries that differ only in case and blanks. ``"passage"`` also links
            those that share a positive, transitively, so that no test positive is a positive in
            ``train``.
        seed: Seed of the draw.

    Raises:
        InputError: An argument is out of range, or all queries are linked.
    """
    check_number("share", share, 0, 1, exclusive=True)
    groups = _link_queries(training_set, by, seed, minimum=2)
    room = min(max(1, round(share * len(training_set))), len(training_set) - 1)
    test: list[str] = []
    for group in groups:
        if len(test) + len(group) <= room:
            test += group
    return _split_off(training_set, test if test else min(groups, key=len))


def split_folds(
    training_set: TrainingSet, n: int = 5, *, by: By = "query", seed: int = 0
) -> tuple[Split, ...]:
    """Return ``n`` splits of about equal size that hold out each query once.

    ``by`` and ``seed`` are those of ``split``. Raises InputError for fewer than ``n`` groups.
    """
    check_integer("n", n, 2)
    tests: list[list[str]] = [[] for _ in range(n)]
    groups = _link_queries(training_set, by, seed, minimum=int(n))
    for group in sorted(groups, key=len, reverse=True):
        min(tests, key=len).extend(group)
    return tuple(_split_off(training_set, test) for test in tests)


def unseen_queries(test: TrainingSet, train: TrainingSet) -> frozenset[str]:
    """Return the ids of test queries that share no positive with the training queries."""
    known = train.positives
    return frozenset(example.query_id for example in test if known.isdisjoint(example.positives))


def normalize_query(query: str) -> str:
    """Return a query in normal form NFKC, case-folded, with single blanks between words."""
    return " ".join(unicodedata.normalize("NFKC", query).casefold().split())


def _split_off(training_set: TrainingSet, test: list[str]) -> Split:
    rest = training_set.queries.keys() - set(test)
    return Split(training_set.select(rest), training_set.select(test))


def _link_queries(training_set: TrainingSet, by: By, seed: int, *, minimum: int) -> list[list[str]]:
    """Return groups of linked query ids, ordered by ``seed``; InputError for too few groups.

    Groups are ordered by hash, so that a new example moves few others.
    """
    check_choice("by", by, get_args(By))
    check_seed(seed)
    leaders: dict[tuple[str, str], tuple[str, str]] = {}

    def find_leader(node: tuple[str, str]) -> tuple[str, str]:
        leaders.setdefault(node, node)
        while leaders[node] != node:
            leaders[node] = leaders[leaders[node]]
            node = leaders[node]
        return node

    for example in training_set:
        first, *others = _link_nodes(example, by)
        for node in others:
            leaders[find_leader(node)] = find_leader(first)
    members: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for example in training_set:
        members[find_leader(_link_nodes(example, by)[0])].append(example.query_id)
    if len(members) < minimum:
        raise InputError(
            f"{len(training_set)} queries make {len(members)} groups linked by {by}, but at least "
            f"{minimum} groups are needed: pass more examples"
            + (", or by='query'" if by == "passage" else "")
        )
    groups = [sorted(group) for group in members.values()]
    return sorted(groups, key=lambda group: content_hash(f"{int(seed)}:{group[0]}".encode()))


def _link_nodes(example: Example, by: By) -> list[tuple[str, str]]:
    """Return what links an example to others: its normalized query first, then its positives."""
    passages = example.positives if by == "passage" else ()
    return [("query", normalize_query(example.query)), *(("passage", id_) for id_ in passages)]
