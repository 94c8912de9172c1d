"""LlamaIndex's retrievers and twofold's on one judged collection, with the same vectors.

    python benchmarks/llama_index_peers.py [FOLDER]

Prints nDCG@10, milliseconds per query with the query's vector known, what a deleted document leaves
behind, what is lost on saving and loading, and the longest delay of a 10 ms heartbeat during 200
concurrent ``aretrieve``. Needs the dependency group ``bench``, or the test environment.
"""

import asyncio
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import ir_measures
from heartbeat import BEATS, longest_delay
from judged import DEFAULT, Collection, open_collection
from llama_index.core import MockEmbedding, Settings, StorageContext, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.llms import MockLLM
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.retrievers.fusion_retriever import FUSION_MODES
from llama_index.core.schema import BaseNode, QueryBundle, TextNode
from llama_index.retrievers.bm25 import BM25Retriever
from llama_index.vector_stores.faiss import FaissVectorStore
from rich.console import Console
from rich.table import Table

from llama_index_twofold import TwofoldRetriever, TwofoldVectorStore, from_index

K = 10
console = Console(width=150)


def load_nodes(collection: Collection) -> tuple[list[BaseNode], dict[str, list[float]]]:
    """Return a collection's nodes with their vectors, and the queries' vectors by text."""
    passages = list(collection.index)
    with collection.index.view() as view:
        vectors = view.fetch(ids=[each.id for each in passages], vectors=True).vectors
        assert vectors is not None
        query_vectors = view.scope.encode_queries(list(collection.texts.values()))
    nodes: list[BaseNode] = [
        TextNode(id_=passage.id, text=passage.content, embedding=vector.tolist())
        for passage, vector in zip(passages, vectors, strict=True)
    ]
    return nodes, dict(zip(collection.texts.values(), query_vectors.tolist(), strict=True))


def measure_retriever(
    retriever: BaseRetriever, collection: Collection, vectors: dict[str, list[float]]
) -> tuple[float, float]:
    """Return nDCG@10 and the median milliseconds per query."""
    run: dict[str, dict[str, float]] = {}
    seconds = []
    for query_id, text in collection.texts.items():
        bundle = QueryBundle(text, embedding=vectors[text])
        started = time.perf_counter()
        nodes = retriever.retrieve(bundle)[:K]
        seconds.append(time.perf_counter() - started)
        run[query_id] = {each.node_id: K - place for place, each in enumerate(nodes)}
    value = ir_measures.calc_aggregate([ir_measures.nDCG @ K], collection.qrels, run)
    return next(iter(value.values())), statistics.median(seconds) * 1e3


def build_index(store: Any, nodes: Sequence[BaseNode]) -> VectorStoreIndex:
    """Return an index of nodes over a store, or over LlamaIndex's default store."""
    context = StorageContext.from_defaults(vector_store=store) if store is not None else None
    return VectorStoreIndex(list(nodes), storage_context=context)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT
    warnings.simplefilter("ignore")
    Settings.llm = MockLLM()
    with open_collection(folder) as collection, tempfile.TemporaryDirectory() as work:
        nodes, vectors = load_nodes(collection)
        Settings.embed_model = MockEmbedding(embed_dim=len(next(iter(vectors.values()))))
        simple = build_index(None, nodes)
        flat = build_index(FaissVectorStore(faiss.IndexFlatIP(collection.index.dim)), nodes)
        words = BM25Retriever.from_defaults(nodes=nodes, similarity_top_k=K)
        store = TwofoldVectorStore(path=f"{work}/store")
        both = build_index(store, nodes)
        moved = from_index(simple, path=f"{work}/moved")

        def fuse_legs(mode: FUSION_MODES) -> QueryFusionRetriever:
            legs: list[BaseRetriever] = [flat.as_retriever(similarity_top_k=K), words]
            return QueryFusionRetriever(
                legs, similarity_top_k=K, num_queries=1, mode=mode, use_async=False
            )

        lost = "nothing"
        leaves = "nothing, in both legs"
        hybrid: dict[str, Any] = {"vector_store_query_mode": "hybrid", "similarity_top_k": K}
        rows: list[tuple[str, BaseRetriever, str, str]] = [
            (
                "VectorStoreIndex, SimpleVectorStore",
                simple.as_retriever(similarity_top_k=K),
                "nothing",
                "nothing; JSON, read whole",
            ),
            (
                "VectorStoreIndex, FaissVectorStore",
                flat.as_retriever(similarity_top_k=K),
                "can't delete",
                "nothing; three files",
            ),
            ("BM25Retriever", words, "can't delete", "stemmer and pattern"),
            (
                "QueryFusionRetriever of both, RRF",
                fuse_legs(FUSION_MODES.RECIPROCAL_RANK),
                "can't delete",
                "stemmer and pattern",
            ),
            (
                "QueryFusionRetriever of both, relative_score",
                fuse_legs(FUSION_MODES.RELATIVE_SCORE),
                "can't delete",
                "stemmer and pattern",
            ),
            ("VectorStoreIndex, TwofoldVectorStore", both.as_retriever(**hybrid), leaves, lost),
            (
                "TwofoldRetriever over from_index(...)",
                TwofoldRetriever(index=moved.index, similarity_top_k=K),
                leaves,
                lost,
            ),
        ]
        table = Table("", "nDCG@10", "ms per query", "a deleted document leaves", "lost on reload")
        text = next(iter(collection.texts.values()))
        warm = QueryBundle(text, embedding=vectors[text])
        for name, retriever, residue, loss in rows:
            retriever.retrieve(warm)
            value, seconds = measure_retriever(retriever, collection, vectors)
            table.add_row(name, f"{value:.3f}", f"{seconds:.2f}", residue, loss)
        console.print(table)
        ours = rows[-1][1]
        delay = asyncio.run(longest_delay(lambda: ours.aretrieve(warm)))
        console.print(f"longest heartbeat delay during {BEATS} aretrieve: {delay:.1f} ms")
        before = [each.node_id for each in both.as_retriever(**hybrid).retrieve(warm)]
        both.storage_context.persist(f"{work}/saved")
        again = TwofoldVectorStore.from_persist_dir(f"{work}/saved")
        loaded = VectorStoreIndex.from_vector_store(again).as_retriever(**hybrid)
        after = [each.node_id for each in loaded.retrieve(warm)]
        console.print(f"the same after saving and loading: {before == after}")


if __name__ == "__main__":
    main()
