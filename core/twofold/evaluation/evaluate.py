"""How good a retriever is on judged queries, by ir_measures."""

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Protocol, runtime_checkable

from twofold.errors import DegradedWarning, InputError
from twofold.evaluation.measures import (
    MEASURES,
    Judgments,
    check_judgments,
    checked_found,
    compute_measures,
    judged_queries,
    parse_measures,
)
from twofold.evaluation.result import Evaluation
from twofold.fusion import EnsembleFusion, QueryFusion
from twofold.results.hits import Hits
from twofold.retriever import Retriever
from twofold.types import Passage, Run


@runtime_checkable
class RetrieverSource(Protocol):
    """A store that looks passages up by id."""

    def get(self, ids: Iterable[str]) -> Sequence[Passage]:
        """Return the passages of these ids; unknown ones are left out."""
        ...


def evaluate(
    retriever: Retriever,
    queries: Mapping[str, str],
    qrels: Judgments,
    measures: Sequence[str] = MEASURES,
    *,
    k: int = 100,
    name: str | None = None,
) -> Evaluation:
    """Retrieve ``k`` passages for each judged query and measure them.

    The retriever is measured as it is used: where k changes what is compared, it is not asked for
    more than it would be. With a reranker that is the greater of its own k and the number of
    candidates read; with a preset (``preset``), or another fusion of lists, its own k or its depth.

    A judged query for which nothing is found counts as 0. Measures without a cutoff, such as AP,
    see all hits retrieved. ``name`` is what tables call this setting, the mode if left out. Where
    scores tie, trec_eval puts the later id first, whatever the ranks, and so do most measures here.

    Warns (DegradedWarning) where passages that were judged relevant are not in the index, where
    judged queries have no text, and where a measure looks below the hits retrieved. Raises
    InputError for judgments or a measure that can't be used, and if no query is judged.
    """
    if not isinstance(retriever, Retriever):
        raise InputError(
            f"a twofold Retriever is measured, not {type(retriever).__name__}: a retriever of an "
            "adapter has one as .retriever"
        )
    wanted = parse_measures(measures)
    check_judgments(qrels)
    judged = judged_queries(queries, qrels, stacklevel=2)
    asked = replace(retriever, k=_asked_k(retriever, k))
    hits_seen = min(k, asked.k)
    _warn_of_depth(wanted, hits_seen, capped=hits_seen < k)
    found = asked.retrieve_many(list(judged.values()))
    run: Run = {
        query_id: dict(zip(hits.ids[:k], _ordering(asked, hits)[:k], strict=True))
        for query_id, hits in zip(judged, found, strict=True)
    }
    kept = {query_id: dict(qrels[query_id]) for query_id in judged}
    means, by_query = compute_measures(wanted, kept, run)
    return Evaluation(
        mode=retriever.mode,
        queries=len(judged),
        measures=means,
        run=run,
        name=name if name is not None else retriever.mode,
        per_query=by_query,
        texts=judged,
        settings=_settings(asked),
        warnings=dict(Counter(said for hits in found for said in hits.warnings).most_common()),
        unknown=_unknown(retriever.index, kept),
    )


def evaluate_run(
    run: Mapping[str, Mapping[str, float]],
    qrels: Judgments,
    measures: Sequence[str] = MEASURES,
    *,
    name: str,
    queries: Mapping[str, str] | None = None,
) -> Evaluation:
    """Measure what any system found, query id to passage id to score.

    All judged queries count, or those of them that ``queries`` (id to text) has; one that the run
    lacks counts as 0. Measures see all that the run holds. Raises InputError for judgments, scores
    or a measure that can't be used, and if the run has none of the judged queries.
    """
    wanted = parse_measures(measures)
    check_judgments(qrels)
    kept = {
        query_id: dict(grades)
        for query_id, grades in qrels.items()
        if grades and (queries is None or query_id in queries)
    }
    if not any(query_id in run for query_id in kept):
        raise InputError(f"the run {name!r} has none of the judged queries: are these its qrels?")
    own: Run = {query_id: checked_found(query_id, run.get(query_id, {})) for query_id in kept}
    means, by_query = compute_measures(wanted, kept, own)
    return Evaluation(
        mode=None,
        queries=len(kept),
        measures=means,
        run=own,
        name=name,
        per_query=by_query,
        texts={query_id: queries[query_id] for query_id in kept} if queries is not None else {},
        settings="a run from elsewhere",
        warnings={},
        unknown=None,
    )


def _ordering(retriever: Retriever, hits: Hits) -> list[float]:
    """Return scores in the order of the hits: with diversity their own are not, so by rank."""
    if retriever.diversity:
        return [float(len(hits) - place) for place in range(len(hits))]
    scores: list[float] = hits.scores.tolist()
    return scores


def _asked_k(retriever: Retriever, k: int) -> int:
    """Return for how many hits a retriever is asked, so that it stays what it is.

    A reranker reads as many passages as there are hits wanted, if these are more than its
    candidates; and where a leg's score counts for what it lists alone, longer lists change scores.
    """
    if retriever.reranker is not None:
        return max(retriever.k, min(k, retriever.reranker.candidates))
    with retriever.index.view() as view:
        rules = retriever.rules(view)
    by_lists = isinstance(rules.fusion, EnsembleFusion | QueryFusion)
    if retriever.mode != "hybrid" or not by_lists:
        return k
    return max(retriever.k, min(k, rules.depth))  # which is the retriever's k in a preset


def _warn_of_depth(measures: Sequence[Any], k: int, *, capped: bool) -> None:
    """Warn of measures that look at more hits than are retrieved."""
    deep = [str(each) for each in measures if each.params.get("cutoff", 0) > k]
    if deep:
        more = (
            "this retriever compares others for another k, so give it a larger one itself"
            if capped
            else "a larger k gives all"
        )
        warnings.warn(
            f"{', '.join(deep)} see no more than the {k:,} hits retrieved: {more}",
            DegradedWarning,
            stacklevel=3,
        )


def _settings(retriever: Retriever) -> str:
    """Return a retriever's settings in one line, all but the index."""
    with retriever.index.view() as view:
        rules = retriever.rules(view)
    values: dict[str, Any] = {
        each.name: getattr(retriever, each.name)
        for each in fields(retriever)
        if each.name != "index"
    }
    values["scorer"] = rules.scorer
    if retriever.mode == "hybrid":
        values |= {"fusion": rules.fusion, "depth": rules.depth}
    return ", ".join(
        f"{name}={value!r}"
        for name, value in values.items()
        if value is not None and value is not False
    )


def _unknown(index: object, qrels: Judgments) -> float | None:
    """Return the share of the relevant passages that an index lacks, and warn of them.

    None where the store can't look passages up.
    """
    relevant = dict.fromkeys(
        passage_id for grades in qrels.values() for passage_id, grade in grades.items() if grade > 0
    )
    if not isinstance(index, RetrieverSource) or not relevant:
        return None
    present = {passage.id for passage in index.get(list(relevant))}
    lacking = [passage_id for passage_id in relevant if passage_id not in present]
    if lacking:
        share = len(lacking) / len(relevant)
        warnings.warn(
            f"{len(lacking):,} of {len(relevant):,} relevant passages ({share:.1%}) are not in "
            f"the index, such as {lacking[0]!r}: nothing can find them; are these qrels of this "
            "corpus?",
            DegradedWarning,
            stacklevel=3,
        )
    return len(lacking) / len(relevant)
