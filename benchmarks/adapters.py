"""Overhead of the framework adapters per query, and the speed-up of batches.

    python benchmarks/adapters.py --corpus FILE --texts 100000 --encoded vectors.npy

All systems get texts. For single queries the vectors are looked up, so that encoding doesn't hide
the overhead; for the batch, the model encodes. An adapter returns documents, so the core is also
timed with its passages read. "nodes at hand" is LlamaIndex's ``retrieve`` around a retriever that
returns ten fixed nodes: the overhead of any retriever. Systems take turns; the figures are medians.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle
from rich.console import Console
from sampling import Task, sample_task

from langchain_twofold import TwofoldRetriever
from llama_index_twofold import TwofoldRetriever as NodeRetriever
from twofold import Index, Retriever
from twofold.encoders import DEFAULT_ENCODER, encoder_from_name
from twofold.types import Vectors

ROUNDS = 7
BATCH = 100
console = Console()


class KnownVectors:
    """An encoder that looks up query vectors."""

    name = "known"

    def __init__(self, task: Task) -> None:
        self._of = dict(zip(task.queries, task.query_vectors, strict=True))
        self._blank = np.ones(task.vectors.shape[1], np.float32)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return the queries' vectors (n, dim)."""
        return np.array([self._of.get(text, self._blank) for text in texts])

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Return placeholders; an index encodes only its canary texts here."""
        return np.tile(self._blank, (len(texts), 1))


class FixedRetriever(BaseRetriever):
    """Returns the same nodes for every query."""

    def __init__(self, nodes: list[NodeWithScore]) -> None:
        self._nodes = nodes
        super().__init__()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:  # noqa: ARG002
        return self._nodes


def milliseconds(ask: Callable[[str], object], queries: Sequence[str]) -> float:
    """Return the median milliseconds of single queries."""
    spent = []
    for query in queries:
        started = time.perf_counter()
        ask(query)
        spent.append(time.perf_counter() - started)
    return statistics.median(spent) * 1e3


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--corpus", required=True)
    options.add_argument("--texts", type=int, default=100_000)
    options.add_argument("--encoded", required=True)
    given = options.parse_args()
    task = sample_task(given.corpus, given.texts, 200, given.encoded)
    passages = [{"id": str(n), "text": text} for n, text in enumerate(task.texts)]
    with Index.open(None, encoder=KnownVectors(task), metric="dot") as index:
        index.upsert(passages, vectors=task.vectors)
        core, nodes = Retriever(index), NodeRetriever(index)
        systems: dict[str, Callable[[str], object]] = {
            "core": core.retrieve,
            "core, passages read": lambda query: [hit.passage for hit in core.retrieve(query)],
            "LangChain": TwofoldRetriever(index=index).invoke,
            "LlamaIndex": nodes.retrieve,
            "LlamaIndex, nodes at hand": FixedRetriever(nodes.retrieve(task.queries[0])).retrieve,
        }
        times: dict[str, list[float]] = {name: [] for name in systems}
        for turn in range(ROUNDS + 1):
            for name, ask in systems.items():
                spent = milliseconds(ask, task.queries)
                if turn:  # the first is a warm-up
                    times[name].append(spent)
        core_time = statistics.median(times["core"])
        for name, values in times.items():
            spent = statistics.median(values)
            console.print(f"{name}: {spent:.3f} ms, {spent - core_time:+.3f} ms")
    with Index.open(None, encoder=encoder_from_name(DEFAULT_ENCODER), metric="dot") as index:
        index.upsert(passages, vectors=task.vectors)
        adapter, queries = TwofoldRetriever(index=index), task.queries[:BATCH]
        adapter.batch(queries)
        ratios = []
        for _ in range(3):
            started = time.perf_counter()
            together = adapter.batch(queries)
            between = time.perf_counter()
            alone = [adapter.invoke(query) for query in queries]
            ended = time.perf_counter()
            ratios.append((ended - between) / (between - started))
            same = sum(
                [each.id for each in a] == [each.id for each in b]
                for a, b in zip(together, alone, strict=True)
            )
        console.print(
            f"batch of {BATCH}: {statistics.median(ratios):.1f} times as fast as one by one, "
            f"{same} with equal documents"
        )


if __name__ == "__main__":
    main()
