"""Conversion between LangChain embeddings and twofold encoders."""

from collections.abc import Awaitable, Callable, Sequence
from contextvars import copy_context
from typing import Any

import numpy as np
from langchain_core.embeddings import Embeddings

from twofold import Encoder, Index, Retriever
from twofold.backends.remote_index import RemoteIndex
from twofold.concurrency import call_in_loop, map_threads, runs_event_loop
from twofold.encoders import encoder_from_name
from twofold.errors import QueryError
from twofold.index.open_options import check_encoder
from twofold.integrations import known_embeddings, last_encoder_name, loaded_encoder
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
        vectors, embed = known_embeddings(texts), self.embeddings.embed_query
        rest = [text for text in dict.fromkeys(texts) if text not in vectors]
        calls = [(copy_context(), text) for text in rest]  # only one thread can enter a context
        found = map_threads(lambda call: call[0].run(embed, call[1]), calls, _CONCURRENT_QUERIES)
        vectors |= zip(rest, found, strict=True)
        return np.array([vectors[text] for text in texts], np.float32)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Return float32 vectors (n, dim)."""
        embed = self.embeddings
        found = call_in_loop(embed.aembed_documents, embed.embed_documents, list(texts))
        return np.array(found, np.float32)


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
        encoder: A twofold encoder, a model name, or an index for its encoder.

    Example:
        >>> len(TwofoldEmbeddings("hashing").embed_query("green tea"))
        256
    """

    def __init__(self, encoder: Encoder | Index | RemoteIndex | str) -> None:
        known = isinstance(encoder, str | Index | RemoteIndex)
        self._source = encoder if known else check_encoder(encoder)
        if isinstance(encoder, str) and not runs_event_loop():
            _ = self.encoder  # raises for an unknown name

    @property
    def encoder(self) -> Encoder:
        """The twofold encoder."""
        source = self._source
        if isinstance(source, str):
            source = self._source = encoder_from_name(source)
        encoder = source.encoder if isinstance(source, Index | RemoteIndex) else source
        if encoder is None:
            raise QueryError(f"{source!r} has no encoder: pass vectors instead of texts")
        return encoder

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


def find_async_embed(
    retriever: Retriever, mode: str | None = None
) -> Callable[[str], Awaitable[list[float]]] | None:
    """Return the function that embeds a query of a retriever, None if it isn't LangChain's."""
    encoder = loaded_encoder(retriever.index)
    if (mode or retriever.mode) == "lexical" or not isinstance(encoder, EmbeddingsEncoder):
        return None
    return encoder.embeddings.aembed_query


def as_encoder(encoder: object) -> Any:
    """Convert LangChain ``Embeddings`` to an encoder; return other values unchanged."""
    if isinstance(encoder, TwofoldEmbeddings):
        return encoder.encoder
    return EmbeddingsEncoder(encoder) if isinstance(encoder, Embeddings) else encoder


def embeddings_of(index: Any) -> Embeddings | None:
    """Return the encoder of an index or backend as ``Embeddings``, or None. Reads no file."""
    encoder = loaded_encoder(index)
    if isinstance(encoder, EmbeddingsEncoder):
        return encoder.embeddings
    if isinstance(index, Index | RemoteIndex):
        return TwofoldEmbeddings(index) if last_encoder_name(index) is not None else None
    return TwofoldEmbeddings(encoder) if encoder is not None else None
