"""Measures retrievers and runs on judged queries."""

import json
import warnings
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from twofold.backend import Searchable
from twofold.errors import DegradedWarning, InputError
from twofold.evaluation.measures import (
    MEASURES,
    Qrels,
    check_qrels,
    check_run_scores,
    compute_measures,
    judged_queries,
    parse_measures,
    run_from_ranking,
)
from twofold.evaluation.result import Evaluation
from twofold.filters import parse_filter
from twofold.fusion import EnsembleFusion, QueryFusion
from twofold.results.hits import Hits
from twofold.retriever import Retriever
from twofold.retriever.search_plan import SearchPlan, plan_search
from twofold.types import Run


def evaluate(
    retriever: Retriever,
    queries: Mapping[str, str],
    qrels: Qrels,
    measures: Sequence[str] = MEASURES,
    *,
    k: int = 100,
    by: str | None = None,
    name: str | None = None,
) -> Evaluation:
    """Retrieve passages for each judged query and measure the rankings.

    A query without hits counts as 0. Measures without a cutoff, such as AP, use all hits retrieved.
    All measures break ties as trec_eval does: scores are compared in single precision, and of equal
    scores the greater id comes first, whatever the ranks.

    Fewer than ``k`` hits are retrieved if more would change the ranking: rerankers rerank at least
    k passages, and fusions of ranked lists depend on which lists a passage is in.

    Args:
        retriever: The retriever. One for LangChain or LlamaIndex has it as ``.retriever``.
        queries: Query id to text.
        qrels: Query id to passage id to relevance grade.
        measures: Names in the syntax of ir_measures.
        k: The number of hits to retrieve for each query.
        by: A metadata field whose values are judged in place of passages, such as ``"source"`` for
            files: ``qrels`` are query id to value to grade. Of several passages with one value, the
            best counts.
        name: The name in tables and reports. Default: the retriever's mode.

    Raises:
        InputError: The judgments or a measure can't be used, or no query is judged.

    Warns:
        DegradedWarning: Relevant passages are not in the index, judged queries have no text, or a
            measure has a cutoff above the number of hits.

    Example:
        >>> from twofold import Index, Retriever, evaluate
        >>> index = Index.open(None, encoder=None)
        >>> _ = index.upsert([{"id": "1", "text": "plants make food"}])
        >>> retriever = Retriever(index, mode="lexical")
        >>> evaluate(retriever, {"q": "food"}, {"q": {"1": 1}}, ["RR@10"]).measures
        {'RR@10': 1.0}
    """
    if not isinstance(retriever, Retriever):
        raise InputError(
            f"evaluate takes a twofold Retriever, got {type(retriever).__name__}: if that is a "
            "LangChain or LlamaIndex retriever, pass its .retriever"
        )
    parsed = parse_measures(measures)
    check_qrels(qrels)
    texts = judged_queries(queries, qrels, stacklevel=2)
    if by is not None:
        retriever = replace(retriever, group_by=by, per_group=1)
    measured = replace(retriever, k=_largest_k(retriever, k))
    mode = _plan(measured).mode
    retrieved = min(k, measured.k)
    _warn_of_cutoffs(parsed, retrieved, limited=retrieved < k)
    results = measured.retrieve_many(list(texts.values()))
    run: Run = {
        query_id: _scores_by_id(hits, k, by, by_rank=bool(measured.diversity))
        for query_id, hits in zip(texts, results, strict=True)
    }
    judged = {query_id: dict(qrels[query_id]) for query_id in texts}
    means, per_query = compute_measures(parsed, judged, run)
    return Evaluation(
        mode=mode,
        queries=len(texts),
        measures=means,
        run=run,
        name=name if name is not None else mode,
        per_query=per_query,
        texts=texts,
        settings=_describe_settings(measured),
        warnings=dict(Counter(text for hits in results for text in hits.warnings).most_common()),
        missing_relevant=_missing_relevant(retriever.index, judged, by),
    )


def evaluate_run(
    run: Mapping[str, Mapping[str, float]],
    qrels: Qrels,
    measures: Sequence[str] = MEASURES,
    *,
    name: str,
    queries: Mapping[str, str] | None = None,
) -> Evaluation:
    """Measure the run of any system: query id to passage id to score.

    A judged query that the run lacks counts as 0. With ``queries`` (query id to text), only they
    are measured. The other arguments are those of ``evaluate``, and so is the order of ties.

    Raises:
        InputError: The judgments, a score or a measure can't be used, or no query of the run is
            judged.
    """
    parsed = parse_measures(measures)
    check_qrels(qrels)
    judged = {
        query_id: dict(grades)
        for query_id, grades in qrels.items()
        if grades and (queries is None or query_id in queries)
    }
    if not any(query_id in run for query_id in judged):
        raise InputError(f"the run {name!r} has none of the judged queries: are these its qrels?")
    scores: Run = {
        query_id: check_run_scores(query_id, run.get(query_id, {})) for query_id in judged
    }
    means, per_query = compute_measures(parsed, judged, scores)
    return Evaluation(
        mode=None,
        queries=len(judged),
        measures=means,
        run=scores,
        name=name,
        per_query=per_query,
        texts={query_id: queries[query_id] for query_id in judged} if queries is not None else {},
        settings="run of another system",
        warnings={},
        missing_relevant=None,
    )


