"""Judgments and what was found, checked before they are measured."""

import math
import warnings
from collections.abc import Mapping

import numpy as np

from twofold.errors import DegradedWarning, InputError

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
