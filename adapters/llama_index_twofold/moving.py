"""Conversion of LlamaIndex's indexes and retrievers to twofold indexes.

The objects are recognised by their attributes, so no integration package is required.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from llama_index.core import VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.utils import metadata_dict_to_node

from llama_index_twofold.embedding import as_encoder
from llama_index_twofold.nodes import as_passage
from llama_index_twofold.retriever import TwofoldRetriever
from llama_index_twofold.vector_store import TwofoldVectorStore
from twofold import Encoder, Index, Metric, Retriever
from twofold.integrations import read_faiss_vectors
from twofold.lexical import AnalyzerLike, scorer_from_name
from twofold.lexical.analysis.bm25_retrievers import english_stems, english_words
from twofold.protocols import Scorer
from twofold.types import Vectors

Folder = str | os.PathLike[str] | None
Model = Encoder | BaseEmbedding | str | None


def from_index(index: VectorStoreIndex, *, path: Folder = None) -> TwofoldVectorStore:
    """Convert a VectorStoreIndex, reusing its vectors.

    ``VectorStoreIndex.from_vector_store(result)`` gives the same answers, and
    ``TwofoldRetriever(index=result.index)`` searches both legs. ``path`` None creates a temporary
    folder. Raises TypeError unless the vector store is a SimpleVectorStore or a FAISS store.
    """
    if not isinstance(index, VectorStoreIndex):
        raise TypeError(f"expected a VectorStoreIndex, got {type(index).__name__}")
    store: Any = index.vector_store
    model: Model = index._embed_model  # not public
    node_ids = index.index_struct.nodes_dict  # by the store's ids
    nodes = {key: index.docstore.get_node(node_id) for key, node_id in node_ids.items()}
    if hasattr(store, "_faiss_index"):
        return from_faiss(store, nodes, path=path, embed_model=model)
    vectors = getattr(getattr(store, "data", None), "embedding_dict", None)
    if vectors is None:
        raise TypeError(
            f"{type(store).__name__} doesn't expose its vectors: index the documents again with "
            "StorageContext.from_defaults(vector_store=TwofoldVectorStore(path=...))"
        )
    keys = [key for key in nodes if key in vectors]
    array = np.array([vectors[key] for key in keys], np.float32)
    return _create_store([nodes[key] for key in keys], array, Metric.COSINE, path, model)


def from_faiss(
    store: Any,
    nodes: Sequence[BaseNode] | Mapping[str, BaseNode],
    *,
    path: Folder = None,
    embed_model: Model = None,
) -> TwofoldVectorStore:
    """Convert a FaissVectorStore or FaissMapVectorStore, reusing its vectors.

    The result returns the nearest nodes first; higher similarities are better. FAISS stores hold
    no nodes: pass them in the order in which they were added, or as a mapping from the ids that
    ``add`` returned. Vectors without a node are skipped. Raises InputError if the FAISS index has a
    metric other than L2 and inner product, or compresses its vectors.
    """
    index = getattr(store, "_faiss_index", None)
    if index is None:
        raise TypeError(f"expected a FaissVectorStore, got {type(store).__name__}: {store!r:.80}")
    ids, vectors, metric = read_faiss_vectors(index)
    by_id = _nodes_by_faiss_id(nodes, getattr(store, "_faiss_id_to_node_id_map", None))
    last = {
        by_id[faiss_id].node_id: (position, by_id[faiss_id])
        for position, faiss_id in enumerate(ids)
        if faiss_id in by_id
    }
    kept = [node for _, node in last.values()]
    positions = [position for position, _ in last.values()]
    return _create_store(kept, vectors[positions], metric, path, embed_model)


def from_bm25_retriever(
    retriever: Any,
    *,
    path: Folder = None,
    embed_model: Model = None,
    analyzer: AnalyzerLike | None = None,
) -> TwofoldRetriever:
    """Convert a BM25Retriever to a lexical retriever with the same scores.

    Nodes that share no term with the query are not returned, and ties are ordered by id. With an
    ``embed_model``, ``TwofoldRetriever(index=result.index)`` searches both legs. A retriever with
    another language than English, a token pattern or a stemmer needs ``analyzer``, such as
    ``"de"``; the scores then follow this analyzer. Raises ValueError without it.
    """
    engine, corpus = getattr(retriever, "bm25", None), getattr(retriever, "corpus", None)
    if engine is None or corpus is None:
        raise TypeError(f"expected a BM25Retriever, got {type(retriever).__name__}")
    nodes = [metadata_dict_to_node(metadata) for metadata in corpus]
    passages = list({node.node_id: as_passage(node) for node in nodes}.values())
    if analyzer is None:
        analyzer = english_words if retriever.skip_stemming else english_stems
        terms = {term for passage in passages for term in analyzer(passage.content)}
        if terms != set(engine.vocab_dict) - {""}:
            raise ValueError(
                "the BM25Retriever has another language than English, or a token_pattern or "
                "stemmer: pass analyzer=, such as 'de'"
            )
    index = Index.open(path, encoder=as_encoder(embed_model), analyzer=analyzer)
    index.upsert(passages)
    where = None
    if mask := getattr(retriever, "corpus_weight_mask", None):  # older versions have no filters
        allowed = [node.node_id for node, weight in zip(nodes, mask, strict=True) if weight]
        where = {"$id": {"$in": allowed}}
    k, scorer = retriever.similarity_top_k, _bm25s_scorer(engine)
    core = Retriever(index, mode="lexical", k=k, where=where, scorer=scorer)
    return TwofoldRetriever(retriever=core)


def _create_store(
    nodes: Sequence[BaseNode], vectors: Vectors, metric: Metric, path: Folder, model: Model
) -> TwofoldVectorStore:
    """Create a vector store, and add nodes with their vectors (n, dim)."""
    store = TwofoldVectorStore(path=path, embed_model=model, metric=metric)
    if nodes:
        store.index.upsert([as_passage(node) for node in nodes], vectors=vectors)
    return store


def _nodes_by_faiss_id(
    nodes: Sequence[BaseNode] | Mapping[str, BaseNode], node_ids: Mapping[int, str] | None
) -> dict[int, BaseNode]:
    """Map FAISS ids to nodes; ``node_ids`` maps them to node ids in a FaissMapVectorStore."""
    if node_ids is None:
        numbered = nodes.items() if isinstance(nodes, Mapping) else enumerate(nodes)
        return {int(faiss_id): node for faiss_id, node in numbered}
    known = nodes if isinstance(nodes, Mapping) else {node.node_id: node for node in nodes}
    return {faiss_id: known[name] for faiss_id, name in node_ids.items() if name in known}


def _bm25s_scorer(engine: Any) -> Scorer:
    """Return the twofold scorer that scores as a bm25s index does."""
    if engine.idf_method != engine.method:
        raise ValueError(
            f"bm25s with method={engine.method!r} and idf_method={engine.idf_method!r} is not "
            "supported: both methods must be the same"
        )
    name = {"lucene": "bm25s"}.get(engine.method, engine.method)
    delta = engine.delta if name in ("bm25l", "bm25+") else None
    return scorer_from_name(name, k1=engine.k1, b=engine.b, delta=delta)
