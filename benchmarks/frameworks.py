"""Latency of hybrid search: twofold, LangChain, LlamaIndex, and FAISS alone, in one run.

    python benchmarks/frameworks.py --corpus software-summaries/corpus.jsonl.gz --texts 100000

All systems get the same texts, the same queries of six words from one text, and the same vectors,
so only retrieval is timed. Vectors are drawn in clusters; with --encoded FILE.npy they are by
all-MiniLM-L6-v2, and the file is created if missing. Prints the median milliseconds per query, the
speed-up of twofold, and its recall against exact search.
"""

import argparse
import gc
import logging
import re
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence

import faiss
from langchain_classic.retrievers import EnsembleRetriever
from langchain_community.retrievers import BM25Retriever
from langchain_community.vectorstores import FAISS
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from llama_index.core import Settings, StorageContext, VectorStoreIndex
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.llms import MockLLM
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.retrievers.fusion_retriever import FUSION_MODES
from llama_index.core.schema import BaseNode, TextNode
from llama_index.retrievers.bm25 import BM25Retriever as LlamaBM25
from llama_index.vector_stores.faiss import FaissVectorStore
from sampling import DIM, Task, sample_task

from twofold import Index, Retriever

ROUND = 10


class LookupEmbeddings(Embeddings):
    """LangChain embeddings that look up precomputed vectors."""

    def __init__(self, task: Task) -> None:
        self.texts = dict(zip(task.texts, task.vectors, strict=True))
        self.queries = dict(zip(task.queries, task.query_vectors, strict=True))

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a query."""
        vector: list[float] = self.queries[text].tolist()
        return vector

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return the vectors of texts."""
        return [self.texts[text].tolist() for text in texts]


class LookupEmbedding(BaseEmbedding):
    """LlamaIndex embeddings that look up precomputed vectors."""

    given: dict[str, list[float]]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self.given[query]

    def _get_text_embedding(self, text: str) -> list[float]:
        return self.given[text]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self.given[query]


def time_queries(ask: Callable[[int], object], places: Sequence[int]) -> list[float]:
    """Return the seconds of each query, after one to warm up."""
    ask(places[0])
    times: list[float] = []
    for place in places:
        started = time.perf_counter()
        ask(place)
        times.append(time.perf_counter() - started)
    return times


def build_langchain(task: Task) -> Callable[[int], object]:
    """Build EnsembleRetriever([BM25Retriever, FAISS])."""
    documents = [Document(page_content=text) for text in task.texts]
    words = re.compile(r"\w\w+")
    bm25 = BM25Retriever.from_documents(
        documents, k=10, preprocess_func=lambda text: words.findall(text.lower())
    )
    dense = FAISS.from_documents(documents, LookupEmbeddings(task)).as_retriever(
        search_kwargs={"k": 10}
    )
    both = EnsembleRetriever(retrievers=[bm25, dense], weights=[0.5, 0.5])
    return lambda place: both.invoke(task.queries[place])


def llama_index(task: Task) -> Callable[[int], object]:
    """Build QueryFusionRetriever([VectorIndexRetriever(FAISS), BM25Retriever])."""
    nodes: list[BaseNode] = [
        TextNode(text=text, id_=str(place), embedding=task.vectors[place].tolist())
        for place, text in enumerate(task.texts)
    ]
    Settings.llm = MockLLM()
    given = dict(zip(task.queries, task.query_vectors.tolist(), strict=True))
    Settings.embed_model = LookupEmbedding(given=given)
    storage = StorageContext.from_defaults(vector_store=FaissVectorStore(faiss.IndexFlatIP(DIM)))
    dense = VectorStoreIndex(nodes, storage_context=storage).as_retriever(similarity_top_k=10)
    lexical = LlamaBM25.from_defaults(nodes=nodes, similarity_top_k=10)
    both = QueryFusionRetriever(
        [dense, lexical],
        similarity_top_k=10,
        num_queries=1,
        mode=FUSION_MODES.RECIPROCAL_RANK,
        use_async=False,
    )
    return lambda place: both.retrieve(task.queries[place])


def build_faiss(task: Task) -> Callable[[int], object]:
    """Build IndexFlatIP, searched on one thread."""
    index = faiss.IndexFlatIP(DIM)
    index.add(task.vectors)

    def search(place: int) -> object:
        faiss.omp_set_num_threads(1)
        found: object = index.search(task.query_vectors[place : place + 1], 10)
        faiss.omp_set_num_threads(2)
        return found

    return search


def build_index(task: Task, folder: str) -> Index:
    """Build a durable index of the default type."""
    index = Index.open(folder, dim=DIM)
    started = time.perf_counter()
    index.upsert(
        [{"id": str(place), "text": text} for place, text in enumerate(task.texts)],
        vectors=task.vectors,
    )
    print(f"twofold built in {time.perf_counter() - started:.1f} s: {index.index_type}")
    return index


def twofold(retriever: Retriever, task: Task) -> Callable[[int], object]:
    """Return a search that also fetches the passages."""
    return lambda place: list(
        retriever.retrieve(task.queries[place], vector=task.query_vectors[place])
    )


def measure_recall(index: Index, task: Task) -> tuple[float, float]:
    """Return the recall@10 of the dense leg, and of hybrid hits against exact ones."""
    approximate, exact = Retriever(index, k=10), Retriever(index, k=10, exact=True)
    pairs = zip(
        approximate.retrieve_many(task.queries, vectors=task.query_vectors),
        exact.retrieve_many(task.queries, vectors=task.query_vectors),
        strict=True,
    )
    shared = [len(set(found.ids) & set(best.ids)) / len(best) for found, best in pairs]
    return index.recall(queries=task.query_vectors).mean, statistics.mean(shared)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", required=True, help="a .jsonl[.gz] file")
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--encoded", help="a .npy file of real vectors, created if missing")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    task = sample_task(options.corpus, options.texts, options.queries, options.encoded)
    with tempfile.TemporaryDirectory() as folder:
        index = build_index(task, folder)
        systems = {
            "twofold, hybrid": twofold(Retriever(index, k=10), task),
            "twofold, hybrid, exact": twofold(Retriever(index, k=10, exact=True), task),
            "FAISS flat, dense alone, one thread": build_faiss(task),
            "LlamaIndex QueryFusionRetriever": llama_index(task),
            "LangChain EnsembleRetriever": build_langchain(task),
        }
        gc.collect()
        gc.freeze()  # so that no system pays for the objects of the others
        # Systems take turns, so that noise affects all alike.
        times: dict[str, list[float]] = {name: [] for name in systems}
        for start in range(0, options.queries, ROUND):
            for name, ask in systems.items():
                places = range(start, min(start + ROUND, options.queries))
                times[name] += time_queries(ask, places)
        dense, hybrid = measure_recall(index, task)
    print(f"recall@10 against exact: dense leg {dense:.4f}, hybrid {hybrid:.4f}")
    medians = {name: statistics.median(values) * 1e3 for name, values in times.items()}
    ours = medians["twofold, hybrid"]
    for name, value in medians.items():
        print(f"{name:40} {value:8.2f} ms {value / ours:8.2f} x twofold")


if __name__ == "__main__":
    main()
