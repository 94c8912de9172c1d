"""A measured state to compare later ones with, query by query, such as in CI."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from twofold.errors import InputError
from twofold.evaluation.result import Evaluation
from twofold.evaluation.significance import (
    LEVEL,
    Interval,
    bootstrap_interval,
    detectable_difference,
    holm,
    randomisation_test,
)
from twofold.types import Scores

_KIND, _FORMAT = "twofold-baseline", 1
_ROUNDING = 1e-9  # smaller differences are rounding errors
_LISTED = 10


@dataclass(frozen=True, slots=True)
class Baseline:
    """The measures of each query at one time.

    Attributes:
        name: The name of the evaluation: a mode, or that of a run.
        settings: The retriever's settings on one line.
        values: Measure to query id to value.

    Example:
        >>> from twofold import Index, Retriever, evaluate
        >>> from twofold.evaluation import Baseline
        >>> index = Index.open(None, encoder=None)
        >>> _ = index.upsert([{"id": "1", "text": "plants make food"}])
        >>> result = evaluate(Retriever(index, mode="lexical"), {"q": "food"}, {"q": {"1": 1}})
        >>> Baseline.from_evaluation(result).values["nDCG@10"]
        {'q': 1.0}
    """

    name: str
    settings: str
    values: Mapping[str, Mapping[str, float]]

    @classmethod
    def from_evaluation(cls, evaluation: Evaluation) -> "Baseline":
        """Return an evaluation's values."""
        ids = list(evaluation.per_query)
        values = {
            measure: {one: evaluation.per_query[one][measure] for one in ids}
            for measure in evaluation.measures
        }
        return cls(evaluation.name, evaluation.settings, values)

    @classmethod
    def read(cls, path: Path) -> "Baseline":
        """Read a file that `write` wrote.

        Raises:
            InputError: The file is missing, or no baseline.
        """
        try:
            stored: Any = json.loads(path.read_text(encoding="utf-8"))
            if (stored["kind"], stored["format"]) != (_KIND, _FORMAT):
                raise ValueError(f"this version reads format {_FORMAT}")
            values = {
                str(measure): {str(one): float(value) for one, value in row.items()}
                for measure, row in stored["values"].items()
            }
            if not values or not all(values.values()):
                raise ValueError("it has no values")
            if not all(math.isfinite(value) for row in values.values() for value in row.values()):
                raise ValueError("a value is not finite")
            return cls(str(stored["name"]), str(stored["settings"]), values)
        except FileNotFoundError:
            raise InputError(
                f"there is no baseline {path}: write one with `twofold check ... --save`"
            ) from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(
                f"{path} is no baseline ({error}): write one with `twofold check ... --save`"
            ) from None

    def write(self, path: Path) -> None:
        """Write the baseline as JSON, for `read`."""
        stored = {
            "kind": _KIND,
            "format": _FORMAT,
            "name": self.name,
            "settings": self.settings,
            "values": {measure: dict(sorted(row.items())) for measure, row in self.values.items()},
        }
        path.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True, slots=True)
class BaselineChange:
    """How one measure has changed since a baseline, on the queries of both.

    Attributes:
        measure: The measure.
        before: Its mean in the baseline.
        now: Its mean now.
        change: The mean difference with its paired bootstrap interval.
        p: The p value of the difference by a randomisation test, adjusted by Holm's method for
            the number of measures.
        detectable: The smallest change that so many queries show with a probability of 0.8;
            infinite if that can't be told.
        queries: Number of queries that both have.
        unmatched: Number of queries that only one of them has.
        worst: Ids of the queries that lost most.
    """

    measure: str
    before: float
    now: float
    change: Interval
    p: float
    detectable: float
    queries: int
    unmatched: int
    worst: tuple[str, ...]

    @property
    def has_fallen(self) -> bool:
        """Whether the measure has fallen by more than chance explains."""
        return self.change.mean < 0 and self.p <= 1 - LEVEL


def compare_with_baseline(evaluation: Evaluation, baseline: Baseline) -> list[BaselineChange]:
    """Compare an evaluation with a baseline, for each measure that both have.

    Raises:
        InputError: They have no measure or no query in common.
    """
    now = Baseline.from_evaluation(evaluation).values
    measures = [measure for measure in baseline.values if measure in now]
    if not measures:
        raise InputError(
            f"the baseline has {', '.join(baseline.values)}, and {', '.join(now)} was measured: "
            "measure one of the baseline's"
        )
    changes: list[BaselineChange] = []
    for measure in measures:
        before, after = baseline.values[measure], now[measure]
        common = [one for one in after if one in before]
        if not common:
            raise InputError("the baseline has none of these queries: write a new one with --save")
        first = np.array([before[one] for one in common])
        second = np.array([after[one] for one in common])
        differences = second - first
        differences[np.abs(differences) < _ROUNDING] = 0.0
        lost = sorted(np.flatnonzero(differences < 0).tolist(), key=lambda at: differences[at])
        changes.append(
            BaselineChange(
                measure=measure,
                before=float(first.mean()),
                now=float(second.mean()),
                change=bootstrap_interval(differences),
                p=randomisation_test(differences),
                detectable=_detectable(differences, first, len(measures)),
                queries=len(common),
                unmatched=len(before.keys() ^ after.keys()),
                worst=tuple(common[at] for at in lost[:_LISTED]),
            )
        )
    adjusted = holm([change.p for change in changes])
    return [replace(change, p=p) for change, p in zip(changes, adjusted, strict=True)]


def _detectable(differences: Scores, before: Scores, measures: int) -> float:
    """Return the smallest change that is likely seen, infinite if none could be significant.

    Without any difference, the spread of the values themselves bounds it.
    """
    chance = (1 - LEVEL) / measures  # the largest p that counts, by Holm's method
    if 2.0 ** (1 - len(differences)) > chance:  # the least p of so many queries
        return math.inf
    values = differences if differences.std() > 0 else before
    return detectable_difference(values, level=1 - chance) if values.std() > 0 else math.inf
