"""The measured values of one system on judged queries."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from twofold.errors import InputError
from twofold.evaluation.measures import parse_measure
from twofold.evaluation.significance import Interval, bootstrap_interval
from twofold.types import Mode, Run, Scores


@dataclass(frozen=True, slots=True, repr=False)
class Evaluation:
    """The measures of one system, a retriever or a run, on judged queries.

    Attributes:
        mode: The retriever's mode, or None for a run of another system.
        queries: The number of judged queries.
        measures: Measure to mean over the queries.
        run: Query id to passage id to score, at most k passages per query.
        name: The system's name in tables and reports.
        per_query: Query id to measure to value, in the order of ``run``.
        texts: Query id to text; empty for a run without ``queries``.
        settings: The retriever's settings on one line.
        warnings: Warning text to the number of queries whose hits had it, most frequent first.
        missing_relevant: The share of the relevant passages that the index lacks; None for a run,
            or if no passage is relevant.
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
    missing_relevant: float | None

    def __repr__(self) -> str:
        means = ", ".join(f"{name} {value:.4f}" for name, value in self.measures.items())
        return f"<{self.name!r} on {self.queries:,} queries: {means}>"

    def values(self, measure: str) -> Scores:
        """Return a measure's value for each query (n,), in the order of ``per_query``.

        Raises:
            InputError: The measure is unknown or was not computed.
        """
        name = str(parse_measure(measure))
        if name not in self.measures:
            computed = ", ".join(self.measures)
            raise InputError(f"{name} was not computed for {self.name!r}: pass one of {computed}")
        return np.array([found[name] for found in self.per_query.values()])

    def interval(self, measure: str, *, seed: int = 0) -> Interval:
        """Return a measure's mean with its 95% bootstrap interval.

        Raises:
            InputError: The measure is unknown or was not computed.
        """
        return bootstrap_interval(self.values(measure), seed=seed)
