"""Embedding models of both frameworks, which hash words, and which no name finds again."""

from langchain_core.embeddings import Embeddings
from llama_index.core.base.embeddings.base import BaseEmbedding

from twofold import HashingEncoder

HASHING = HashingEncoder()


class Hashed(Embeddings):
    def embed_documents(self, texts):
        return HASHING.encode_passages(texts).tolist()

    def embed_query(self, text):
        return HASHING.encode_queries([text])[0].tolist()


class HashedNodes(BaseEmbedding):
    def _get_text_embedding(self, text):
        return HASHING.encode_passages([text])[0].tolist()

    def _get_query_embedding(self, query):
        return HASHING.encode_queries([query])[0].tolist()

    async def _aget_query_embedding(self, query):
        return self._get_query_embedding(query)
