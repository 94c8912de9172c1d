"""Measures in ir_measures' grammar, computed for each query."""

import math
import warnings
from collections.abc import Mapping, Sequence
from subprocess import CalledProcessError
from typing import Any

import numpy as np

from twofold.errors import DegradedWarning, InputError
from twofold.types import Run

Judgments = Mapping[str, Mapping[str, int]]
"""Query id to passage id to grade; above 0 is relevant."""
MOST_GRADE = 1_000_000
"""Grades are counted one by one by trec_eval, which takes 8 bytes for each up to the highest."""


def check_judgments(qrels: Judgments) -> None:
    """Raise InputError for a grade that is no whole number, or too great a one."""
    for query_id, grades in qrels.items():
        for passage_id, grade in grades.items():
            whole = isinstance(grade, int | np.integer)
            if not whole or not -MOST_GRADE <= grade <= MOST_GRADE:
                raise InputError(
                    f"passage {passage_id!r} has the grade {grade!r:.40} for query {query_id!r}: a "
                    f"whole number up to {MOST_GRADE:,} is wanted"
                )


def checked_found(query_id: str, found: Mapping[str, float]) -> dict[str, float]:
    """Return what a run has for a query; raise InputError for a score that can't be ranked by."""
    if not isinstance(found, Mapping):
        raise InputError(
            f"the run has {found!r:.80} for query {query_id!r}: passage ids with their scores are "
            "wanted"
        )
    for passage_id, score in found.items():
        number = isinstance(score, int | float | np.number) and not isinstance(score, bool)
        if not number or not math.isfinite(score):
            raise InputError(
                f"passage {passage_id!r} of query {query_id!r} has the score {score!r:.40}: a "
                "finite number is wanted"
            )
    return {passage_id: float(score) for passage_id, score in found.items()}


def judged_queries(
    queries: Mapping[str, str], qrels: Judgments, *, stacklevel: int
) -> dict[str, str]:
    """Return the queries that have judgments; warn of judged ones that have no text.

    ``stacklevel`` is that of the warning, from here. Raises InputError if none is judged.
    """
    judged = {query_id: text for query_id, text in queries.items() if qrels.get(query_id)}
    if not judged:
        raise InputError("none of the queries has judgments: are these qrels of these queries?")
    lacking = [query_id for query_id, grades in qrels.items() if grades and query_id not in queries]
    if lacking:
        warnings.warn(
            f"{len(lacking):,} of {len(lacking) + len(judged):,} judged queries are not among the "
            f"queries, such as {lacking[0]!r}, and are not measured: are these all queries?",
            DegradedWarning,
            stacklevel=stacklevel + 1,
        )
    return judged


MEASURES = ("nDCG@10", "R@100", "RR@10", "AP")
"""What is measured unless something else is asked for, in ir_measures' grammar."""

MOST_CUTOFF = 1_000_000
"""Hits that a measure may look at."""

PerQuery = dict[str, dict[str, float]]
"""Query id to measure to value."""


def parse_measure(name: str) -> Any:
    """Return ir_measures' measure of a name; raise InputError for an unknown one."""
    import ir_measures

    if not isinstance(name, str):
        raise InputError(f"a measure is a name such as 'nDCG@10', not {name!r:.80}")
    try:
        measure: Any = ir_measures.parse_measure(name)
        measure.validate_params()
    except (NameError, ValueError, SyntaxError, TypeError, KeyError, AssertionError) as error:
        raise InputError(
            f"unknown measure {name!r:.80} ({error}): use ir_measures' names, such as nDCG@10, "
            "R@100, RR@10, AP or P@5"
        ) from error
    for parameter, most in (("cutoff", MOST_CUTOFF), ("rel", MOST_GRADE)):
        value = measure.params.get(parameter, 1)
        if not 1 <= value <= most:  # which ends the process in pytrec_eval
            raise InputError(
                f"{name!r:.80} has the {parameter} {value!r:.40}: a whole number from 1 to "
                f"{most:,} is wanted, as in nDCG@10 or P(rel=2)@5"
            )
    return measure


def parse_measures(names: Sequence[str]) -> list[Any]:
    """Return ir_measures' measures of names, each once; raise InputError for an unknown one."""
    if isinstance(names, str) or not names:
        raise InputError(f"measures is {names!r}: a list of names is wanted, such as ['nDCG@10']")
    return list(dict.fromkeys(parse_measure(each) for each in names))


def compute_measures(
    measures: Sequence[Any], qrels: Mapping[str, Mapping[str, int]], run: Run
) -> tuple[dict[str, float], PerQuery]:
    """Return the means over all judged queries, and the values of each, as ir_measures has them.

    Raises InputError for a measure that can't be computed here, or whose aggregate is no mean over
    all judged queries, such as a count.
    """
    import ir_measures

    names = ", ".join(map(str, measures))
    try:
        result: Any = ir_measures.calc(list(measures), qrels, run)
    except (
        ValueError,
        TypeError,
        LookupError,
        AssertionError,
        ArithmeticError,
        CalledProcessError,
    ) as error:
        raise InputError(f"ir_measures can't compute {names} here: {error}") from error
    by_query: PerQuery = {query_id: {} for query_id in qrels}
    for each in result.per_query:
        by_query[each.query_id][str(each.measure)] = float(each.value)
    means: dict[str, float] = {}
    for measure in measures:
        name, mean = str(measure), float(result.aggregated[measure])
        values = [found.get(name, math.nan) for found in by_query.values()]
        if not math.isclose(sum(values) / len(values), mean, rel_tol=1e-9, abs_tol=1e-12):
            raise InputError(
                f"{name} is no mean over the judged queries (a count, or not defined for all): use "
                "a measure such as nDCG@10, R@100, RR@10, AP or P@5"
            )
        means[name] = mean
    return means, by_query
