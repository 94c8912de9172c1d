"""What a live FAISS store of langchain-community holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from langchain_twofold.embeddings import EmbeddingsEncoder, FunctionEmbeddings, as_encoder
from twofold import Encoder, Metric
from twofold.types import Vectors

_PARTS = ("index", "docstore", "index_to_docstore_id")
_METRICS = {0: Metric.DOT, 1: Metric.EUCLIDEAN}
"""FAISS's numbers of the inner product and of L2; the others have no twin here."""


@dataclass(frozen=True, slots=True)
class FaissStore:
    """Documents with ids, their vectors (n, dim), and what encodes queries, if anything does."""

    documents: Sequence[Document]
    vectors: Vectors
    metric: Metric
    encoder: Encoder | None

    @classmethod
    def held_by(cls, store: Any) -> "FaissStore":
        """Read a store; vectors without a document, as a failed add leaves them, are left out.

        Raises TypeError for what is no such store, ValueError where its index has another metric or
        can't give its vectors back.
        """
        if not all(hasattr(store, name) for name in _PARTS):
            raise TypeError(f"a FAISS store is wanted, not {type(store).__name__}: {store!r:.80}")
        metric = _metric(store)
        try:
            vectors = store.index.reconstruct_n(0, store.index.ntotal)
        except RuntimeError as error:
            raise ValueError(
                f"{type(store.index).__name__} can't give its vectors back: index the documents "
                "anew with TwofoldVectorStore.from_documents"
            ) from error
        named = store.index_to_docstore_id
        found = [(place, named[place], store.docstore.search(named[place])) for place in named]
        kept = [each for each in found if isinstance(each[2], Document)]
        documents = [
            Document(id=own, page_content=each.page_content, metadata=each.metadata)
            for _, own, each in kept
        ]
        places = [place for place, _, _ in kept]
        return cls(documents, np.asarray(vectors, np.float32)[places], metric, _encoder(store))

    def distinct(self) -> "FaissStore":
        """Return the first document of each text."""
        places = {each.page_content: at for at, each in reversed(list(enumerate(self.documents)))}
        kept = sorted(places.values())
        documents = [self.documents[place] for place in kept]
        return FaissStore(documents, self.vectors[kept], self.metric, self.encoder)


def _metric(store: Any) -> Metric:
    """Return what a store's index compares by, whatever its strategy is called."""
    kind = store.index.metric_type
    if kind not in _METRICS:
        raise ValueError(
            f"{type(store.index).__name__} compares by FAISS's metric {kind}: the inner product "
            "and L2 can be moved; index the documents anew with TwofoldVectorStore.from_documents"
        )
    if getattr(store, "_normalize_L2", False):
        return Metric.COSINE  # of vectors of length 1 all metrics give one order
    return _METRICS[kind]


def _encoder(store: Any) -> Encoder | None:
    """Return what encodes a store's queries: embeddings, or a function from a text to a vector."""
    given = getattr(store, "embedding_function", None)
    if isinstance(given, Embeddings):
        encoder: Encoder = as_encoder(given)
        return encoder
    return EmbeddingsEncoder(FunctionEmbeddings(given)) if callable(given) else None
