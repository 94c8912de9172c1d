"""Concurrent queries over a slow embedding service, beside the frameworks' own stores.

python benchmarks/async_embeddings.py [--queries 40] [--delay 0.3]
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore
from llama_index.core import VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import TextNode

import langchain_twofold
import llama_index_twofold
from twofold import HashingEncoder

HASHING = HashingEncoder()
TEXTS = [f"passage about topic{number}" for number in range(200)]


class Service(Embeddings):
    """Embeds by hashing; a query takes a while."""

    def __init__(self, delay: float) -> None:
        self.delay = delay

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one vector per text, at once."""
        vectors: list[list[float]] = HASHING.encode_passages(texts).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a query after the delay."""
        time.sleep(self.delay)
        return self.embed_documents([text])[0]

    async def aembed_query(self, text: str) -> list[float]:
        """Return the vector of a query after the delay."""
        await asyncio.sleep(self.delay)
        return self.embed_documents([text])[0]


class ServiceEmbedding(BaseEmbedding):
    """The same for LlamaIndex."""

    _delay: float = PrivateAttr(default=0.0)

    def _get_text_embedding(self, text: str) -> list[float]:
        return Service(0).embed_documents([text])[0]

    def _get_query_embedding(self, query: str) -> list[float]:
        return Service(self._delay).embed_query(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await Service(self._delay).aembed_query(query)


async def measure(ask: Callable[[str], Awaitable[Any]], queries: Sequence[str]) -> float:
    """Return the seconds that all queries take together."""
    await ask(queries[0])
    started = time.perf_counter()
    await asyncio.gather(*map(ask, queries))
    return time.perf_counter() - started


async def compare(count: int, delay: float) -> None:
    queries = [f"topic{number}" for number in range(count)]
    documents = [Document(text, id=str(at)) for at, text in enumerate(TEXTS)]
    theirs = await InMemoryVectorStore.afrom_documents(documents, Service(delay))
    ours = langchain_twofold.TwofoldRetriever.from_documents(documents, encoder=Service(delay), k=4)
    embedding = ServiceEmbedding(model_name="service")
    nodes = [TextNode(text=text, id_=str(at)) for at, text in enumerate(TEXTS)]
    their_index = VectorStoreIndex(nodes, embed_model=embedding)
    our_nodes = llama_index_twofold.TwofoldRetriever.from_nodes(nodes, encoder=embedding)
    embedding._delay = delay
    rows: dict[str, Callable[[str], Awaitable[Any]]] = {
        "LangChain InMemoryVectorStore": theirs.as_retriever().ainvoke,
        "twofold in LangChain": ours.ainvoke,
        "LlamaIndex SimpleVectorStore": their_index.as_retriever(similarity_top_k=4).aretrieve,
        "twofold in LlamaIndex": our_nodes.aretrieve,
    }
    seconds = {name: await measure(ask, queries) for name, ask in rows.items()}
    started = time.perf_counter()
    await ours.abatch(queries)
    seconds["twofold in LangChain, abatch"] = time.perf_counter() - started
    started = time.perf_counter()
    await our_nodes.aretrieve_many(queries)
    seconds["twofold in LlamaIndex, aretrieve_many"] = time.perf_counter() - started
    for name, taken in seconds.items():
        peer = (
            "LangChain InMemoryVectorStore"
            if "LangChain" in name
            else "LlamaIndex SimpleVectorStore"
        )
        print(f"{name:40} {taken:.3f} s  {taken / seconds[peer]:.2f} of {peer}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=40)
    parser.add_argument("--delay", type=float, default=0.3)
    arguments = parser.parse_args()
    asyncio.run(compare(arguments.queries, arguments.delay))


if __name__ == "__main__":
    main()
