"""Conversion between LlamaIndex embeddings and twofold encoders."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr

from twofold import Encoder, Retriever
from twofold.concurrency import call_in_loop, run_in_thread, runs_event_loop
from twofold.encoders import encoder_from_name
from twofold.index.open_options import check_encoder
from twofold.integrations import known_embeddings, loaded_encoder
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
        vectors, embed = known_embeddings(texts), self.embedding
        for text in texts:
            if text not in vectors:
                find = embed.aget_query_embedding, embed.get_query_embedding
                vectors[text] = call_in_loop(*find, text)
        return np.array([vectors[text] for text in texts], np.float32)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Return float32 vectors (n, dim)."""
        embed = self.embedding
        find = embed.aget_text_embedding_batch, embed.get_text_embedding_batch
        return np.array(call_in_loop(*find, list(texts)), np.float32)


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

    _encoder: Encoder | str = PrivateAttr()

    def __init__(
        self, encoder: Encoder | str, *, embed_batch_size: int = 256, **settings: Any
    ) -> None:
        if isinstance(encoder, str) and not runs_event_loop():
            encoder = encoder_from_name(encoder)
        kind = type(encoder).__qualname__
        name = encoder if isinstance(encoder, str) else str(getattr(encoder, "name", kind))
        settings.setdefault("model_name", name)
        super().__init__(embed_batch_size=embed_batch_size, **settings)
        self._encoder = encoder if isinstance(encoder, str) else check_encoder(encoder)

    @classmethod
    def class_name(cls) -> str:
        """Return the name for LlamaIndex's serialization."""
        return "TwofoldEmbedding"

    @property
    def encoder(self) -> Encoder:
        """The twofold encoder."""
        if isinstance(self._encoder, str):
            self._encoder = encoder_from_name(self._encoder)
        return self._encoder

    def _get_query_embedding(self, query: str) -> list[float]:
        vector: list[float] = self.encoder.encode_queries([query])[0].tolist()
        return vector

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        vectors: list[list[float]] = self.encoder.encode_passages(texts).tolist()
        return vectors

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await run_in_thread(self._get_query_embedding, query)

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await run_in_thread(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await run_in_thread(self._get_text_embeddings, texts)


def find_async_embed(retriever: Retriever) -> Callable[[str], Awaitable[list[float]]] | None:
    """Return the function that embeds a query of a retriever, None if it isn't LlamaIndex's."""
    encoder = loaded_encoder(retriever.index)
    if retriever.mode == "lexical" or not isinstance(encoder, EmbeddingEncoder):
        return None
    return encoder.embedding.aget_query_embedding


def as_encoder(encoder: object) -> Any:
    """Convert a LlamaIndex embedding to an encoder; return other values unchanged."""
    if isinstance(encoder, TwofoldEmbedding):
        return encoder.encoder
    return EmbeddingEncoder(encoder) if isinstance(encoder, BaseEmbedding) else encoder
