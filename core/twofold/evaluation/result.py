"""The values of one setting on judged queries."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from twofold.errors import InputError
from twofold.evaluation.measures import parse_measure
from twofold.evaluation.significance import Interval, bootstrap_interval
from twofold.types import Mode, Run, Scores


@dataclass(frozen=True, slots=True, repr=False)
class Evaluation:
    """How good one setting is: ``measures`` are means over all judged ``queries``.

    ``per_query`` has the values behind them, by query id and measure, in the order of ``run``,
    which holds what was found; ``texts`` are the queries' as far as they are known. ``warnings``
    counts the queries whose hits came with a warning, by its text, most frequent first.
    ``unknown`` is the share of relevant passages that the index lacks, None where nobody looked.
    ``mode`` is None for a run from elsewhere.
    """

    mode: Mode | None
    queries: int
    measures: Mapping[str, float]
    run: Run
    name: str
    per_query: Mapping[str, Mapping[str, float]]
    texts: Mapping[str, str]
    settings: str
    warnings: Mapping[str, int]
    unknown: float | None

    def __repr__(self) -> str:
        told = ", ".join(f"{name} {value:.4f}" for name, value in self.measures.items())
        return f"<{self.name!r} on {self.queries:,} queries: {told}>"

    def values(self, measure: str) -> Scores:
        """Return a measure's value for each query (n,), in the order of ``per_query``.

        Raises InputError for a measure that was not taken.
        """
        name = str(parse_measure(measure))
        if name not in self.measures:
            taken = ", ".join(self.measures)
            raise InputError(f"{name} was not measured for {self.name!r}: it has {taken}")
        return np.array([found[name] for found in self.per_query.values()])

    def interval(self, measure: str, *, seed: int = 0) -> Interval:
        """Return a measure's mean with its 95% bootstrap interval over queries.

        Raises InputError for a measure that was not taken.
        """
        return bootstrap_interval(self.values(measure), seed=seed)
