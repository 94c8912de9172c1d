"""The dense leg by kind and size: time to build, memory, latency and recall.

    python benchmarks/dense.py --vectors 10000 100000 1000000 --kinds flat one-bit hnsw ivf
    python benchmarks/dense.py --vectors 10000000 --kinds one-bit --chunk 500000

Vectors lie in clusters of about a thousand (benchmarks/vectors.py) and stream into a durable index;
each kind is then built over the same index. Recall is that of the ten best against exact search
of the stored vectors; memory is the structure's, and beside it what the process holds that no file
backs.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from vectors import clustered, clustered_queries

from twofold import Index, Retriever

DIM = 384
K = 10


def filled(folder: str, count: int, chunk: int) -> Index:
    """Return an index of ``count`` clustered vectors, of which one chunk is in memory at a time."""
    index = Index.open(folder, dim=DIM, metric="cosine", analyzer=None)
    index.reindex("flat")
    start = 0
    for block in clustered(count, DIM, block=chunk):
        names = range(start, start + len(block))
        index.upsert([{"id": str(name), "text": ""} for name in names], vectors=block)
        start += len(block)
    return index


def asked(retriever: Retriever, queries: NDArray[np.float32]) -> tuple[list[list[str]], float]:
    """Return the ids for each query, one by one, and the median milliseconds."""
    found, times = [], []
    for query in queries:
        started = time.perf_counter()
        found.append(retriever.retrieve(vector=query).ids)
        times.append(time.perf_counter() - started)
    return found, statistics.median(times) * 1e3


def recall(found: list[list[str]], best: list[list[str]]) -> float:
    """Return the share of the best that was found."""
    return float(np.mean([len(set(f) & set(b)) / K for f, b in zip(found, best, strict=True)]))


def resident() -> float:
    """Return the MiB that this process holds and no file backs."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def measure(count: int, kinds: list[str], chunk: int, asked_for: int) -> None:
    queries = clustered_queries(asked_for, DIM, of=count)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        filled(folder + "/i", count, chunk).close()
        print(f"\n{count:,} vectors stored in {time.perf_counter() - started:.0f} s", flush=True)
        index = Index.open(folder + "/i")
        exact = Retriever(index, mode="dense", k=K, exact=True)
        best = [hits.ids for hits in exact.retrieve_many(vectors=queries)]
        print(f"{'kind':10} {'built, s':>9} {'MiB':>8} {'anon MiB':>9} {'ms':>8} {'recall@10':>10}")
        for kind in kinds:
            started = time.perf_counter()
            index.reindex(kind)
            built = time.perf_counter() - started
            index.close()
            index = Index.open(folder + "/i")
            retriever = Retriever(index, mode="dense", k=K)
            asked(retriever, queries[:10])
            found, milliseconds = asked(retriever, queries)
            size = sum(path.stat().st_size for path in Path(folder).rglob("*.dense"))
            print(
                f"{kind:10} {built:9.1f} {size / 2**20:8.0f} {resident():9.0f} "
                f"{milliseconds:8.2f} {recall(found, best):10.4f}",
                flush=True,
            )
        index.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--kinds", nargs="+", default=["flat", "one-bit", "hnsw", "ivf", "ivf-pq"])
    parser.add_argument("--chunk", type=int, default=100_000, help="vectors in memory at a time")
    parser.add_argument("--queries", type=int, default=200)
    options = parser.parse_args()
    for count in options.vectors:
        measure(count, options.kinds, options.chunk, options.queries)


if __name__ == "__main__":
    main()
