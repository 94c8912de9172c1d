"""A LangChain retriever over a twofold index."""

import logging
import os
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables.config import run_in_executor
from pydantic import ConfigDict, Field, model_validator

from langchain_twofold.documents import as_document, as_passage
from langchain_twofold.embeddings import EmbeddingsEncoder
from twofold import Encoder, Metric, Retriever
from twofold.index import AS_STORED, AsStored, filled_index
from twofold.lexical import AnalyzerLike
from twofold.types import Mode

logger = logging.getLogger(__name__)
_PER_CALL = ("k", "filter", "mode", "exact")
_ALIASES = {"embedding": "encoder", "embeddings": "encoder", "top_k": "k", "where": "filter"}


class TwofoldRetriever(BaseRetriever):
    """Hybrid, dense or lexical retrieval; ``k``, ``filter``, ``mode``, ``exact`` also at each call.

    Over an existing index: ``TwofoldRetriever(index=index, k=5)``, or over a configured
    retriever: ``TwofoldRetriever(retriever=Retriever(index, depth=200))``. From documents:
    ``TwofoldRetriever.from_documents(documents, path="papers.twofold")``.

    ``filter`` is twofold's ``where``. Each document is a fresh copy with its score, a Python
    float, under ``score_key`` (None switches that off).
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    # Public, since configurable_fields builds the object anew from its public fields; a
    # Retriever, checked below, since pydantic can't look into a dataclass with protocols.
    retriever: Any
    k: int = Field(default=10, ge=1)
    filter: dict[str, Any] | None = None
    mode: Mode = "hybrid"
    score_key: str | None = "score"

    @model_validator(mode="before")
    @classmethod
    def _over(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Take ``index=`` for ``retriever=``, and the retriever's settings for those left out."""
        values = dict(values)
        if (index := values.pop("index", None)) is not None:
            if "retriever" in values:
                raise ValueError("give index= or retriever=, not both")
            values["retriever"] = Retriever(index, mode=values.get("mode", index.modes[0]))
        retriever = values.get("retriever")
        if not isinstance(retriever, Retriever):
            raise ValueError("give index= (a twofold Index) or retriever= (a twofold Retriever)")
        return {"k": retriever.k, "mode": retriever.mode, **values}

    @classmethod
    def from_documents(
        cls,
        documents: Iterable[Document],
        *,
        encoder: Encoder | Embeddings | str | AsStored | None = AS_STORED,
        path: str | os.PathLike[str] | None = None,
        metric: Metric | str | None = None,
        analyzer: AnalyzerLike | AsStored | None = AS_STORED,
        **settings: Any,
    ) -> "TwofoldRetriever":
        """Index documents in the folder ``path`` (a temporary one if None) and retrieve from it.

        ``encoder`` is a model's name, a twofold encoder or a LangChain ``Embeddings``; the other
        names are those of ``Index.open``, and ``settings`` are this class's fields.
        """
        _refuse(settings, [*cls.model_fields, "encoder", "path", "metric", "analyzer"])
        if isinstance(encoder, Embeddings):
            encoder = EmbeddingsEncoder(encoder)
        passages = [as_passage(document) for document in documents]
        index = filled_index(path, passages, encoder=encoder, metric=metric, analyzer=analyzer)
        return cls(index=index, **settings)  # type: ignore[call-arg]  # taken by the validator

    @property
    def index(self) -> Any:
        """The index that is searched."""
        return self.retriever.index

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002  # LangChain's contract
        k: int | None = None,
        filter: dict[str, Any] | None = None,  # noqa: A002  # LangChain's name
        mode: Mode | None = None,
        exact: bool | None = None,
        **others: Any,
    ) -> list[Document]:
        _refuse(others, _PER_CALL)
        return self._search(query, k, filter, mode, exact)

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,  # noqa: ARG002
        k: int | None = None,
        filter: dict[str, Any] | None = None,  # noqa: A002
        mode: Mode | None = None,
        exact: bool | None = None,
        **others: Any,
    ) -> list[Document]:
        _refuse(others, _PER_CALL)
        return await run_in_executor(None, self._search, query, k, filter, mode, exact)

    def _search(
        self,
        query: str,
        k: int | None,
        where: dict[str, Any] | None,
        mode: Mode | None,
        exact: bool | None,
    ) -> list[Document]:
        hits = self.retriever.retrieve(
            query,
            k=k if k is not None else self.k,
            where=where if where is not None else self.filter,
            mode=mode if mode is not None else self.mode,
            exact=exact,
        )
        for warning in hits.warnings:
            logger.warning("%r: %s", query, warning)
        return [as_document(hit, self.score_key) for hit in hits]


def _refuse(given: dict[str, Any], known: Sequence[str]) -> None:
    """Raise TypeError for names that would be lost, naming the nearest known one."""
    # LangChain forwards verbose to every query.
    unknown = [name for name in given if name not in known and name != "verbose"]
    if unknown:
        near = get_close_matches(_ALIASES.get(unknown[0], unknown[0]), known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        raise TypeError(f"unknown argument {unknown[0]!r}: {hint}")
