"""LlamaIndex's BaseEmbedding as an encoder of the core."""

from collections.abc import Sequence

import numpy as np
from llama_index.core.base.embeddings.base import BaseEmbedding

from twofold.types import Vectors


class EmbeddingEncoder:
    """Encodes by any LlamaIndex ``BaseEmbedding``; its canary vectors are its identity."""

    def __init__(self, embedding: BaseEmbedding) -> None:
        self.embedding = embedding
        self.name = f"{type(embedding).__qualname__}({embedding.model_name})"

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return one vector a query, float32 (n, dim)."""
        vectors = [self.embedding.get_query_embedding(text) for text in texts]
        return np.array(vectors, np.float32)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Return one vector a passage, float32 (n, dim)."""
        return np.array(self.embedding.get_text_embedding_batch(list(texts)), np.float32)
