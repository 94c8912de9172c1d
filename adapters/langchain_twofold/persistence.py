"""Saving, loading and merging a vector store as the FAISS store does it."""

import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.embeddings import Embeddings
from typing_extensions import Self

from langchain_twofold.embeddings import as_encoder
from langchain_twofold.options import refuse
from langchain_twofold.twins import AsyncTwins
from twofold import Encoder, Index
from twofold.index import AS_STORED

_MERGED = 4096  # passages with their vectors at a time


class PersistedStore(AsyncTwins, ABC):
    """A vector store over an index, which is on disk already: what is saved is a copy."""

    @property
    @abstractmethod
    def index(self) -> Any:
        """The index that is searched."""

    def save_local(self, folder_path: str | os.PathLike[str], index_name: str = "index") -> None:
        """Copy the index to a folder of its own, which may hold an earlier copy."""
        _check_name(index_name)
        target = Path(folder_path)
        if target.resolve() != self.index.path.resolve():
            self.index.copy(target, overwrite=True)

    @classmethod
    def load_local(
        cls,
        folder_path: str | os.PathLike[str],
        embeddings: Embeddings | Encoder | str | None = None,
        index_name: str = "index",
        *,
        allow_dangerous_deserialization: bool = False,  # noqa: ARG003  # nothing is unpickled
        **kwargs: Any,
    ) -> Self:
        """Open an index where it is, by ``save_local`` or ``path=``; metric and words are stored.

        ``embeddings`` must be what filled it; left out, the model that the index names. Raises
        IndexNotFoundError where there is none.
        """
        refuse(kwargs, ("embeddings", "allow_dangerous_deserialization"))
        _check_name(index_name)
        encoder = as_encoder(embeddings) if embeddings is not None else AS_STORED
        return cls(Index.open(folder_path, encoder=encoder, create=False))  # type: ignore[call-arg]  # what every such store takes

    def merge_from(self, target: "PersistedStore") -> None:
        """Add the documents of another store with their vectors, in place of those of equal ids.

        Raises ValueError where those are another model's or for another metric.
        """
        if not isinstance(target, PersistedStore):
            raise TypeError(
                f"a TwofoldVectorStore is wanted, not {type(target).__name__}: make one of a FAISS "
                "store with from_faiss"
            )
        ours, theirs = (_vectors_of(each.index) for each in (self, target))
        if ours != theirs:
            raise ValueError(
                f"the vectors are of {theirs}, and here of {ours}: add the documents with "
                "add_documents, which encodes them"
            )
        with target.index.view() as view:
            rows = np.flatnonzero(view.allowed({}))
            for start in range(0, len(rows), _MERGED):
                some = rows[start : start + _MERGED]
                vectors, held = view.vectors(some)
                self.index.upsert(list(view.passages(some[held])), vectors=vectors[held])
                self.index.upsert(list(view.passages(some[~held])))


def _vectors_of(index: Any) -> tuple[Any, ...]:
    """Return the model, the dimensions and the metric of an index's vectors."""
    encoder = index.encoder
    return (encoder.name if encoder is not None else None, index.dim, index.metric)


def _check_name(index_name: str) -> None:
    if index_name != "index":
        raise ValueError(
            f"index_name is {index_name!r}: an index is a folder, so give each one of its own"
        )
