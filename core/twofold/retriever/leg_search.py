"""Searching both legs, and scoring the candidates of each leg by the other."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial

import numpy as np

from twofold.backend import CompletedScores, Completion, Keys, SearchScope, SearchSession
from twofold.concurrency import run_parallel
from twofold.errors import QueryError
from twofold.fusion import LegScores
from twofold.protocols import Observer, Scorer, Stage
from twofold.retriever.candidates import CandidateSet, LegResults, QueryInput, merge_legs
from twofold.retriever.search_plan import SearchPlan
from twofold.similarity import Metric
from twofold.types import Leg, LegHits, Vectors
from twofold.validation import check_queries

SPLIT = 32
"""Fewest queries in each half of a lexical batch for which a second thread pays."""
_VANISHING = 2.0**-150
"""The largest number that float32 rounds to zero."""
PARALLEL = 10_000
"""Passages from which one query searches both legs in parallel."""


def encode_inputs(
    scope: SearchScope,
    plan: SearchPlan,
    texts: Sequence[str] | None,
    vectors: Vectors | None,
) -> list[QueryInput]:
    """Check queries; return them with passed or encoded vectors; blank texts are not encoded.

    Raises:
        QueryError: A query is invalid, or the options need a text and only vectors were passed.
    """
    check_queries(texts, vectors)
    options = plan.options
    if texts is None:
        assert vectors is not None  # one of the two is given
        needs = {
            "mode 'lexical'": plan.mode == "lexical",
            "min_lexical": options.min_lexical is not None,
            "a reranker": options.reranker is not None,
        }
        for name, needed in needs.items():
            if needed:
                raise QueryError(f"{name} needs a query text, got a vector only: pass both")
        return [_query_input(scope, None, vector, given=True) for vector in vectors]
    if plan.mode == "lexical":
        return [QueryInput(text, None) for text in texts]
    if vectors is not None:
        return [
            _query_input(scope, text, vector, given=True)
            for text, vector in zip(texts, vectors, strict=True)
        ]
    spoken = [text for text in texts if text.strip()]
    if not spoken:
        return [QueryInput(text, None) for text in texts]
    with options.observer.stage("encode") if options.observer is not None else nullcontext():
        encoded = iter(scope.encode_queries(spoken))
    return [
        _query_input(scope, text, next(encoded)) if text.strip() else QueryInput(text, None)
        for text in texts
    ]


def _query_input(
    scope: SearchScope, text: str | None, vector: Vectors, *, given: bool = False
) -> QueryInput:
    """Return a query; its vector is None if it has no cosine, which the metric needs."""
    corpus = scope.session.corpus
    needs_length = corpus.metric is Metric.COSINE and vector.shape == (corpus.dim,)
    if needs_length and (np.abs(vector) <= _VANISHING).all():  # false for NaN, which is refused
        return QueryInput(text, None)
    return QueryInput(text, vector, given)


def search_legs(
    scope: SearchScope, plan: SearchPlan, queries: Sequence[QueryInput], limit: int
) -> list[LegResults]:
    """Search the legs of the plan's mode for ``limit`` passages per query.

    FAISS and numba release the GIL, so that the two searches overlap.
    """
    mode, session, observer = plan.mode, scope.session, plan.options.observer
    texts = [query.text for query in queries if query.text is not None]
    vectors = [query.vector for query in queries if query.vector is not None]
    dense: Callable[[], list[LegHits]] = list
    if vectors:
        matrix = vectors[0][None, :] if len(vectors) == 1 else np.stack(vectors)
        dense = partial(session.search_dense, matrix, limit, plan.where, plan.effort)
    if len(vectors) < len(queries):
        dense = partial(_add_empty, dense, queries)
    lexical = partial(session.search_lexical, texts, limit, plan.where, plan.scorer)
    if mode == "lexical" and len(texts) >= 2 * SPLIT:
        lexical = partial(_search_halves, session, texts, limit, plan)
    if observer is not None:
        dense = partial(run_stage, observer, "dense", scope, dense)
        lexical = partial(run_stage, observer, "lexical", scope, lexical)
    if mode == "dense" or not texts:
        return [{"dense": hits} for hits in dense()]
    if mode == "lexical":
        return [{"lexical": hits} for hits in lexical()]
    if len(queries) == 1 and session.corpus.passages < PARALLEL:
        both = dense(), lexical()
    else:
        both = run_parallel(dense, lexical)
    return [
        {"dense": dense_hits, "lexical": lexical_hits}
        for dense_hits, lexical_hits in zip(*both, strict=True)
    ]


def _add_empty(search: Callable[[], list[LegHits]], queries: Sequence[QueryInput]) -> list[LegHits]:
    """Call ``search`` for the queries with a vector; return empty hits for the other ones."""
    found = iter(search())
    return [next(found) if query.vector is not None else LegHits.empty() for query in queries]


def _search_halves(
    session: SearchSession, texts: Sequence[str], limit: int, plan: SearchPlan
) -> list[LegHits]:
    """Search the lexical leg with half of the texts on a second thread."""
    half = len(texts) // 2
    first, second = run_parallel(
        lambda: session.search_lexical(texts[:half], limit, plan.where, plan.scorer),
        lambda: session.search_lexical(texts[half:], limit, plan.where, plan.scorer),
    )
    return first + second


def complete_legs(
    scope: SearchScope, plan: SearchPlan, queries: Sequence[QueryInput], found: Sequence[LegResults]
) -> list[CandidateSet]:
    """Score all passages of the lists ``found`` by both legs, in one call, and fuse the scores.

    A query without a vector has the lexical leg's scores.
    """
    alone = [_only_leg(query, lists) for query, lists in zip(queries, found, strict=True)]
    if all(alone):
        return [CandidateSet.from_one_leg(*one) for one in alone if one is not None]
    fused = [at for at, one in enumerate(alone) if one is None]
    scored = iter(
        score_candidates(
            scope, [queries[at] for at in fused], [found[at] for at in fused], plan.scorer
        )
    )
    candidates = []
    for one in alone:
        if one is not None:
            candidates.append(CandidateSet.from_one_leg(*one))
            continue
        keys, legs = next(scored)
        fusion = plan.fusion.fuse(legs["dense"], legs["lexical"])
        candidates.append(CandidateSet(keys, legs, fusion, fusion.scores))
    return candidates


def _only_leg(query: QueryInput, lists: LegResults) -> tuple[Leg, LegHits] | None:
    """Return the leg that alone scores a query with its hits, or None if both do."""
    if len(lists) == 1:
        return next(iter(lists.items()))
    if query.vector is None and len(lists["lexical"].keys):
        return "lexical", lists["lexical"]
    return None


def score_candidates(
    scope: SearchScope,
    queries: Sequence[QueryInput],
    found: Sequence[LegResults],
    scorer: Scorer | None,
) -> list[tuple[Keys, dict[Leg, LegScores]]]:
    """Return, for each query, the keys of both legs' lists and their scores in both legs.

    A passage that a leg doesn't list has the score NaN there if the engine can't compute one.
    """
    wanted = [
        Completion(query.text, query.vector, lists["lexical"].keys, lists["dense"].keys, scorer)
        for query, lists in zip(queries, found, strict=True)
    ]
    if scope.capabilities.completes:
        completed = scope.session.complete(wanted)
    else:
        completed = [
            CompletedScores(
                np.full(len(query.dense_keys), np.nan), np.full(len(query.lexical_keys), np.nan)
            )
            for query in wanted
        ]
    return [
        merge_legs(scope, query, scorer, lists, scores)
        for query, lists, scores in zip(queries, found, completed, strict=True)
    ]


def run_stage(
    observer: Observer, stage: Stage, scope: SearchScope, search: Callable[[], list[LegHits]]
) -> list[LegHits]:
    """Return the hits of ``search``, run as a stage whose results the observer gets."""
    with observer.stage(stage) as report:
        found = search()
        if report is not None:
            report(
                [
                    list(zip(scope.ids(hits.keys), hits.scores.tolist(), strict=True))
                    for hits in found
                ]
            )
        return found