def _scores_by_id(hits: Hits, k: int, by: str | None, *, by_rank: bool) -> dict[str, float]:
    """Return scores by id of ``k`` hits; by ranks if scores, as of diverse hits, don't fall.

    With ``by``, the ids are the values of that field; hits without it are left out.
    """
    scores = hits.scores.tolist()
    if by_rank:
        ranked = run_from_ranking(hits.ids)
        scores = [ranked[passage_id] for passage_id in hits.ids]
    names: list[str | None] = list(hits.ids)
    if by is not None:
        names = [_field_as_id(passage.metadata, by) for passage in hits.passages]
    found: dict[str, float] = {}
    for name, score in zip(names, scores, strict=True):
        if name is not None and len(found) < k:
            found.setdefault(name, score)
    return found


def _field_as_id(metadata: Mapping[str, Any], by: str) -> str | None:
    """Return the value of a field as judgments name it, None without one."""
    value: Any = metadata
    for part in by.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return None if value is None else value if isinstance(value, str) else json.dumps(value)


def _plan(retriever: Retriever) -> SearchPlan:
    with retriever.index.open_search() as scope:
        return plan_search(scope, retriever.options)


def _largest_k(retriever: Retriever, k: int) -> int:
    """Return the largest number of hits up to ``k`` that leaves the ranking as it is."""
    if retriever.reranker is not None:
        return max(retriever.k, min(k, retriever.reranker.candidates))
    plan = _plan(retriever)
    if plan.mode != "hybrid" or not isinstance(plan.fusion, EnsembleFusion | QueryFusion):
        return k
    return max(retriever.k, min(k, plan.depth))  # a preset's depth is the retriever's k


def _warn_of_cutoffs(measures: Sequence[Any], k: int, *, limited: bool) -> None:
    """Warn of measures with a cutoff above ``k`` hits; ``limited`` if more change the ranking."""
    deeper = [str(measure) for measure in measures if measure.params.get("cutoff", 0) > k]
    if deeper:
        advice = "pass a larger k"
        if limited:
            advice = "set the retriever's own k: its ranking depends on it"
        warnings.warn(
            f"{', '.join(deeper)} see only the {k:,} hits retrieved: {advice}",
            DegradedWarning,
            stacklevel=3,
        )


def _describe_settings(retriever: Retriever) -> str:
    """Return a retriever's settings on one line, without the index."""
    plan = _plan(retriever)
    options = plan.options
    values: dict[str, Any] = {field.name: getattr(options, field.name) for field in fields(options)}
    values["scorer"] = plan.scorer
    if plan.mode == "hybrid":
        values |= {"fusion": plan.fusion, "depth": plan.depth}
    return ", ".join(
        f"{name}={value!r}"
        for name, value in values.items()
        if value is not None and value is not False
    )


def _missing_relevant(index: Searchable, qrels: Qrels, by: str | None) -> float | None:
    """Return the share of the relevant passages that the index lacks, and warn of them.

    With ``by``, it is the share of relevant values of that field; None if the backend can't list.
    """
    relevant = dict.fromkeys(
        passage_id for grades in qrels.values() for passage_id, grade in grades.items() if grade > 0
    )
    if not relevant:
        return None
    with index.open_search() as scope:
        present: Collection[str] = scope.find_keys(list(relevant))
        if by is not None:
            if scope.statistics is None:
                return None
            keys = scope.statistics.list_keys(parse_filter({by: {"$exists": True}}))
            if not len(keys):
                raise InputError(f"no passage has the field {by!r}: pass another as by")
            passages = scope.session.fetch(keys).passages
            present = {name for each in passages if (name := _field_as_id(each.metadata, by))}
    missing = [passage_id for passage_id in relevant if passage_id not in present]
    share = len(missing) / len(relevant)
    if missing:
        or_of_files = ", or of files (by='source', --by source)" if by is None else ""
        noun = "passages" if by is None else f"values of {by!r}"
        warnings.warn(
            f"{len(missing):,} of {len(relevant):,} relevant {noun} ({share:.1%}) are not in "
            f"the index, such as {missing[0]!r}, so no search finds them: are these qrels of this "
            f"corpus{or_of_files}?",
            DegradedWarning,
            stacklevel=3,
        )
    return share
