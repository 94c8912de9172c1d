"""From live objects of LlamaIndex to a twofold index that answers the same.

They are told by what they have, so that no integration package is needed here.
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
from llama_index_twofold.words import english_stems, english_words
from twofold import Encoder, Index, Metric, Retriever
from twofold.dense import read_faiss_vectors
from twofold.lexical import AnalyzerLike, scorer_from_name
from twofold.protocols import Scorer
from twofold.types import Vectors

Folder = str | os.PathLike[str] | None
Model = Encoder | BaseEmbedding | str | None


def from_index(index: VectorStoreIndex, *, path: Folder = None) -> TwofoldVectorStore:
    """Return a store over the nodes and vectors of an index; what it holds isn't encoded again.

    ``VectorStoreIndex.from_vector_store(store)`` gives the same answers from it, and
    ``TwofoldRetriever(index=store.index)`` better ones, by both legs. Raises TypeError where the
    index's vector store can't give its vectors: SimpleVectorStore and the FAISS ones can.
    """
    if not isinstance(index, VectorStoreIndex):
        raise TypeError(f"a VectorStoreIndex is wanted, not {type(index).__name__}")
    store: Any = index.vector_store
    model: Model = index._embed_model  # the index has no other name for it
    of_store = index.index_struct.nodes_dict
    nodes = {own: index.docstore.get_node(node_id) for own, node_id in of_store.items()}
    if hasattr(store, "_faiss_index"):
        return from_faiss(store, nodes, path=path, embed_model=model)
    vectors = getattr(getattr(store, "data", None), "embedding_dict", None)
    if vectors is None:
        raise TypeError(
            f"{type(store).__name__} doesn't give its vectors: index the documents anew with "
            "StorageContext.from_defaults(vector_store=TwofoldVectorStore(path=...))"
        )
    kept = [own for own in nodes if own in vectors]
    held = np.array([vectors[own] for own in kept], np.float32)
    return _filled([nodes[own] for own in kept], held, Metric.COSINE, path, model)


def from_faiss(
    store: Any,
    nodes: Sequence[BaseNode] | Mapping[str, BaseNode],
    *,
    path: Folder = None,
    embed_model: Model = None,
) -> TwofoldVectorStore:
    """Return a store over the vectors of a FaissVectorStore or FaissMapVectorStore.

    FAISS stores hold no nodes: give them in the order in which they were added, or by the ids that
    ``add`` returned. The nearest come first here too, with similarities where higher is better,
    and nothing is encoded again. Vectors whose node isn't given are left out. Raises TypeError for
    what is no FAISS store, InputError if its index doesn't keep its vectors as they came.
    """
    index = getattr(store, "_faiss_index", None)
    if index is None:
        raise TypeError(f"a FaissVectorStore is wanted, not {type(store).__name__}: {store!r:.80}")
    moved = read_faiss_vectors(index)
    known = _by_place(nodes, getattr(store, "_faiss_id_to_node_id_map", None))
    last = {
        known[own].node_id: (at, known[own]) for at, own in enumerate(moved.ids) if own in known
    }
    vectors = moved.vectors[[at for at, _ in last.values()]]
    return _filled([node for _, node in last.values()], vectors, moved.metric, path, embed_model)


def from_bm25_retriever(
    retriever: Any,
    *,
    path: Folder = None,
    embed_model: Model = None,
    analyzer: AnalyzerLike | None = None,
) -> TwofoldRetriever:
    """Return a lexical retriever over the nodes of a BM25Retriever, with its scores.

    Nodes without a word of the query are left out, and ties go by id. One that was built for
    another language than English, or with a pattern of its own, needs ``analyzer``, such as
    ``"de"``, and then scores as that says. With an ``embed_model``,
    ``TwofoldRetriever(index=retriever.index)`` searches by both legs.
    """
    engine, corpus = getattr(retriever, "bm25", None), getattr(retriever, "corpus", None)
    if engine is None or corpus is None:
        raise TypeError(f"a BM25Retriever is wanted, not {type(retriever).__name__}")
    nodes = [metadata_dict_to_node(each) for each in corpus]
    last = {node.node_id: as_passage(node) for node in nodes}
    if analyzer is None:
        analyzer = english_words if retriever.skip_stemming else english_stems
        terms = {term for each in last.values() for term in analyzer(each.content)}
        if terms != set(engine.vocab_dict) - {""}:
            raise ValueError(
                "this BM25Retriever was built for another language than English, or with a "
                "token_pattern or stemmer of its own: give analyzer=, such as 'de'"
            )
    index = Index.open(path, encoder=as_encoder(embed_model), analyzer=analyzer)
    index.upsert(list(last.values()))
    mask = getattr(retriever, "corpus_weight_mask", None)  # older ones have no filters
    kept = [node.node_id for node, let in zip(nodes, mask, strict=True) if let] if mask else None
    core = Retriever(
        index,
        mode="lexical",
        k=retriever.similarity_top_k,
        where={"$id": {"$in": kept}} if kept is not None else None,
        scorer=_scorer(engine),
    )
    return TwofoldRetriever(retriever=core)


def _filled(
    nodes: Sequence[BaseNode], vectors: Vectors, metric: Metric, path: Folder, model: Model
) -> TwofoldVectorStore:
    """Return a store of these nodes, each with its vector."""
    store = TwofoldVectorStore(path=path, embed_model=model, metric=metric)
    if nodes:
        store.index.upsert([as_passage(node) for node in nodes], vectors=vectors)
    return store


def _by_place(
    nodes: Sequence[BaseNode] | Mapping[str, BaseNode], named: Mapping[int, str] | None
) -> dict[int, BaseNode]:
    """Return nodes by their ids in FAISS; ``named`` are the node ids that a map store knows."""
    if named is not None:
        own = nodes if isinstance(nodes, Mapping) else {each.node_id: each for each in nodes}
        return {place: own[name] for place, name in named.items() if name in own}
    if isinstance(nodes, Mapping):
        return {int(place): node for place, node in nodes.items()}
    return dict(enumerate(nodes))


def _scorer(engine: Any) -> Scorer:
    """Return the scoring function of a bm25s index."""
    if engine.idf_method != engine.method:
        raise ValueError(f"idf_method={engine.idf_method!r} beside {engine.method!r} isn't known")
    name = {"lucene": "bm25"}.get(engine.method, engine.method)
    delta = engine.delta if name in ("bm25l", "bm25+") else None
    return scorer_from_name(name, k1=engine.k1, b=engine.b, delta=delta)
