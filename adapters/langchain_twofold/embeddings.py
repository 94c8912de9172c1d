"""Between LangChain's embeddings and encoders of the core."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from langchain_core.embeddings import Embeddings

from twofold import Encoder
from twofold.encoders import encoder_named
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


class TwofoldEmbeddings(Embeddings):
    """Any encoder of the core as LangChain's ``Embeddings``: queries and passages each their way.

    ``encoder`` is an encoder or a model's name.
    """

    def __init__(self, encoder: Encoder | str) -> None:
        self.encoder = encoder_named(encoder) if isinstance(encoder, str) else encoder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one vector a text, as Python floats."""
        if not texts:
            return []
        vectors: list[list[float]] = self.encoder.encode_passages(texts).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a query, as Python floats."""
        vector: list[float] = self.encoder.encode_queries([text])[0].tolist()
        return vector


def as_encoder(given: object) -> Any:
    """Return what ``Index.open`` takes as an encoder; LangChain's ``Embeddings`` are wrapped."""
    if isinstance(given, TwofoldEmbeddings):
        return given.encoder
    return EmbeddingsEncoder(given) if isinstance(given, Embeddings) else given


def as_embeddings(encoder: Encoder | None) -> Embeddings | None:
    """Return LangChain's ``Embeddings`` of an index's encoder, None where it has none."""
    if encoder is None:
        return None
    if isinstance(encoder, EmbeddingsEncoder):
        return encoder.embeddings
    return TwofoldEmbeddings(encoder)
