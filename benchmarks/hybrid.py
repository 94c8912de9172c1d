"""What hybrid costs beside its slower leg alone, at the same depth.

    python benchmarks/hybrid.py --corpus FILE --texts 100000 [--encoded vectors.npy]

Query vectors are given, so that no encoder hides what follows it. Every system gives 10 passages;
legs alone are asked for 10 and for as many candidates as hybrid asks each leg for. By turns, in one
run; medians of single queries.
"""

import argparse
import statistics
import time

import numpy as np
from rich.console import Console
from rich.table import Table
from sampling import DIM, sampled_task

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
    task = sampled_task(given.corpus, given.texts, given.queries, given.encoded)
    with Index.open(None, dim=DIM, metric="dot") as index:
        index.upsert(
            ({"id": str(n), "text": text} for n, text in enumerate(task.texts)),
            vectors=task.vectors,
        )
        every = -np.finfo(np.float64).max  # a threshold that all reach: legs then look DEPTH deep
        systems = {
            "hybrid": Retriever(index, depth=DEPTH),
            f"dense, depth {DEPTH}": Retriever(index, mode="dense", depth=DEPTH, min_score=every),
            f"lexical, depth {DEPTH}": Retriever(
                index, mode="lexical", depth=DEPTH, min_score=every
            ),
            "dense, depth 10": Retriever(index, mode="dense"),
            "lexical, depth 10": Retriever(index, mode="lexical"),
        }
        pairs = list(zip(task.queries, task.query_vectors, strict=True))
        times: dict[str, list[float]] = {name: [] for name in systems}
        for turn in range(ROUNDS + 1):
            for name, retriever in systems.items():
                spent: list[float] = []
                for query, vector in pairs:
                    started = time.perf_counter()
                    if name.startswith("lexical"):
                        retriever.retrieve(query)
                    else:
                        retriever.retrieve(query, vector=vector)
                    spent.append(time.perf_counter() - started)
                if turn:  # the first warms
                    times[name].append(statistics.median(spent) * 1e3)
        middle = {name: statistics.median(each) for name, each in times.items()}
        slower = max(middle[f"dense, depth {DEPTH}"], middle[f"lexical, depth {DEPTH}"])
        table = Table("system", "ms a query", "of the slower leg at the same depth")
        for name, value in middle.items():
            table.add_row(name, f"{value:.3f}", f"{value / slower:.2f}")
        console.print(f"{len(index):,} texts, {index.index_type}")
        console.print(table)


if __name__ == "__main__":
    main()
