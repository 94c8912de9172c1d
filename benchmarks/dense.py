"""Build time, memory, latency and recall of the dense index types by size.

    python benchmarks/dense.py --vectors 10000 100000 1000000 --types flat one-bit hnsw ivf
    python benchmarks/dense.py --vectors 10000000 --types one-bit --chunk 500000

The vectors form clusters of about a thousand (benchmarks/vectors.py) and are streamed into a
durable index. Each type is then built over the same index. Recall@10 is against exact search of the
stored vectors. MiB is the size of the structure, and anon MiB is the process's memory that no file
backs.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from vectors import draw_clustered_queries, draw_clustered_vectors

from twofold import Index, Retriever

DIM = 384
K = 10


def build_index(folder: str, count: int, chunk: int) -> Index:
    """Build an index of ``count`` clustered vectors with one chunk in memory at a time."""
    index = Index.open(folder, dim=DIM, metric="cosine", analyzer=None)
    index.reindex("flat")
    start = 0
    for block in draw_clustered_vectors(count, DIM, block=chunk):
        names = range(start, start + len(block))
        index.upsert([{"id": str(name), "text": ""} for name in names], vectors=block)
        start += len(block)
    return index


def time_queries(
    retriever: Retriever, queries: NDArray[np.float32]
) -> tuple[list[list[str]], float]:
    """Return the ids for each query, asked one by one, and the median milliseconds."""
    found, times = [], []
    for query in queries:
        started = time.perf_counter()
        found.append(retriever.retrieve(vector=query).ids)
        times.append(time.perf_counter() - started)
    return found, statistics.median(times) * 1e3


def recall(found: list[list[str]], exact_ids: list[list[str]]) -> float:
    """Return the mean share of the exact ids that were found."""
    return float(np.mean([len(set(f) & set(b)) / K for f, b in zip(found, exact_ids, strict=True)]))


def anonymous_memory() -> float:
    """Return this process's anonymous memory in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def measure(count: int, index_types: list[str], chunk: int, query_count: int) -> None:
    queries = draw_clustered_queries(query_count, DIM, of=count)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        build_index(folder + "/i", count, chunk).close()
        print(f"\n{count:,} vectors stored in {time.perf_counter() - started:.0f} s", flush=True)
        index = Index.open(folder + "/i")
        exact = Retriever(index, mode="dense", k=K, exact=True)
        exact_ids = [hits.ids for hits in exact.retrieve_many(vectors=queries)]
        print(f"{'type':10} {'built, s':>9} {'MiB':>8} {'anon MiB':>9} {'ms':>8} {'recall@10':>10}")
        for index_type in index_types:
            started = time.perf_counter()
            index.reindex(index_type)
            built = time.perf_counter() - started
            index.close()
            index = Index.open(folder + "/i")
            retriever = Retriever(index, mode="dense", k=K)
            time_queries(retriever, queries[:10])
            found, milliseconds = time_queries(retriever, queries)
            size = sum(path.stat().st_size for path in Path(folder).rglob("*.dense"))
            print(
                f"{index_type:10} {built:9.1f} {size / 2**20:8.0f} {anonymous_memory():9.0f} "
                f"{milliseconds:8.2f} {recall(found, exact_ids):10.4f}",
                flush=True,
            )
        index.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--types", nargs="+", default=["flat", "one-bit", "hnsw", "ivf", "ivf-pq"])
    parser.add_argument("--chunk", type=int, default=100_000, help="vectors in memory at a time")
    parser.add_argument("--queries", type=int, default=200)
    options = parser.parse_args()
    for count in options.vectors:
        measure(count, options.types, options.chunk, options.queries)


if __name__ == "__main__":
    main()
