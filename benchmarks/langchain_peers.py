"""LangChain's own retrievers and twofold's on one judged collection, with the same vectors.

    python benchmarks/langchain_peers.py [FOLDER]

Prints nDCG@10, milliseconds a query with the query's vector known, what is left of each after it
was saved and loaded again, and the longest delay of a 10 ms heartbeat beside 200 concurrent
``ainvoke``.
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
from judged import DEFAULT, Judged, judged
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


def words(text: str) -> list[str]:
    """Return lower-case words, as the peers' users cut them."""
    return _WORDS.findall(text.lower())


class KnownEmbeddings(Embeddings):
    """Vectors that are there already, and the model for others."""

    def __init__(self, known: dict[str, list[float]], encoder: Encoder) -> None:
        self._known, self._others = known, TwofoldEmbeddings(encoder)

    def embed_query(self, text: str) -> list[float]:
        """Return a query's vector."""
        known = self._known.get(text)
        return known if known is not None else self._others.embed_query(text)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return texts' vectors."""
        return self._others.embed_documents(texts)


def known(found: Judged) -> tuple[list[Document], list[list[float]], KnownEmbeddings]:
    """Return a collection's documents, their vectors, and those with the queries' as embeddings."""
    passages = list(found.index)
    with found.index.view() as view:
        rows = np.array([view.row_of(each.id) for each in passages])
        vectors: Vectors = view.vectors(rows)[0]
        asked: Vectors = view.encode_queries(list(found.texts.values()))
    documents = [Document(id=each.id, page_content=each.content) for each in passages]
    own = dict(zip(found.texts.values(), asked.tolist(), strict=True))
    assert found.index.encoder is not None
    return documents, vectors.tolist(), KnownEmbeddings(own, found.index.encoder)


def measured(retriever: BaseRetriever, found: Judged) -> tuple[float, float]:
    """Return nDCG@10 and the median milliseconds of a query."""
    run: dict[str, dict[str, float]] = {}
    spent = []
    for query_id, text in found.texts.items():
        started = time.perf_counter()
        documents = retriever.invoke(text)[:K]
        spent.append(time.perf_counter() - started)
        run[query_id] = {str(each.id): K - place for place, each in enumerate(documents)}
    value = ir_measures.calc_aggregate([ir_measures.nDCG @ K], found.qrels, run)
    return next(iter(value.values())), statistics.median(spent) * 1e3


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT
    warnings.simplefilter("ignore")
    with judged(folder) as found, tempfile.TemporaryDirectory() as own:
        documents, vectors, embeddings = known(found)
        bm25 = BM25Retriever.from_documents(documents, k=K, preprocess_func=words)
        pairs = list(zip((each.page_content for each in documents), vectors, strict=True))
        faiss = FAISS.from_embeddings(pairs, embeddings, ids=[str(d.id) for d in documents])
        dense = faiss.as_retriever(search_kwargs={"k": K})
        ensemble = EnsembleRetriever(retrievers=[bm25, dense], weights=[0.5, 0.5])
        faiss.save_local(f"{own}/faiss")
        moved = from_ensemble(ensemble, path=f"{own}/index")
        fresh = Index.open(f"{own}/fresh", encoder=as_encoder(embeddings))
        fresh.upsert([as_passage(each) for each in documents], vectors=np.array(vectors, "f4"))
        ours = TwofoldRetriever(index=fresh, k=K)
        lost = "nothing: documents, vectors, words, model, settings"
        rows: list[tuple[str, BaseRetriever, Callable[[], str]]] = [
            ("BM25Retriever", bm25, lambda: "all: it can't be saved"),
            ("FAISS store", dense, lambda: reloaded(own, embeddings)),
            ("EnsembleRetriever of both", ensemble, lambda: "the words: half of it can't be saved"),
            ("from_ensemble(...)", moved, lambda: lost),
            ("TwofoldRetriever", ours, lambda: lost),
        ]
        table = Table("", "nDCG@10", "ms a query", "lost on save and reload")
        for name, retriever, kept in rows:
            retriever.invoke("warm")
            value, spent = measured(retriever, found)
            table.add_row(name, f"{value:.3f}", f"{spent:.2f}", kept())
        console.print(table)
        before = [each.id for each in ours.invoke(next(iter(found.texts.values())))]
        text = next(iter(found.texts.values()))
        delay = asyncio.run(longest_delay(lambda: ours.ainvoke(text)))
        console.print(f"latest of the heartbeats beside {BEATS} ainvoke: {delay:.1f} ms too late")
        encoder = fresh.encoder
        fresh.close()
        moved.index.close()
        with Index.open(f"{own}/fresh", encoder=encoder) as again:
            after = TwofoldRetriever(index=again, k=K).invoke(next(iter(found.texts.values())))
            console.print(f"the same after reopening: {before == [each.id for each in after]}")


def reloaded(own: str, embeddings: Embeddings) -> str:
    """Say what a FAISS store lacks after it was loaded again."""
    store = FAISS.load_local(f"{own}/faiss", embeddings, allow_dangerous_deserialization=True)
    return f"strategy ({store.distance_strategy.value} is assumed), normalisation, model; by pickle"


if __name__ == "__main__":
    main()
