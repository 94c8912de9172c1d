"""Checks qrels, runs and measure names, and computes measures with ir_measures."""

import math
import warnings
from collections.abc import Mapping, Sequence
from subprocess import CalledProcessError
from typing import Any

import numpy as np

from twofold.errors import DegradedWarning, InputError
from twofold.types import Run, Scores
from twofold.validation import check_integer, is_number

Qrels = Mapping[str, Mapping[str, int]]
"""Query id to passage id to grade; passages of grades above 0 are relevant, others are not."""
PerQuery = dict[str, dict[str, float]]
"""Query id to measure to value."""
MEASURES = ("nDCG@10", "R@100", "RR@10", "AP")
"""The default measures, in the syntax of ir_measures."""
MAX_GRADE = 1_000_000
"""The highest grade: trec_eval allocates 8 bytes for each possible grade."""
MAX_CUTOFF = 1_000_000


def check_qrels(qrels: Qrels) -> None:
    """Raise InputError unless every grade is an integer from -MAX_GRADE to MAX_GRADE."""
    for query_id, grades in qrels.items():
        for passage_id, grade in grades.items():
            integer = isinstance(grade, int | np.integer)
            if not integer or not -MAX_GRADE <= grade <= MAX_GRADE:
                raise InputError(
                    f"the grade of passage {passage_id!r} for query {query_id!r} must be an "
                    f"integer up to {MAX_GRADE:,}, got {grade!r:.40}"
                )


def check_run_scores(query_id: str, scores: Mapping[str, float]) -> dict[str, float]:
    """Return one query's scores by passage id; raise InputError unless they are finite numbers."""
    if not isinstance(scores, Mapping):
        raise InputError(
            f"the run must map query {query_id!r} to scores by passage id, got {scores!r:.80}"
        )
    for passage_id, score in scores.items():
        if not is_number(score):
            raise InputError(
                f"the score of passage {passage_id!r} for query {query_id!r} must be a finite "
                f"number, got {score!r:.40}"
            )
    return {passage_id: float(score) for passage_id, score in scores.items()}


def judged_queries(queries: Mapping[str, str], qrels: Qrels, *, stacklevel: int) -> dict[str, str]:
    """Return the queries that have judgments, and warn of judged queries without a text.

    Raises:
        InputError: None of the queries has judgments.
    """
    judged = {query_id: text for query_id, text in queries.items() if qrels.get(query_id)}
    if not judged:
        raise InputError("none of the queries has judgments: are these qrels of these queries?")
    missing = [query_id for query_id, grades in qrels.items() if grades and query_id not in queries]
    if missing:
        warnings.warn(
            f"{len(missing):,} of {len(missing) + len(judged):,} judged queries are not among the "
            f"queries, such as {missing[0]!r}, and are not measured: are these all queries?",
            DegradedWarning,
            stacklevel=stacklevel + 1,
        )
    return judged


def parse_measure(name: str) -> Any:
    """Return the ir_measures measure of a name; raise InputError if it is unknown."""
    import ir_measures

    if not isinstance(name, str):
        raise InputError(f"a measure must be a name such as 'nDCG@10', got {name!r:.80}")
    try:
        measure: Any = ir_measures.parse_measure(name)
        measure.validate_params()
    except (NameError, ValueError, SyntaxError, TypeError, KeyError, AssertionError) as error:
        raise InputError(
            f"unknown measure {name!r:.80} ({error}): use ir_measures' names, such as nDCG@10, "
            "R@100, RR@10, AP or P@5"
        ) from error
    # pytrec_eval ends the process for values out of range.
    for parameter, maximum in (("cutoff", MAX_CUTOFF), ("rel", MAX_GRADE)):
        value = measure.params.get(parameter, 1)
        check_integer(f"the {parameter} of {name!r:.80}", value, 1, maximum)
    return measure


