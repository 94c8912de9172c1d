"""What each framework's face adds to a query, and what a batch saves.

    python benchmarks/adapters.py --corpus FILE --texts 100000 --encoded vectors.npy

All are asked with texts. To see an adapter beside the core's milliseconds, query vectors are
looked up; for the batch, the model encodes. By turns, in one run; medians. An adapter gives
documents, so the core is timed with its passages read too. "nodes at hand" is LlamaIndex's own
``retrieve`` around a retriever that returns ten nodes which it has: what it adds to any retriever.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle
from rich.console import Console
from sampling import Task, sampled_task

from langchain_twofold import TwofoldRetriever
from llama_index_twofold import TwofoldRetriever as NodeRetriever
from twofold import Index, Retriever
from twofold.encoders import DEFAULT_ENCODER, encoder_from_name
from twofold.types import Vectors

ROUNDS = 7
BATCH = 100
console = Console()


class KnownVectors:
    """Gives each query the vector that it is known to have."""

    name = "known"

    def __init__(self, task: Task) -> None:
        self._of = dict(zip(task.queries, task.query_vectors, strict=True))
        self._blank = np.ones(task.vectors.shape[1], np.float32)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return known vectors (n, dim)."""
        return np.array([self._of.get(text, self._blank) for text in texts])

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Return vectors for canaries alone."""
        return np.tile(self._blank, (len(texts), 1))


class AtHand(BaseRetriever):
    """Returns the same nodes, at once."""

    def __init__(self, nodes: list[NodeWithScore]) -> None:
        self._nodes = nodes
        super().__init__()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:  # noqa: ARG002  # asked
        return self._nodes


def milliseconds(ask: Callable[[str], object], queries: Sequence[str]) -> float:
    """Return the median of single queries."""
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
    task = sampled_task(given.corpus, given.texts, 200, given.encoded)
    passages = [{"id": str(n), "text": text} for n, text in enumerate(task.texts)]
    with Index.open(None, encoder=KnownVectors(task), metric="dot") as index:
        index.upsert(passages, vectors=task.vectors)
        core, nodes = Retriever(index), NodeRetriever(index)
        systems: dict[str, Callable[[str], object]] = {
            "core": core.retrieve,
            "core, passages read": lambda query: [hit.passage for hit in core.retrieve(query)],
            "LangChain": TwofoldRetriever(index=index).invoke,
            "LlamaIndex": nodes.retrieve,
            "LlamaIndex, nodes at hand": AtHand(nodes.retrieve(task.queries[0])).retrieve,
        }
        times: dict[str, list[float]] = {name: [] for name in systems}
        for turn in range(ROUNDS + 1):
            for name, ask in systems.items():
                spent = milliseconds(ask, task.queries)
                if turn:  # the first warms
                    times[name].append(spent)
        own = statistics.median(times["core"])
        for name, each in times.items():
            spent = statistics.median(each)
            console.print(f"{name}: {spent:.3f} ms, {spent - own:+.3f} ms")
    with Index.open(None, encoder=encoder_from_name(DEFAULT_ENCODER), metric="dot") as index:
        index.upsert(passages, vectors=task.vectors)
        adapter, some = TwofoldRetriever(index=index), task.queries[:BATCH]
        adapter.batch(some)
        ratios = []
        for _ in range(3):
            started = time.perf_counter()
            together = adapter.batch(some)
            between = time.perf_counter()
            alone = [adapter.invoke(query) for query in some]
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
