"""A LangChain vector store over a twofold index, for code that calls one."""

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.runnables.config import run_in_executor
from typing_extensions import Self

from langchain_twofold.documents import as_passage, built, identified, stored_document
from langchain_twofold.embeddings import as_embeddings, as_encoder
from langchain_twofold.options import refuse
from langchain_twofold.persistence import PersistedStore
from twofold import Encoder, Index, Metric, Retriever
from twofold.index import AS_STORED, AsStored, create_filled_index
from twofold.lexical import AnalyzerLike

Folder = str | os.PathLike[str] | None
Model = Embeddings | Encoder | str | None
_OPENING = ("ids", "path", "metric", "analyzer")


class TwofoldVectorStore(PersistedStore):
    """What is written for a FAISS store works over both legs.

    Searches by text are as ``retriever`` does them, hybrid where the index has both legs, and take
    its options: ``similarity_search(query, k=4, mode="dense", filter={"year": 2024})``. Filters are
    twofold's ``where`` or of the FAISS store's dialect. Searches by vector ask the dense leg, and
    so do those by relevance or with a threshold of it, unless ``mode`` says otherwise.

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
    def from_texts(
        cls,
        texts: Iterable[str],
        embedding: Model = None,
        metadatas: Iterable[dict[str, Any]] | None = None,
        *,
        ids: Iterable[str | None] | None = None,
        path: Folder = None,
        metric: Metric | str | None = None,
        analyzer: AnalyzerLike | AsStored | None = AS_STORED,
        **kwargs: Any,
    ) -> Self:
        """Index texts in the folder ``path``, a temporary one if None.

        ``embedding`` is LangChain's or one of twofold's encoders; None is the default model.
        """
        refuse(kwargs, _OPENING)
        documents = built(texts, metadatas, ids)
        index = create_filled_index(
            path,
            [as_passage(each) for each in documents],
            encoder=as_encoder(embedding) if embedding is not None else AS_STORED,
            metric=metric,
            analyzer=analyzer,
        )
        return cls(index)

    @classmethod
    def from_documents(
        cls, documents: Iterable[Document], embedding: Model = None, **kwargs: Any
    ) -> Self:
        """Index documents, as ``from_texts`` does texts."""
        found = list(documents)
        if kwargs.get("ids") is None:
            kwargs["ids"] = [each.id for each in found]
        texts, metadatas = [each.page_content for each in found], [each.metadata for each in found]
        return cls.from_texts(texts, embedding, metadatas, **kwargs)

    @classmethod
    async def afrom_documents(
        cls, documents: Iterable[Document], embedding: Model = None, **kwargs: Any
    ) -> Self:
        """Do what ``from_documents`` does, without blocking the loop."""
        return await run_in_executor(None, cls.from_documents, documents, embedding, **kwargs)

    @classmethod
    def from_embeddings(
        cls,
        text_embeddings: Iterable[tuple[str, Sequence[float]]],
        embedding: Model,
        metadatas: Iterable[dict[str, Any]] | None = None,
        ids: Iterable[str | None] | None = None,
        *,
        path: Folder = None,
        metric: Metric | str | None = None,
        analyzer: AnalyzerLike | AsStored | None = AS_STORED,
        **kwargs: Any,
    ) -> Self:
        """Index texts whose vectors are known; ``embedding`` encodes queries, as it did these.

        Without one, None, searches of the dense leg are by vector.
        """
        refuse(kwargs, _OPENING)
        pairs = list(text_embeddings)
        documents = built((text for text, _ in pairs), metadatas, ids)
        index = create_filled_index(
            path,
            [as_passage(each) for each in documents],
            encoder=as_encoder(embedding),
            dim="first" if embedding is None else None,
            metric=metric,
            analyzer=analyzer,
            vectors=np.array([vector for _, vector in pairs], np.float32),
        )
        return cls(index)

    @classmethod
    async def afrom_embeddings(
        cls,
        text_embeddings: Iterable[tuple[str, Sequence[float]]],
        embedding: Model,
        metadatas: Iterable[dict[str, Any]] | None = None,
        ids: Iterable[str | None] | None = None,
        **kwargs: Any,
    ) -> Self:
        """Do what ``from_embeddings`` does, without blocking the loop."""
        given = (text_embeddings, embedding, metadatas, ids)
        return await run_in_executor(None, cls.from_embeddings, *given, **kwargs)

    @property
    def index(self) -> Any:
        """The index that is searched."""
        return self.retriever.index

    @property
    def embeddings(self) -> Embeddings | None:
        """The index's encoder, None where it has none."""
        return as_embeddings(self.index.encoder)

    def add_documents(
        self,
        documents: Iterable[Document],
        *,
        ids: Iterable[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Add documents, and replace those whose ids are stored; return the ids.

        ``ids`` come before the documents' own; what has none gets one from its content.
        """
        refuse(kwargs, ("ids", "batch_size"))
        passages = [as_passage(each) for each in identified(documents, ids)]
        return list(self.index.upsert(passages).ids)

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: Iterable[dict[str, Any]] | None = None,
        *,
        ids: Iterable[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Add texts with their metadata, as ``add_documents`` does."""
        return self.add_documents(built(texts, metadatas, ids), **kwargs)

    def add_embeddings(
        self,
        text_embeddings: Iterable[tuple[str, Sequence[float]]],
        metadatas: Iterable[dict[str, Any]] | None = None,
        *,
        ids: Iterable[str | None] | None = None,
    ) -> list[str]:
        """Add texts whose vectors are known."""
        pairs = list(text_embeddings)
        documents = built((text for text, _ in pairs), metadatas, ids)
        vectors = np.array([vector for _, vector in pairs], np.float32)
        passages = [as_passage(each) for each in documents]
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
