"""Compares a PostgreSQL backend with the local index: scores, quality and speed.

Usage: python benchmarks/backends.py INDEX COLLECTION URL

INDEX is the folder of an index of COLLECTION, a BEIR folder; it is pushed to URL, such as
postgresql://user@localhost/database. ``python tests/postgres_server.py`` starts a server.
"""

import statistics
import sys
import time
from collections.abc import Sequence

import numpy as np

from twofold import Index, Retriever, evaluate
from twofold.backends.moving import push
from twofold.backends.postgres import PostgresBackend
from twofold.corpus import read_qrels, read_queries
from twofold.types import Mode

MODES: tuple[Mode, ...] = ("lexical", "dense", "hybrid")
SAMPLE = 200


def time_each(retriever: Retriever, queries: Sequence[str]) -> float:
    """Return the median time of one query in milliseconds."""
    times = []
    for query in queries:
        start = time.perf_counter()
        retriever.retrieve(query)
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def compare_scores(index: Index, backend: PostgresBackend, queries: Sequence[str]) -> float:
    """Return the largest difference of a lexical score, of all hits and all queries."""
    worst = 0.0
    for query in queries:
        ours = Retriever(index, mode="lexical", k=100).retrieve(query)
        theirs = Retriever(backend, mode="lexical", k=100).retrieve(query)
        assert list(ours.ids) == list(theirs.ids), query
        worst = max(
            worst, float(np.max(np.abs(np.subtract(ours.scores, theirs.scores)), initial=0))
        )
    return worst


def main() -> None:
    folder, collection, url = sys.argv[1:]
    queries = read_queries(f"{collection}/queries.jsonl")
    qrels = read_qrels(f"{collection}/qrels/test.tsv")
    judged = {name: queries[name] for name in qrels if name in queries}
    texts = list(judged.values())
    index = Index.open(folder, create=False, read_only=True)
    start = time.perf_counter()
    backend = PostgresBackend(url, template=index, schema="benchmark", index_type="flat")
    moved = push(index, backend, replace=True)
    seconds = time.perf_counter() - start
    print(f"pushed {moved.passages:,} passages, {moved.vectors:,} vectors in {seconds:.1f} s")
    worst = compare_scores(index, backend, texts)
    print(f"lexical: the largest difference of a score, {len(texts)} queries: {worst:.1e}")
    targets: list[tuple[str, Index | PostgresBackend]] = [("local", index), ("exact", backend)]
    for name in ("exact", "hnsw"):
        if name == "hnsw":
            backend.reindex("hnsw")
            targets.append((name, backend))
        for label, target in targets if name == "exact" else targets[2:]:
            for mode in MODES:
                retriever = Retriever(target, mode=mode, k=10)
                mean = evaluate(retriever, judged, qrels, measures=["nDCG@10"]).measures["nDCG@10"]
                each = time_each(retriever, texts[:SAMPLE])
                print(f"{label:6} {mode:8} nDCG@10 {mean:.4f}  one query {each:.2f} ms")
    backend.close()
    index.close()


if __name__ == "__main__":
    main()
