"""Between LangChain's embeddings and encoders of the core."""

from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import Any

import numpy as np
from langchain_core.embeddings import Embeddings

from twofold import Encoder
from twofold.concurrency import map_threads
from twofold.encoders import encoder_from_name
from twofold.types import Vectors

_AT_ONCE = 8
"""Queries that are encoded at a time: LangChain's method takes one, which is often a request."""


class EmbeddingsEncoder:
    """Encodes by any LangChain ``Embeddings``; its canary vectors are its identity.

    An index that was filled by such embeddings is opened with it:
    ``Index.open(path, encoder=EmbeddingsEncoder(embeddings))``.
    """

    def __init__(self, embeddings: Embeddings) -> None:
        self.embeddings = embeddings
        model = getattr(embeddings, "model_name", None) or getattr(embeddings, "model", "")
        kind = type(embeddings).__qualname__
        self.name = f"{kind}({model})" if isinstance(model, str) and model else kind

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return one vector a query, float32 (n, dim); up to 8 are encoded at a time."""
        embed = self.embeddings.embed_query
        calls = [(copy_context(), text) for text in texts]  # a context is entered by one thread
        vectors = map_threads(lambda call: call[0].run(embed, call[1]), calls, _AT_ONCE)
        return np.array(list(vectors), np.float32)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Return one vector a passage, float32 (n, dim)."""
        return np.array(self.embeddings.embed_documents(list(texts)), np.float32)


class FunctionEmbeddings(Embeddings):
    """A function from a text to its vector as LangChain's ``Embeddings``."""

    def __init__(self, function: Callable[[str], list[float]]) -> None:
        self.function = function
        self.model_name = getattr(function, "__qualname__", type(function).__qualname__)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one vector a text."""
        return [self.function(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a query."""
        return self.function(text)


class TwofoldEmbeddings(Embeddings):
    """Any encoder of the core as LangChain's ``Embeddings``: queries and passages each their way.

    ``encoder`` is an encoder or a model's name.
    """

    def __init__(self, encoder: Encoder | str) -> None:
        self.encoder = encoder_from_name(encoder) if isinstance(encoder, str) else encoder

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
