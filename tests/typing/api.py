"""What a typed program of a user looks like; checked by mypy, never run."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from langchain_twofold import TwofoldRetriever as LangChainRetriever
from llama_index_twofold import TwofoldRetriever as LlamaIndexRetriever
from twofold import Encoder, Hit, Hits, Index, Passage, Retriever, WeightedSum


class Mine:
    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.ones((len(texts), 3), np.float32)

    def encode_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.ones((len(texts), 3), np.float32)


encoder: Encoder = Mine()
with Index.open("papers.twofold", encoder=encoder, metric="cosine", analyzer="english") as index:
    index.upsert([Passage(id="1", text="a"), {"id": "2", "text": "b"}, "c"])
    index.upsert(["d"], vectors=np.ones((1, 3), np.float32))
    count: int = index.delete(ids=["2"]) + index.delete(where={"year": {"$lt": 2000}})
    passages: list[Passage] = index.get(["1"])
    retriever = Retriever(index, mode="hybrid", k=10, fusion=WeightedSum(dense_weight=0.6))
    hits: Hits = retriever.retrieve("query", k=5, where={"year": {"$gte": 2019}})
    first: Hit = hits[0]
    score: float = first.legs["dense"].score
    rank: int | None = first.legs["lexical"].rank
    many: list[Hits] = retriever.retrieve_many(["a", "b"], k=3)
    text: str = str(hits.explain())
    langchain = LangChainRetriever(retriever=retriever)
    llama_index = LlamaIndexRetriever(retriever=retriever, similarity_top_k=3)
