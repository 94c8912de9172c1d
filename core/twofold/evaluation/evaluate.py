"""How good a retriever is on judged queries, by ir_measures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twofold.errors import InputError
from twofold.retriever import Retriever

MEASURES = ("nDCG@10", "R@100", "RR@10", "AP")
"""What is measured unless something else is asked for, in ir_measures' grammar."""

Run = dict[str, dict[str, float]]
"""Query id to passage id to score."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The means over all judged queries; ``run`` holds what was found, by query."""

    mode: str
    queries: int
    measures: Mapping[str, float]
    run: Run


def evaluate(
    retriever: Retriever,
    queries: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
    measures: Sequence[str] = MEASURES,
    *,
    k: int = 100,
) -> Evaluation:
    """Retrieve ``k`` passages for each judged query and measure them.

    A judged query for which nothing is found counts as 0. Raises InputError for a measure that
    ir_measures doesn't know, and if no query is judged.
    """
    import ir_measures

    wanted = [_measure(name) for name in measures]
    judged = [query_id for query_id in queries if query_id in qrels]
    if not judged:
        raise InputError("none of the queries has judgments: are these qrels of these queries?")
    found = retriever.retrieve_many([queries[query_id] for query_id in judged], k=k)
    run: Run = {
        query_id: dict(zip(hits.ids, hits.scores.tolist(), strict=True))
        for query_id, hits in zip(judged, found, strict=True)
    }
    kept = {query_id: dict(qrels[query_id]) for query_id in judged}
    values = ir_measures.calc_aggregate(wanted, kept, run)
    return Evaluation(
        mode=retriever.mode,
        queries=len(judged),
        measures={str(measure): float(values[measure]) for measure in wanted},
        run=run,
    )


def _measure(name: str) -> Any:
    import ir_measures

    try:
        return ir_measures.parse_measure(name)
    except (NameError, ValueError, SyntaxError) as error:
        raise InputError(
            f"unknown measure {name!r} ({error}): use ir_measures' names, such as nDCG@10, R@100, "
            "RR@10, AP or P@5"
        ) from error
