"""LangChain's retrievers and twofold's on one judged collection, with the same vectors.

    python benchmarks/langchain_peers.py [FOLDER]

Prints nDCG@10, milliseconds per query with the query's vector known, what each system loses on
saving and loading, and the longest delay of a 10 ms heartbeat during 200 concurrent ``ainvoke``.
"""

import asyncio
import re
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import ir_measures
import numpy as np
from heartbeat import BEATS, longest_delay
from judged import DEFAULT, Collection, open_collection
from langchain_classic.retrievers import EnsembleRetriever
from langchain_community.retrievers import BM25Retriever
from langchain_community.vectorstores import FAISS
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from rich.console import Console
from rich.table import Table

from langchain_twofold import TwofoldEmbeddings, TwofoldRetriever, from_ensemble
from langchain_twofold.documents import as_passage
from langchain_twofold.embeddings import as_encoder
from twofold import Encoder, Index
from twofold.types import Vectors

K = 10
console = Console(width=140)
_WORDS = re.compile(r"\w\w+")


def split_words(text: str) -> list[str]:
    """Return lower-case words, a common preprocessing function for BM25Retriever."""
    return _WORDS.findall(text.lower())


class KnownEmbeddings(Embeddings):
    """Embeddings that look up known vectors, and encode other texts."""

    def __init__(self, known: dict[str, list[float]], encoder: Encoder) -> None:
        self._known, self._others = known, TwofoldEmbeddings(encoder)

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a query."""
        known = self._known.get(text)
        return known if known is not None else self._others.embed_query(text)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return the vectors of texts."""
        return self._others.embed_documents(texts)


def load_documents(
    collection: Collection,
) -> tuple[list[Document], list[list[float]], KnownEmbeddings]:
    """Return a collection's documents, their vectors, and embeddings that know the queries."""
    passages = list(collection.index)
    with collection.index.view() as view:
        vectors = view.fetch(ids=[each.id for each in passages], vectors=True).vectors
        assert vectors is not None
        query_vectors: Vectors = view.scope.encode_queries(list(collection.texts.values()))
    documents = [Document(id=each.id, page_content=each.content) for each in passages]
    known = dict(zip(collection.texts.values(), query_vectors.tolist(), strict=True))
    assert collection.index.encoder is not None
    return documents, vectors.tolist(), KnownEmbeddings(known, collection.index.encoder)


def measure_retriever(retriever: BaseRetriever, collection: Collection) -> tuple[float, float]:
    """Return nDCG@10 and the median milliseconds per query."""
    run: dict[str, dict[str, float]] = {}
    seconds = []
    for query_id, text in collection.texts.items():
        started = time.perf_counter()
        documents = retriever.invoke(text)[:K]
        seconds.append(time.perf_counter() - started)
        run[query_id] = {str(each.id): K - place for place, each in enumerate(documents)}
    value = ir_measures.calc_aggregate([ir_measures.nDCG @ K], collection.qrels, run)
    return next(iter(value.values())), statistics.median(seconds) * 1e3


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT
    warnings.simplefilter("ignore")
    with open_collection(folder) as collection, tempfile.TemporaryDirectory() as work:
        documents, vectors, embeddings = load_documents(collection)
        bm25 = BM25Retriever.from_documents(documents, k=K, preprocess_func=split_words)
        pairs = list(zip((each.page_content for each in documents), vectors, strict=True))
        faiss = FAISS.from_embeddings(pairs, embeddings, ids=[str(d.id) for d in documents])
        dense = faiss.as_retriever(search_kwargs={"k": K})
        ensemble = EnsembleRetriever(retrievers=[bm25, dense], weights=[0.5, 0.5])
        faiss.save_local(f"{work}/faiss")
        moved = from_ensemble(ensemble, path=f"{work}/index")
        fresh = Index.open(f"{work}/fresh", encoder=as_encoder(embeddings))
        fresh.upsert([as_passage(each) for each in documents], vectors=np.array(vectors, "f4"))
        ours = TwofoldRetriever(index=fresh, k=K)
        lost = "nothing: documents, vectors, words, model, settings"
        rows: list[tuple[str, BaseRetriever, Callable[[], str]]] = [
            ("BM25Retriever", bm25, lambda: "all: it can't be saved"),
            ("FAISS store", dense, lambda: describe_loss(work, embeddings)),
            ("EnsembleRetriever of both", ensemble, lambda: "the words: half of it can't be saved"),
            ("from_ensemble(...)", moved, lambda: lost),
            ("TwofoldRetriever", ours, lambda: lost),
        ]
        table = Table("", "nDCG@10", "ms per query", "lost on save and reload")
        for name, retriever, loss in rows:
            retriever.invoke("warm")
            value, seconds = measure_retriever(retriever, collection)
            table.add_row(name, f"{value:.3f}", f"{seconds:.2f}", loss())
        console.print(table)
        before = [each.id for each in ours.invoke(next(iter(collection.texts.values())))]
        text = next(iter(collection.texts.values()))
        delay = asyncio.run(longest_delay(lambda: ours.ainvoke(text)))
        console.print(f"longest heartbeat delay during {BEATS} ainvoke: {delay:.1f} ms")
        encoder = fresh.encoder
        fresh.close()
        moved.index.close()
        with Index.open(f"{work}/fresh", encoder=encoder) as again:
            after = TwofoldRetriever(index=again, k=K).invoke(next(iter(collection.texts.values())))
            console.print(f"the same after reopening: {before == [each.id for each in after]}")


def describe_loss(work: str, embeddings: Embeddings) -> str:
    """Return what a FAISS store lacks after loading."""
    store = FAISS.load_local(f"{work}/faiss", embeddings, allow_dangerous_deserialization=True)
    return f"strategy ({store.distance_strategy.value} is assumed), normalisation, model; by pickle"


if __name__ == "__main__":
    main()
