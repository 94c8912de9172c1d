"""Conversion between LangChain embeddings and twofold encoders."""

from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import Any

import numpy as np
from langchain_core.embeddings import Embeddings

from twofold import Encoder
from twofold.concurrency import map_threads
from twofold.encoders import encoder_from_name
from twofold.types import Vectors

_CONCURRENT_QUERIES = 8
"""Queries encoded at a time: ``embed_query`` takes one, and is often a network request."""


class EmbeddingsEncoder:
    """A LangChain ``Embeddings`` as a twofold encoder.

    twofold identifies the model by its vectors for a few fixed sentences.

    Args:
        embeddings: Any LangChain embeddings.

    Example:
        >>> from langchain_core.embeddings import DeterministicFakeEmbedding
        >>> from twofold import Index
        >>> encoder = EmbeddingsEncoder(DeterministicFakeEmbedding(size=8))
        >>> index = Index.open(None, encoder=encoder)
    """

    def __init__(self, embeddings: Embeddings) -> None:
        self.embeddings = embeddings
        model = getattr(embeddings, "model_name", None) or getattr(embeddings, "model", "")
        kind = type(embeddings).__qualname__
        self.name = f"{kind}({model})" if isinstance(model, str) and model else kind

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return float32 vectors (n, dim); up to 8 queries are encoded concurrently."""
        embed = self.embeddings.embed_query
        calls = [(copy_context(), text) for text in texts]  # only one thread can enter a context
        vectors = map_threads(lambda call: call[0].run(embed, call[1]), calls, _CONCURRENT_QUERIES)
        return np.array(list(vectors), np.float32)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Return float32 vectors (n, dim)."""
        return np.array(self.embeddings.embed_documents(list(texts)), np.float32)


class FunctionEmbeddings(Embeddings):
    """A function from a text to its vector as LangChain ``Embeddings``."""

    def __init__(self, function: Callable[[str], list[float]]) -> None:
        self.function = function
        self.model_name = getattr(function, "__qualname__", type(function).__qualname__)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one vector per text."""
        return [self.function(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a query."""
        return self.function(text)


class TwofoldEmbeddings(Embeddings):
    """A twofold encoder as LangChain ``Embeddings``.

    Queries and passages are encoded with the model's separate prompts or towers.

    Args:
        encoder: A twofold encoder, or a model name.

    Example:
        >>> len(TwofoldEmbeddings("hashing").embed_query("green tea"))
        256
    """

    def __init__(self, encoder: Encoder | str) -> None:
        self.encoder = encoder_from_name(encoder) if isinstance(encoder, str) else encoder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one vector per text, as Python floats."""
        if not texts:
            return []
        vectors: list[list[float]] = self.encoder.encode_passages(texts).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a query, as Python floats."""
        vector: list[float] = self.encoder.encode_queries([text])[0].tolist()
        return vector


def as_encoder(encoder: object) -> Any:
    """Convert LangChain ``Embeddings`` to an encoder; return other values unchanged."""
    if isinstance(encoder, TwofoldEmbeddings):
        return encoder.encoder
    return EmbeddingsEncoder(encoder) if isinstance(encoder, Embeddings) else encoder


def as_embeddings(encoder: Encoder | None) -> Embeddings | None:
    """Convert an encoder to LangChain ``Embeddings``; None stays None."""
    if encoder is None:
        return None
    if isinstance(encoder, EmbeddingsEncoder):
        return encoder.embeddings
    return TwofoldEmbeddings(encoder)
