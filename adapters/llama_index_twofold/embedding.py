"""Between LlamaIndex's embeddings and encoders of the core."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr

from twofold import Encoder
from twofold.concurrency import in_thread
from twofold.encoders import encoder_from_name
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


class TwofoldEmbedding(BaseEmbedding):
    """Any encoder of the core as LlamaIndex's ``BaseEmbedding``, with the model's own prompts.

    ``encoder`` is an encoder or a model's name. Queries and texts are encoded each their way, by
    what the model was saved with; nothing blocks the loop.
    """

    _encoder: Encoder = PrivateAttr()

    def __init__(
        self, encoder: Encoder | str, *, embed_batch_size: int = 256, **settings: Any
    ) -> None:
        """Take an encoder; ``settings`` are those of every ``BaseEmbedding``."""
        made = encoder_from_name(encoder) if isinstance(encoder, str) else encoder
        settings.setdefault("model_name", str(getattr(made, "name", type(made).__qualname__)))
        super().__init__(embed_batch_size=embed_batch_size, **settings)
        self._encoder = made

    @classmethod
    def class_name(cls) -> str:
        """Return the name that LlamaIndex shows."""
        return "TwofoldEmbedding"

    @property
    def encoder(self) -> Encoder:
        """The encoder of the core."""
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
        return await in_thread(self._get_query_embedding, query)

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await in_thread(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await in_thread(self._get_text_embeddings, texts)


def as_encoder(given: object) -> Any:
    """Return what ``Index.open`` takes as an encoder; LlamaIndex's embeddings are wrapped."""
    if isinstance(given, TwofoldEmbedding):
        return given.encoder
    return EmbeddingEncoder(given) if isinstance(given, BaseEmbedding) else given
