"""LangChain's Embeddings as an encoder of the core."""

from collections.abc import Sequence

import numpy as np
from langchain_core.embeddings import Embeddings

from twofold.types import Vectors


class EmbeddingsEncoder:
    """Encodes by any LangChain ``Embeddings``; its canary vectors are its identity."""

    def __init__(self, embeddings: Embeddings) -> None:
        self.embeddings = embeddings
        model = getattr(embeddings, "model_name", None) or getattr(embeddings, "model", "")
        kind = type(embeddings).__qualname__
        self.name = f"{kind}({model})" if isinstance(model, str) and model else kind

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return one vector a query, float32 (n, dim)."""
        return np.array([self.embeddings.embed_query(text) for text in texts], np.float32)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Return one vector a passage, float32 (n, dim)."""
        return np.array(self.embeddings.embed_documents(list(texts)), np.float32)
