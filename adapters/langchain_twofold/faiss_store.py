"""What a live FAISS store of langchain-community holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from langchain_twofold.embeddings import EmbeddingsEncoder, FunctionEmbeddings, as_encoder
from twofold import Encoder, Metric
from twofold.dense import read_faiss_vectors
from twofold.types import Vectors

_PARTS = ("index", "docstore", "index_to_docstore_id")


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

        Raises TypeError for what is no such store, InputError where its index has another metric or
        doesn't keep its vectors as they came.
        """
        if not all(hasattr(store, name) for name in _PARTS):
            raise TypeError(f"a FAISS store is wanted, not {type(store).__name__}: {store!r:.80}")
        moved = read_faiss_vectors(store.index)
        # Of vectors of length 1 all metrics give one order.
        metric = Metric.COSINE if getattr(store, "_normalize_L2", False) else moved.metric
        named = store.index_to_docstore_id
        found = [(place, named[place], store.docstore.search(named[place])) for place in named]
        kept = [each for each in found if isinstance(each[2], Document)]
        documents = [
            Document(id=own, page_content=each.page_content, metadata=each.metadata)
            for _, own, each in kept
        ]
        places = [place for place, _, _ in kept]
        return cls(documents, moved.vectors[places], metric, _encoder(store))

    def distinct(self) -> "FaissStore":
        """Return the first document of each text."""
        places = {each.page_content: at for at, each in reversed(list(enumerate(self.documents)))}
        kept = sorted(places.values())
        documents = [self.documents[place] for place in kept]
        return FaissStore(documents, self.vectors[kept], self.metric, self.encoder)


def _encoder(store: Any) -> Encoder | None:
    """Return what encodes a store's queries: embeddings, or a function from a text to a vector."""
    given = getattr(store, "embedding_function", None)
    if isinstance(given, Embeddings):
        encoder: Encoder = as_encoder(given)
        return encoder
    return EmbeddingsEncoder(FunctionEmbeddings(given)) if callable(given) else None
