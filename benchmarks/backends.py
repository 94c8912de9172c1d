"""Compares an index on a server with the local index: scores, quality and speed.

Usage: python benchmarks/backends.py INDEX COLLECTION URL

INDEX is the folder of an index of COLLECTION, a BEIR folder; it is pushed to URL, such as
postgresql://user@localhost/database or milvus:///tmp/lite.db, under the name "benchmark".
``python tests/postgres_server.py`` starts a PostgreSQL server.
"""

import statistics
import sys
import time
from collections.abc import Sequence

from twofold import Index, Retriever, evaluate
from twofold.backends.moving import push
from twofold.backends.remote_index import RemoteIndex
from twofold.backends.urls import open_url
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


def compare_scores(index: Index, backend: RemoteIndex, queries: Sequence[str]) -> str:
    """Return the largest difference of a lexical score, and how many hits both have."""
    worst, shared, total = 0.0, 0, 0
    for query in queries:
        ours = Retriever(index, mode="lexical", k=100).retrieve(query)
        theirs = Retriever(backend, mode="lexical", k=100).retrieve(query)
        scores = dict(zip(ours.ids, ours.scores, strict=True))
        both = [(scores[name], score) for name, score in zip(theirs.ids, theirs.scores, strict=True)
                if name in scores]  # fmt: skip
        shared, total = shared + len(both), total + len(ours)
        worst = max([worst, *(abs(first - second) for first, second in both)])
    return f"{worst:.1e}, and {shared:,} of {total:,} hits are the same"


def report(label: str, target: Index | RemoteIndex, judged: dict[str, str], qrels: object) -> None:
    """Print quality and speed of all modes."""
    for mode in MODES:
        retriever = Retriever(target, mode=mode, k=10)
        mean = evaluate(retriever, judged, qrels, measures=["nDCG@10"]).measures["nDCG@10"]  # type: ignore[arg-type]  # as read
        each = time_each(retriever, list(judged.values())[:SAMPLE])
        print(f"{label:6} {mode:8} nDCG@10 {mean:.4f}  one query {each:.2f} ms")


def main() -> None:
    folder, collection, url = sys.argv[1:]
    queries = read_queries(f"{collection}/queries.jsonl")
    qrels = read_qrels(f"{collection}/qrels/test.tsv")
    judged = {name: queries[name] for name in qrels if name in queries}
    texts = list(judged.values())
    index = Index.open(folder, create=False, read_only=True)
    name = "collection" if url.startswith("milvus") else "schema"
    start = time.perf_counter()
    backend = open_url(url, {"template": index, name: "benchmark", "index_type": "flat"})
    moved = push(index, backend, replace=True)
    seconds = time.perf_counter() - start
    print(f"pushed {moved.passages:,} passages, {moved.vectors:,} vectors in {seconds:.1f} s")
    print(f"lexical: the largest difference of a score is {compare_scores(index, backend, texts)}")
    report("local", index, judged, qrels)
    report("exact", backend, judged, qrels)
    backend.reindex("hnsw")
    report("hnsw", backend, judged, qrels)
    backend.close()
    index.close()


if __name__ == "__main__":
    main()
