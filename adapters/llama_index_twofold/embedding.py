"""Conversion between LlamaIndex embeddings and twofold encoders."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr

from twofold import Encoder
from twofold.concurrency import run_in_thread
from twofold.encoders import encoder_from_name
from twofold.types import Vectors


class EmbeddingEncoder:
    """A LlamaIndex ``BaseEmbedding`` as a twofold encoder.

    twofold identifies the model by its vectors for a few fixed sentences.

    Args:
        embedding: Any LlamaIndex embedding.

    Example:
        >>> from llama_index.core import MockEmbedding
        >>> from twofold import Index
        >>> index = Index.open(None, encoder=EmbeddingEncoder(MockEmbedding(embed_dim=8)))
    """

    def __init__(self, embedding: BaseEmbedding) -> None:
        self.embedding = embedding
        self.name = f"{type(embedding).__qualname__}({embedding.model_name})"

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return float32 vectors (n, dim)."""
        vectors = [self.embedding.get_query_embedding(text) for text in texts]
        return np.array(vectors, np.float32)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Return float32 vectors (n, dim)."""
        return np.array(self.embedding.get_text_embedding_batch(list(texts)), np.float32)


class TwofoldEmbedding(BaseEmbedding):
    """A twofold encoder as a LlamaIndex ``BaseEmbedding``.

    Queries and texts are encoded with the model's separate prompts or towers. Async methods don't
    block the event loop.

    Args:
        encoder: A twofold encoder, or a model name.
        embed_batch_size: The number of texts encoded at a time.
        **settings: Other fields of ``BaseEmbedding``.

    Example:
        >>> len(TwofoldEmbedding("hashing").get_query_embedding("green tea"))
        256
    """

    _encoder: Encoder = PrivateAttr()

    def __init__(
        self, encoder: Encoder | str, *, embed_batch_size: int = 256, **settings: Any
    ) -> None:
        resolved = encoder_from_name(encoder) if isinstance(encoder, str) else encoder
        name = getattr(resolved, "name", type(resolved).__qualname__)
        settings.setdefault("model_name", str(name))
        super().__init__(embed_batch_size=embed_batch_size, **settings)
        self._encoder = resolved

    @classmethod
    def class_name(cls) -> str:
        """Return the name for LlamaIndex's serialization."""
        return "TwofoldEmbedding"

    @property
    def encoder(self) -> Encoder:
        """The twofold encoder."""
        return self._encoder

    def _get_query_embedding(self, query: str) -> list[float]:
        vector: list[float] = self._encoder.encode_queries([query])[0].tolist()
        return vector

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        vectors: list[list[float]] = self._encoder.encode_passages(texts).tolist()
        return vectors

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await run_in_thread(self._get_query_embedding, query)

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await run_in_thread(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await run_in_thread(self._get_text_embeddings, texts)


def as_encoder(encoder: object) -> Any:
    """Convert a LlamaIndex embedding to an encoder; return other values unchanged."""
    if isinstance(encoder, TwofoldEmbedding):
        return encoder.encoder
    return EmbeddingEncoder(encoder) if isinstance(encoder, BaseEmbedding) else encoder
