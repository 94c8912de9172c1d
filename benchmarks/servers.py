"""Pushes texts to PostgreSQL and Milvus, and searches them, beside LangChain's stores for both.

Usage: python benchmarks/servers.py COLLECTION CORPUS TEXTS FILE.npy POSTGRES_URL MILVUS_FOLDER

COLLECTION is a judged BEIR folder; CORPUS (JSON lines) fills up to TEXTS texts. FILE.npy has the
vectors of texts and queries by all-MiniLM-L6-v2, and is created if missing. Encoding is not
measured. Milvus Lite files are created in MILVUS_FOLDER. ``python tests/postgres_server.py`` starts
a server. LangChain's stores: pip install langchain-milvus langchain-postgres.
"""

import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from langchain_core.embeddings import Embeddings
from langchain_milvus import BM25BuiltInFunction, Milvus
from langchain_postgres import PGEngine, PGVectorStore
from langchain_postgres.v2.hybrid_search_config import (
    HybridSearchConfig,
    reciprocal_rank_fusion,
)
from langchain_postgres.v2.indexes import DistanceStrategy, HNSWIndex

from langchain_twofold import EmbeddingsEncoder
from twofold import Passage, Retriever
from twofold.backends.milvus import MilvusBackend
from twofold.backends.postgres import PostgresBackend
from twofold.backends.remote_index import RemoteIndex
from twofold.corpus import read_qrels, read_queries
from twofold.corpus.records import read_passages
from twofold.dense import HNSW
from twofold.encoders import encoder_from_name
from twofold.evaluation import evaluate_run
from twofold.types import Vectors

MODEL, BATCH, DEPTH = "all-MiniLM-L6-v2", 2_000, 100
Search = Callable[[str], list[str]]


class KnownEmbeddings(Embeddings):
    """Vectors that were computed before."""

    def __init__(self, texts: Sequence[str], vectors: Vectors) -> None:
        self._rows = {text: at for at, text in enumerate(texts)}
        self._vectors = vectors

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one vector per text."""
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a text; another one for the texts by which models are told apart."""
        at = self._rows.get(text, sum(map(ord, text)) % len(self._vectors))
        return list(map(float, self._vectors[at]))


def read_texts(collection: str, corpus: str, count: int) -> list[Passage]:
    """Return the judged collection's passages, and others up to ``count``."""
    judged = list(read_passages([Path(collection) / "corpus.jsonl"]))
    others: Iterator[Passage] = (
        Passage(each.text, f"other-{each.id}") for each in read_passages([Path(corpus)])
    )
    distinct = {each.content: each for each in [*judged, *islice(others, 2 * count)]}
    return list(distinct.values())[:count]


def embed(texts: list[str], file: str) -> Vectors:
    """Return the texts' vectors, from a file or the model."""
    if not Path(file).exists():
        encoder = encoder_from_name(MODEL)
        parts = [
            encoder.encode_passages(texts[at : at + BATCH]) for at in range(0, len(texts), BATCH)
        ]
        np.save(file, np.concatenate(parts))
    vectors: Vectors = np.load(file)
    if len(vectors) != len(texts):
        raise SystemExit(f"{file} has {len(vectors):,} vectors for {len(texts):,} texts: delete it")
    return vectors


def fill_twofold(
    backend: RemoteIndex, passages: Sequence[Passage], known: KnownEmbeddings
) -> Search:
    """Store passages, and return a search."""
    vectors = np.array(known.embed_documents([each.content for each in passages]), np.float32)
    backend.upsert(passages, vectors=vectors)
    retriever = Retriever(backend, k=10)
    return lambda query: list(retriever.retrieve(query).ids)


