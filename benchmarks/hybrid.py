"""Latency of hybrid search compared with the slower leg at the same depth.

    python benchmarks/hybrid.py --corpus FILE --texts 100000 [--encoded vectors.npy]

Query vectors are given, so encoding isn't timed. Every system returns 10 passages. Single legs are
asked for 10 candidates, and for as many as hybrid asks each leg for. Systems take turns in one run;
the figures are medians of single queries.
"""

import argparse
import statistics
import time

import numpy as np
from rich.console import Console
from rich.table import Table
from sampling import DIM, sample_task

from twofold import Index, Retriever

ROUNDS = 7
DEPTH = 100
console = Console()


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--corpus", required=True)
    options.add_argument("--texts", type=int, default=100_000)
    options.add_argument("--queries", type=int, default=200)
    options.add_argument("--encoded")
    given = options.parse_args()
    task = sample_task(given.corpus, given.texts, given.queries, given.encoded)
    with Index.open(None, dim=DIM, metric="dot") as index:
        index.upsert(
            ({"id": str(n), "text": text} for n, text in enumerate(task.texts)),
            vectors=task.vectors,
        )
        lowest = -np.finfo(
            np.float64
        ).max  # a threshold that all hits reach makes single legs search DEPTH deep
        systems = {
            "hybrid": Retriever(index, depth=DEPTH),
            f"dense, depth {DEPTH}": Retriever(index, mode="dense", depth=DEPTH, min_score=lowest),
            f"lexical, depth {DEPTH}": Retriever(
                index, mode="lexical", depth=DEPTH, min_score=lowest
            ),
            "dense, depth 10": Retriever(index, mode="dense"),
            "lexical, depth 10": Retriever(index, mode="lexical"),
        }
        pairs = list(zip(task.queries, task.query_vectors, strict=True))
        times: dict[str, list[float]] = {name: [] for name in systems}
        for turn in range(ROUNDS + 1):
            for name, retriever in systems.items():
                seconds: list[float] = []
                for query, vector in pairs:
                    started = time.perf_counter()
                    if name.startswith("lexical"):
                        retriever.retrieve(query)
                    else:
                        retriever.retrieve(query, vector=vector)
                    seconds.append(time.perf_counter() - started)
                if turn:  # the first is a warm-up
                    times[name].append(statistics.median(seconds) * 1e3)
        medians = {name: statistics.median(values) for name, values in times.items()}
        slower = max(medians[f"dense, depth {DEPTH}"], medians[f"lexical, depth {DEPTH}"])
        table = Table("system", "ms a query", "of the slower leg at the same depth")
        for name, value in medians.items():
            table.add_row(name, f"{value:.3f}", f"{value / slower:.2f}")
        console.print(f"{len(index):,} texts, {index.index_type}")
        console.print(table)


if __name__ == "__main__":
    main()
