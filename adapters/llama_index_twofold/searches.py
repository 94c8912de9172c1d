"""LlamaIndex's queries of a vector store, in the core's words."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode

from llama_index_twofold.filters import restricted
from twofold import Retriever
from twofold.integrations.options import refuse_unknown
from twofold.results.hits import Hits
from twofold.retriever import DEPTH
from twofold.types import Mode, Vectors

_MODES: dict[VectorStoreQueryMode, Mode] = {
    VectorStoreQueryMode.DEFAULT: "dense",
    VectorStoreQueryMode.MMR: "dense",
    VectorStoreQueryMode.HYBRID: "hybrid",
    VectorStoreQueryMode.SPARSE: "lexical",
    VectorStoreQueryMode.TEXT_SEARCH: "lexical",
}
_ARGUMENTS = ("mmr_threshold", "mmr_prefetch_k", "mmr_prefetch_factor")
MMR_THRESHOLD = 0.5


def search(
    retriever: Retriever,
    query: VectorStoreQuery,
    node_ids: list[str] | None,
    arguments: Mapping[str, Any],
) -> Hits | None:
    """Return the hits of a query, None for one that asks nothing: no vector and no words.

    ``node_ids`` restrict it, and ``arguments`` are those of ``query(...)`` beside the query. Raises
    NotImplementedError for a mode that isn't served, TypeError for an unknown argument.
    """
    refuse_unknown(list(arguments), _ARGUMENTS, {"lambda_mult": "mmr_threshold"})
    text = (query.query_str or "").strip()
    vector = _vector(query, retriever)
    if vector is None and not text:
        return None
    where = restricted(query.filters, ids=node_ids, documents=query.doc_ids)
    engine = replace(retriever, mode=_mode(query.mode), k=_count(query), where=where)
    if query.mode is VectorStoreQueryMode.HYBRID:
        engine = _hybrid(engine, query)
    if query.mode is VectorStoreQueryMode.MMR:
        engine = _diverse(engine, query, arguments)
    if engine.mode == "lexical":
        return engine.retrieve(text) if text else None
    return engine.retrieve(text or None, vector=vector)


def _mode(mode: VectorStoreQueryMode) -> Mode:
    if mode not in _MODES:
        served = ", ".join(each.value for each in _MODES)
        raise NotImplementedError(f"query mode {mode.value!r} isn't served: {served} are")
    return _MODES[mode]


def _count(query: VectorStoreQuery) -> int:
    """Return how many nodes are wanted."""
    own = {"hybrid": query.hybrid_top_k, "lexical": query.sparse_top_k}.get(_mode(query.mode))
    return own if own is not None else query.similarity_top_k


def _vector(query: VectorStoreQuery, retriever: Retriever) -> Vectors | None:
    """Return the embedding of the query's text, through the index's adapter if one is in use."""
    if query.query_embedding is None or _MODES.get(query.mode) == "lexical":
        return None
    with retriever.index.view() as view:
        return view.adapted(np.asarray(query.query_embedding, np.float32))


def _hybrid(engine: Retriever, query: VectorStoreQuery) -> Retriever:
    """Return the retriever with the share of the dense leg, and at least as many candidates."""
    wanted = max(query.similarity_top_k, query.sparse_top_k or 0)
    usual = engine.depth if engine.depth is not None else DEPTH
    depth = engine.depth if wanted <= usual else wanted
    share = query.alpha if query.alpha is not None else engine.dense_weight
    return replace(engine, depth=depth, dense_weight=share)


def _diverse(engine: Retriever, query: VectorStoreQuery, arguments: Mapping[str, Any]) -> Retriever:
    """Return the retriever with diversity: 1 - ``mmr_threshold``, the argument before the field."""
    given = [arguments.get("mmr_threshold"), query.mmr_threshold, MMR_THRESHOLD]
    threshold = next(each for each in given if each is not None)
    depth = arguments.get("mmr_prefetch_k")
    if depth is None and arguments.get("mmr_prefetch_factor") is not None:
        depth = int(arguments["mmr_prefetch_factor"] * engine.k)
    return replace(
        engine, diversity=1 - threshold, depth=depth if depth is not None else engine.depth
    )
