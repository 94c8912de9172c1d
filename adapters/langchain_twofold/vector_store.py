"""A LangChain vector store over a twofold index, for code that calls one."""

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from langchain_twofold.documents import as_passage, stored_document
from langchain_twofold.embeddings import as_embeddings, as_encoder
from langchain_twofold.options import refuse
from langchain_twofold.searches import SearchedStore
from twofold import Index, Metric, Retriever
from twofold.index import AS_STORED, AsStored
from twofold.lexical import AnalyzerLike


class TwofoldVectorStore(SearchedStore):
    """What is written for a FAISS store works over both legs.

    Searches by text are as ``retriever`` does them, hybrid where the index has both legs, and take
    its options: ``similarity_search(query, k=4, mode="dense", filter={"year": 2024})``. Filters are
    twofold's ``where`` or of the FAISS store's dialect. Searches by vector ask the dense leg.

    In scores, higher is better under every metric; a Euclidean one is the negative distance.
    """

    def __init__(self, index: Index | None = None, *, retriever: Retriever | None = None) -> None:
        """Serve an index, or a configured retriever."""
        if (index is None) == (retriever is None):
            raise ValueError("give index= (a twofold Index) or retriever= (a twofold Retriever)")
        if retriever is None and index is not None:
            retriever = Retriever(index, mode=index.modes[0], k=4)
        self.retriever: Any = retriever

    @classmethod
    def from_texts(  # type: ignore[override]  # its ids may be None, and its texts be encoded by default
        cls,
        texts: list[str],
        embedding: Embeddings | str | None = None,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str | None] | None = None,
        path: str | os.PathLike[str] | None = None,
        metric: Metric | str | None = None,
        analyzer: AnalyzerLike | AsStored | None = AS_STORED,
        **kwargs: Any,
    ) -> "TwofoldVectorStore":
        """Index texts in the folder ``path``, a temporary one if None.

        ``embedding`` is LangChain's or one of twofold's encoders; None is the default model.
        """
        refuse(kwargs, ("ids", "path", "metric", "analyzer"))
        encoder = as_encoder(embedding) if embedding is not None else AS_STORED
        store = cls(Index.open(path, encoder=encoder, metric=metric, analyzer=analyzer))
        store.add_texts(texts, metadatas, ids=ids)
        return store

    @property
    def index(self) -> Any:
        """The index that is searched."""
        return self.retriever.index

    @property
    def embeddings(self) -> Embeddings | None:
        """The index's encoder, None where it has none."""
        return as_embeddings(self.index.encoder)

    def add_documents(
        self, documents: list[Document], *, ids: list[str | None] | None = None, **kwargs: Any
    ) -> list[str]:
        """Add documents, and replace those whose ids are stored; return the ids.

        ``ids`` come before the documents' own; what has none gets one from its content.
        """
        refuse(kwargs, ("ids", "batch_size"))
        if ids is not None and len(ids) != len(documents):
            raise ValueError(f"{len(ids)} ids for {len(documents)} documents: give one each")
        if ids is not None:
            documents = [
                Document(id=own or each.id, page_content=each.page_content, metadata=each.metadata)
                for each, own in zip(documents, ids, strict=True)
            ]
        return list(self.index.upsert([as_passage(each) for each in documents]).ids)

    def add_texts(  # type: ignore[override]  # its ids may be None, as documents' are
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Add texts with their metadata, as ``add_documents`` does."""
        texts = list(texts)
        if metadatas is not None and len(metadatas) != len(texts):
            raise ValueError(f"{len(metadatas)} metadatas for {len(texts)} texts: give one each")
        own = metadatas if metadatas is not None else [{} for _ in texts]
        pairs = zip(texts, own, strict=True)
        documents = [Document(page_content=text, metadata=each or {}) for text, each in pairs]
        return self.add_documents(documents, ids=ids, **kwargs)

    def add_embeddings(
        self,
        text_embeddings: Iterable[tuple[str, Sequence[float]]],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str | None] | None = None,
    ) -> list[str]:
        """Add texts whose vectors are known."""
        pairs = list(text_embeddings)
        own = metadatas if metadatas is not None else [{} for _ in pairs]
        named = ids if ids is not None else [None for _ in pairs]
        passages = [
            {"id": each or "", "text": text, "metadata": metadata or {}}
            for (text, _), metadata, each in zip(pairs, own, named, strict=True)
        ]
        vectors = np.array([vector for _, vector in pairs], np.float32)
        return list(self.index.upsert(passages, vectors=vectors).ids) if pairs else []

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """Delete documents; ids that aren't stored don't matter. Raises ValueError without ids."""
        refuse(kwargs, ("ids",))
        if ids is None:
            raise ValueError("delete needs ids: to delete all, call index.delete(where={})")
        self.index.delete(ids)
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return the documents of these ids; unknown ones are left out."""
        return [stored_document(each) for each in self.index.get(ids)]
