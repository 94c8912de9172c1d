"""Compares one system with others on the same queries, with significance tests."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from twofold.errors import InputError
from twofold.evaluation.measures import MEASURES, parse_measure
from twofold.evaluation.result import Evaluation
from twofold.evaluation.significance import (
    Interval,
    bootstrap_interval,
    holm,
    queries_needed,
    randomisation_test,
)
from twofold.types import Scores

_ROUNDING = 1e-9  # smaller differences are rounding errors


@dataclass(frozen=True, slots=True)
class QueryDifference:
    """The values of a measure for one query, by the subject and by the other system."""

    query_id: str
    text: str
    subject: float
    other: float

    @property
    def difference(self) -> float:
        """The subject's value minus the other's."""
        return self.subject - self.other


@dataclass(frozen=True, slots=True)
class Difference:
    """The differences of a measure between the subject and one other system, by query.

    ``values`` (n,) are the subject's values minus the other's, in the order of the subject's
    ``per_query``, and ``interval`` has their mean with its paired bootstrap interval. ``p`` is the
    two-sided p value of a randomisation test, and ``adjusted_p`` is adjusted by Holm's method for
    the number of other systems. ``needed`` is how many judged queries would make a difference of
    this size significant, or None if there is no difference.
    """

    measure: str
    subject: Evaluation
    other: Evaluation
    values: Scores
    interval: Interval
    p: float
    adjusted_p: float
    needed: int | None

    @property
    def won(self) -> int:
        """The number of queries on which the subject is better."""
        return int((self.values > 0).sum())

    @property
    def lost(self) -> int:
        """The number of queries on which the other system is better."""
        return int((self.values < 0).sum())

    @property
    def tied(self) -> int:
        """The number of queries on which both are equal."""
        return int((self.values == 0).sum())

    def most_won(self, limit: int = 10) -> list[QueryDifference]:
        """Return the queries on which the subject is better, largest difference first."""
        return self._lowest(-self.values, limit)

    def most_lost(self, limit: int = 10) -> list[QueryDifference]:
        """Return the queries on which the other system is better, largest difference first."""
        return self._lowest(self.values, limit)

    def _lowest(self, keys: Scores, limit: int) -> list[QueryDifference]:
        """Return up to ``limit`` queries with negative ``keys`` (n,), lowest first, then by id."""
        ids = list(self.subject.per_query)
        positions = sorted(np.flatnonzero(keys < 0), key=lambda at: (keys[at], ids[at]))
        return [self._query_difference(ids[position]) for position in positions[:limit]]

    def _query_difference(self, query_id: str) -> QueryDifference:
        text = self.subject.texts.get(query_id, self.other.texts.get(query_id, ""))
        ours, theirs = self.subject.per_query[query_id], self.other.per_query[query_id]
        return QueryDifference(query_id, text, ours[self.measure], theirs[self.measure])


@dataclass(frozen=True, slots=True, repr=False)
class Comparison:
    """One system, the subject, compared with each of the others by one measure."""

    measure: str
    subject: Evaluation
    differences: tuple[Difference, ...]

    @property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """The subject, then the others in the order passed to ``compare``."""
        return (self.subject, *(difference.other for difference in self.differences))

    def __repr__(self) -> str:
        mean = self.subject.measures.get(self.measure, math.nan)
        others = ", ".join(
            f"{row.interval.mean:+.4f} [{row.interval.low:+.4f}, {row.interval.high:+.4f}] "
            f"over {row.other.name!r}, p {row.p:.3f}"
            for row in self.differences
        )
        return f"<{self.subject.name!r}: {self.measure} {mean:.4f}, {others}>"


def compare(
    evaluations: Sequence[Evaluation],
    measure: str = MEASURES[0],
    *,
    subject: int = 0,
    seed: int = 0,
) -> Comparison:
    """Compare one evaluation, the subject, with each of the others, query by query.

    Args:
        evaluations: At least two, with different names and of the same queries.
        measure: The measure to compare.
        subject: The subject's position. Differences are positive where the subject is better.
        seed: Seeds the bootstrap and the tests.

    Raises:
        InputError: Names are repeated, queries differ, or the measure was not computed.
    """
    names = [evaluation.name for evaluation in evaluations]
    if len(names) < 2 or len(set(names)) < len(names):
        raise InputError(
            f"compare takes two or more evaluations with different names, got {names!r}: pass "
            "name=... to evaluate"
        )
    if not -len(names) <= subject < len(names):
        raise InputError(
            f"subject must be a position in the {len(names)} evaluations, got {subject}"
        )
    name, chosen = str(parse_measure(measure)), evaluations[subject]
    rows = [_compare_pair(chosen, e, name, seed) for e in evaluations if e is not chosen]
    adjusted = holm([row.p for row in rows])
    differences = (replace(row, adjusted_p=p) for row, p in zip(rows, adjusted, strict=True))
    return Comparison(name, chosen, tuple(differences))


def _compare_pair(subject: Evaluation, other: Evaluation, measure: str, seed: int) -> Difference:
    ours, theirs = subject.per_query.keys(), other.per_query.keys()
    if ours != theirs:
        unshared = sorted(ours ^ theirs)
        raise InputError(
            f"{subject.name!r} and {other.name!r} were measured on different queries: "
            f"{len(unshared):,} are in only one of them, such as {unshared[0]!r}; evaluate both "
            "on the same queries"
        )
    other_values = dict(zip(theirs, other.values(measure).tolist(), strict=True))
    values = subject.values(measure) - np.array([other_values[query_id] for query_id in ours])
    values[np.abs(values) < _ROUNDING] = 0.0
    p = randomisation_test(values, seed=seed)
    return Difference(
        measure=measure,
        subject=subject,
        other=other,
        values=values,
        interval=bootstrap_interval(values, seed=seed),
        p=p,
        adjusted_p=p,
        needed=queries_needed(values),
    )
