"""One setting beside others on the same queries: by how much, and whether that is chance."""

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

_NOISE = 1e-9  # below it, values that are equal on paper differ


@dataclass(frozen=True, slots=True)
class QueryDifference:
    """One query's values in both settings, and their difference."""

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
    """The subject's values minus those of one other setting.

    ``values`` (n,) are in the order of the subject's ``per_query``, ``interval`` is their paired
    bootstrap interval. ``p`` is that of a two-sided randomisation test; ``adjusted_p`` is Holm's,
    for all settings that the subject was compared with. ``needed`` judged queries, those at hand
    included, would settle a difference of this size and spread; None where there is none.
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
        """Queries on which the subject is better."""
        return int((self.values > 0).sum())

    @property
    def lost(self) -> int:
        """Queries on which the other setting is better."""
        return int((self.values < 0).sum())

    @property
    def tied(self) -> int:
        """Queries on which both are as good."""
        return int((self.values == 0).sum())

    def most_won(self, limit: int = 10) -> list[QueryDifference]:
        """Return the queries on which the subject is better, by how much, then by id."""
        return self._most(-self.values, limit)

    def most_lost(self, limit: int = 10) -> list[QueryDifference]:
        """Return the queries on which the other setting is better, by how much, then by id."""
        return self._most(self.values, limit)

    def _most(self, keys: Scores, limit: int) -> list[QueryDifference]:
        """Return the queries with negative keys, lowest first."""
        query_ids = list(self.subject.per_query)
        chosen = sorted(np.flatnonzero(keys < 0), key=lambda place: (keys[place], query_ids[place]))
        return [self._at(query_ids[place]) for place in chosen[:limit]]

    def _at(self, query_id: str) -> QueryDifference:
        text = self.subject.texts.get(query_id, self.other.texts.get(query_id, ""))
        ours, theirs = self.subject.per_query[query_id], self.other.per_query[query_id]
        return QueryDifference(query_id, text, ours[self.measure], theirs[self.measure])


@dataclass(frozen=True, slots=True, repr=False)
class Comparison:
    """One setting, the subject, compared with each of the others by one measure."""

    measure: str
    subject: Evaluation
    differences: tuple[Difference, ...]

    @property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """The subject and the others, in the order given."""
        return (self.subject, *(each.other for each in self.differences))

    def __repr__(self) -> str:
        own = self.subject.measures.get(self.measure, math.nan)
        others = ", ".join(
            f"{each.interval.mean:+.4f} [{each.interval.low:+.4f}, {each.interval.high:+.4f}] "
            f"over {each.other.name!r}, p {each.p:.3f}"
            for each in self.differences
        )
        return f"<{self.subject.name!r}: {self.measure} {own:.4f}, {others}>"


def compare(
    evaluations: Sequence[Evaluation],
    measure: str = MEASURES[0],
    *,
    subject: int = 0,
    seed: int = 0,
) -> Comparison:
    """Compare the evaluation at the place ``subject`` with each of the others, query by query.

    Differences are the subject's values minus the other's, so above 0 the subject is better.
    Several p values are adjusted by Holm's method. Raises InputError for fewer than two
    evaluations, for names that are not apart, for others than the same queries, and for a measure
    that was not taken.
    """
    names = [each.name for each in evaluations]
    if len(names) < 2 or len(set(names)) < len(names):
        raise InputError(
            f"two or more evaluations with different names are compared, not {names!r}: "
            "evaluate(..., name=...) names one"
        )
    if not -len(names) <= subject < len(names):
        raise InputError(f"subject is {subject}, and there are {len(names)} evaluations")
    chosen = evaluations[subject]
    compared = [
        _difference(chosen, each, str(parse_measure(measure)), seed)
        for each in evaluations
        if each is not chosen
    ]
    adjusted = holm([each.p for each in compared])
    return Comparison(
        str(parse_measure(measure)),
        chosen,
        tuple(
            replace(each, adjusted_p=value) for each, value in zip(compared, adjusted, strict=True)
        ),
    )


def _difference(subject: Evaluation, other: Evaluation, measure: str, seed: int) -> Difference:
    ours, theirs = subject.per_query.keys(), other.per_query.keys()
    if ours != theirs:
        apart = sorted(ours ^ theirs)
        raise InputError(
            f"{subject.name!r} and {other.name!r} were measured on different queries: "
            f"{len(apart):,} are in one of them only, such as {apart[0]!r}; evaluate both on the "
            "same"
        )
    of_other = dict(zip(theirs, other.values(measure).tolist(), strict=True))
    values = subject.values(measure) - np.array([of_other[query_id] for query_id in ours])
    values[np.abs(values) < _NOISE] = 0.0
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