def fill_milvus(folder: str, passages: Sequence[Passage], known: KnownEmbeddings) -> Search:
    """Store passages in LangChain's store for Milvus, and return a search."""
    store = Milvus(
        embedding_function=known,
        builtin_function=BM25BuiltInFunction(),
        vector_field=["dense", "sparse"],
        connection_args={"uri": f"{folder}/langchain.db"},
        index_params=[
            {"index_type": "HNSW", "metric_type": "COSINE", "params": {"M": 16}},
            {
                "index_type": "SPARSE_INVERTED_INDEX",
                "metric_type": "BM25",
                "params": {"drop_ratio_build": 0.0},  # Milvus Lite refuses another one
            },
        ],
        search_params=[
            {"metric_type": "COSINE", "params": {"ef": DEPTH}},
            {"metric_type": "BM25", "params": {}},  # its default drops terms, which Lite refuses
        ],
        consistency_level="Session",
        auto_id=False,
        drop_old=True,
    )
    texts = [each.content[:60_000] for each in passages]
    for at in range(0, len(texts), BATCH):
        ids = [each.id for each in passages[at : at + BATCH]]
        store.add_texts(texts[at : at + BATCH], ids=ids, batch_size=BATCH)
    store.client.flush(store.collection_name)

    def search(query: str) -> list[str]:
        found = store.similarity_search(
            query, k=10, fetch_k=DEPTH, ranker_type="rrf", ranker_params={"k": 60}
        )
        return [each.metadata["pk"] for each in found]

    return search


def fill_postgres(url: str, passages: Sequence[Passage], known: KnownEmbeddings) -> Search:
    """Store passages in LangChain's store for PostgreSQL, and return a search."""
    engine = PGEngine.from_connection_string(url.replace("postgresql://", "postgresql+psycopg://"))
    config = HybridSearchConfig(
        tsv_column="content_tsv",
        tsv_lang="pg_catalog.english",
        fusion_function=reciprocal_rank_fusion,
        fusion_function_parameters={"rrf_k": 60, "fetch_top_k": 10},
        primary_top_k=DEPTH,
        secondary_top_k=DEPTH,
    )
    from langchain_postgres import Column

    engine.init_vectorstore_table(
        "langchain",
        384,
        id_column=Column("id", "TEXT"),
        overwrite_existing=True,
        hybrid_search_config=config,
    )
    store = PGVectorStore.create_sync(
        engine, known, "langchain", id_column="id", hybrid_search_config=config, k=10
    )
    texts = [each.content.replace("\0", " ") for each in passages]
    for at in range(0, len(texts), BATCH):
        ids = [each.id for each in passages[at : at + BATCH]]
        store.add_texts(texts[at : at + BATCH], ids=ids)
    store.apply_vector_index(HNSWIndex(distance_strategy=DistanceStrategy.COSINE_DISTANCE, m=16))
    store.apply_hybrid_search_index()
    return lambda query: [str(each.id) for each in store.similarity_search(query, k=10)]


def main() -> None:
    collection, corpus, count, file, url, folder = sys.argv[1:]
    shutil.rmtree(folder, ignore_errors=True)
    Path(folder).mkdir(parents=True)
    passages = read_texts(collection, corpus, int(count))
    queries = read_queries(f"{collection}/queries.jsonl")
    qrels = read_qrels(f"{collection}/qrels/test.tsv")
    names = [name for name in qrels if name in queries]
    texts = [*(each.content for each in passages), *(queries[name] for name in names)]
    known = KnownEmbeddings(texts, embed(texts, file))
    graph = HNSW(links=16, build_effort=128)
    options = {"encoder": EmbeddingsEncoder(known), "metric": "cosine", "windows": False}
    systems: dict[str, Callable[[], Search]] = {
        "twofold, PostgreSQL": lambda: fill_twofold(
            PostgresBackend(url, schema="servers", index_type=graph, **options),  # type: ignore[arg-type]  # mypy joins the values
            passages,
            known,
        ),
        "langchain-postgres": lambda: fill_postgres(url, passages, known),
        "twofold, Milvus Lite": lambda: fill_twofold(
            MilvusBackend(f"{folder}/twofold.db", index_type=graph, **options),  # type: ignore[arg-type]  # likewise
            passages,
            known,
        ),
        "langchain-milvus, Lite": lambda: fill_milvus(folder, passages, known),
    }
    print(f"{len(passages):,} texts, {len(names)} queries")
    for label, fill in systems.items():
        start = time.perf_counter()
        search = fill()
        seconds = time.perf_counter() - start
        search(queries[names[0]])
        times, run = [], {}
        for name in names:
            start = time.perf_counter()
            ids = search(queries[name])
            times.append(1000 * (time.perf_counter() - start))
            run[name] = {one: 1.0 / rank for rank, one in enumerate(ids, 1)}
        mean = evaluate_run(run, qrels, ["nDCG@10"], name=label).measures["nDCG@10"]
        print(
            f"{label:24} stored {len(passages) / seconds:8,.0f} texts/s  "
            f"one query {statistics.median(times):7.1f} ms  nDCG@10 {mean:.4f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