def parse_measures(names: Sequence[str]) -> list[Any]:
    """Parse measure names into objects of ir_measures, dropping duplicates."""
    if isinstance(names, str) or not names:
        raise InputError(f"measures must be a list of names, such as ['nDCG@10'], got {names!r}")
    return list(dict.fromkeys(parse_measure(name) for name in names))


def compute_measures(
    measures: Sequence[Any], qrels: Qrels, run: Run
) -> tuple[dict[str, float], PerQuery]:
    """Return each measure's mean over all judged queries, and its value for each query.

    All measures see the order of ``order_as_trec_eval``, whichever library computes them.

    Raises:
        InputError: A measure can't be computed here, or is no mean over queries, such as a count.
    """
    import ir_measures

    names = ", ".join(map(str, measures))
    grades, scores = _number_ids(qrels, run)
    try:
        result: Any = ir_measures.calc(list(measures), grades, scores)
    except (
        ValueError,
        TypeError,
        LookupError,
        AssertionError,
        ArithmeticError,
        CalledProcessError,
    ) as error:
        raise InputError(f"ir_measures can't compute {names} here: {error}") from error
    by_number: PerQuery = {number: {} for number in grades}
    for metric in result.per_query:
        by_number[metric.query_id][str(metric.measure)] = float(metric.value)
    per_query = dict(zip(qrels, by_number.values(), strict=True))
    means: dict[str, float] = {}
    for measure in measures:
        name, mean = str(measure), float(result.aggregated[measure])
        values = [found.get(name, math.nan) for found in per_query.values()]
        if not math.isclose(sum(values) / len(values), mean, rel_tol=1e-9, abs_tol=1e-12):
            raise InputError(
                f"{name} is no mean over the judged queries (a count, or not defined for all): use "
                "a measure such as nDCG@10, R@100, RR@10, AP or P@5"
            )
        means[name] = mean
    return means, per_query


def _number_ids(qrels: Qrels, run: Run) -> tuple[dict[str, dict[str, int]], Run]:
    """Return qrels and the run of the judged queries with numbers for ids, and without ties.

    The libraries behind ir_measures break ties in different ways, and cut ids at NUL or at blanks.
    Grades below 0 become 0, because trec_eval ends the process if a query has no others.
    """
    grades: dict[str, dict[str, int]] = {}
    scores: Run = {}
    for number, (query_id, judged) in enumerate(qrels.items()):
        ranking = order_as_trec_eval(run[query_id]) if query_id in run else []
        numbers = {id_: str(n) for n, id_ in enumerate(dict.fromkeys([*judged, *ranking]))}
        grades[str(number)] = {numbers[id_]: max(int(grade), 0) for id_, grade in judged.items()}
        if query_id in run:
            scores[str(number)] = run_from_ranking([numbers[id_] for id_ in ranking])
    return grades, scores


def measure_rankings(rankings: Mapping[str, Sequence[str]], qrels: Qrels, measure: str) -> Scores:
    """Return a measure of each ranking (n,); ``rankings``: query id to passage ids, best first."""
    parsed = parse_measure(measure)
    run = {query_id: run_from_ranking(ids) for query_id, ids in rankings.items()}
    _, per_query = compute_measures([parsed], qrels, run)
    return np.array([per_query[query_id][str(parsed)] for query_id in rankings])


def order_as_trec_eval(scores: Mapping[str, float]) -> list[str]:
    """Return passage ids as trec_eval orders them, which ignores ranks.

    The higher score comes first. Scores are compared in single precision, and of equal scores the
    greater id comes first.
    """
    with np.errstate(over="ignore"):
        single = np.fromiter(scores.values(), np.float64, len(scores)).astype(np.float32)
    ordered = sorted(zip(single.tolist(), scores, strict=True), reverse=True)
    return [passage_id for _, passage_id in ordered]


def run_from_ranking(ids: Sequence[str]) -> dict[str, float]:
    """Return scores by passage id, descending without ties, for ids in ranked order."""
    return {passage_id: float(len(ids) - rank) for rank, passage_id in enumerate(ids)}
