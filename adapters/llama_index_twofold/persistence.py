"""Saving and loading a vector store as LlamaIndex does it."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.vector_stores.types import DEFAULT_PERSIST_DIR, DEFAULT_PERSIST_FNAME
from typing_extensions import Self

from llama_index_twofold.embedding import as_encoder
from llama_index_twofold.twins import AsyncTwins
from twofold import Encoder, Index
from twofold.index import AS_STORED


class PersistedStore(AsyncTwins, ABC):
    """A vector store over an index, whose folder is a copy when it is asked for one."""

    @property
    @abstractmethod
    def index(self) -> Any:
        """The index that holds everything."""

    def persist(self, persist_path: str, fs: Any = None) -> None:
        """Copy the index to a folder, which may hold an earlier copy; its own needs none."""
        _check_local(fs)
        target = Path(persist_path)
        if target.resolve() != self.index.path.resolve():
            self.index.copy(target, overwrite=True)

    @classmethod
    def from_persist_path(
        cls,
        persist_path: str,
        fs: Any = None,
        *,
        embed_model: Encoder | BaseEmbedding | str | None = None,
    ) -> Self:
        """Open what ``persist`` wrote; raise IndexNotFoundError where there is nothing."""
        _check_local(fs)
        encoder = as_encoder(embed_model) if embed_model is not None else AS_STORED
        index = Index.open(persist_path, encoder=encoder, create=False)
        return cls(index=index)  # type: ignore[call-arg]  # what every such store takes

    @classmethod
    def from_persist_dir(
        cls,
        persist_dir: str = DEFAULT_PERSIST_DIR,
        namespace: str = "default",
        fs: Any = None,
        *,
        embed_model: Encoder | BaseEmbedding | str | None = None,
    ) -> Self:
        """Open what ``StorageContext.persist(persist_dir)`` wrote."""
        place = Path(persist_dir) / f"{namespace}__{DEFAULT_PERSIST_FNAME}"
        return cls.from_persist_path(str(place), fs, embed_model=embed_model)


def _check_local(fs: Any) -> None:
    """Raise ValueError for a file system that an index can't be on."""
    if fs is not None and "file" not in getattr(fs, "protocol", ()):
        raise ValueError(f"{type(fs).__name__} is no local disk: an index is kept on one, leave fs")
