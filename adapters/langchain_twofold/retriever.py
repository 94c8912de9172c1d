"""A LangChain retriever over a twofold index."""

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever, LangSmithRetrieverParams
from langchain_core.runnables import RunnableConfig
from pydantic import ConfigDict, Field, model_validator

from langchain_twofold import batches
from langchain_twofold.documents import as_documents, as_passage
from langchain_twofold.embeddings import as_encoder
from langchain_twofold.options import PER_CALL, Unopened, configured, refuse
from langchain_twofold.tracing import child_runs, describe, described
from twofold import Encoder, Metric, Retriever
from twofold.concurrency import in_thread
from twofold.filters import parse
from twofold.index import AS_STORED, AsStored, create_filled_index
from twofold.integrations.options import log_warnings
from twofold.lexical import AnalyzerLike
from twofold.types import Mode

logger = logging.getLogger(__name__)


class TwofoldRetriever(BaseRetriever):
    """Hybrid, dense or lexical retrieval, in chains, agents and other retrievers.

    Over an existing index: ``TwofoldRetriever(index=index, k=5)``, or over a configured
    retriever: ``TwofoldRetriever(retriever=Retriever(index, depth=200))``. From documents:
    ``TwofoldRetriever.from_documents(documents, path="papers.twofold")``.

    ``filter`` is twofold's ``where`` or of the FAISS store's dialect; ``weights`` are the shares of
    the dense and the lexical leg, or the dense one's alone. All of ``k``, ``filter``, ``mode``,
    ``weights``, ``min_score``, ``reranker``, ``preset`` and ``exact`` can be given to ``invoke`` and
    its kin too, or through ``bind`` and ``configurable_fields``. Each document is a fresh copy with
    its score, a Python float, under ``score_key`` and, if ``explanation_key`` is set, why it came
    back; None leaves either out.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    # Public, since configurable_fields builds the object anew from its public fields; a
    # Retriever, checked below, since pydantic can't look into a dataclass with protocols.
    retriever: Any
    k: int = Field(default=10, ge=1)
    filter: dict[str, Any] | None = None
    mode: Mode = "hybrid"
    weights: Any = None
    min_score: float | None = None
    preset: str | None = None
    reranker: Any = None
    score_key: str | None = "score"
    explanation_key: str | None = None

    if TYPE_CHECKING:  # what the validator below takes, which a type checker can't see

        def __init__(self, *, index: Any = None, **settings: Any) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _over(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Take ``index=`` for ``retriever=``, and the retriever's settings for those left out."""
        values = dict(values)
        if (index := values.pop("index", None)) is not None:
            if "retriever" in values:
                raise ValueError("give index= or retriever=, not both")
            values["retriever"] = Retriever(index, mode=values.get("mode", index.modes[0]))
        try:
            refuse(values, [*cls.model_fields, "index"])
        except TypeError as error:
            raise ValueError(str(error)) from error
        retriever = values.get("retriever")
        if not isinstance(retriever, Retriever):
            raise ValueError("give index= (a twofold Index) or retriever= (a twofold Retriever)")
        return {"k": retriever.k, "mode": retriever.mode, **values}

    @model_validator(mode="after")
    def _settled(self) -> "TwofoldRetriever":
        """Refuse settings that no query could be asked with."""
        where = self.configured({}).where
        if where is not None:
            parse(where)
        return self

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
        refuse(settings, [*cls.model_fields, "encoder", "path", "metric", "analyzer"])
        passages = [as_passage(document) for document in documents]
        cls(index=Unopened.with_legs(encoder, analyzer), **settings)
        index = create_filled_index(
            path, passages, encoder=as_encoder(encoder), metric=metric, analyzer=analyzer
        )
        return cls(index=index, **settings)

    @property
    def index(self) -> Any:
        """The index that is searched."""
        return self.retriever.index

    def configured(self, options: dict[str, Any]) -> Retriever:
        """Return the core's retriever with this one's settings, and with those of one call."""
        own = {name: getattr(self, name) for name in PER_CALL if name in type(self).model_fields}
        said = {name: value for name, value in options.items() if value is not None}
        if "preset" in said:
            own["weights"] = None  # which are of the fusion that like takes the place of
        return configured(self.retriever, own | said)

    def search(
        self,
        queries: list[str],
        options: dict[str, Any],
        runs: Sequence[CallbackManagerForRetrieverRun],
    ) -> list[list[Document]]:
        """Return the documents of each query, by one call of the core; each has its run."""
        asked = self.configured(options)
        observer = child_runs(runs, queries)
        answers = (replace(asked, observer=observer) if observer else asked).retrieve_many(queries)
        for hits in answers:
            describe(self.index, hits.answer.generation)
            log_warnings(logger, self.index, hits)
        return [as_documents(hits, self.score_key, self.explanation_key) for hits in answers]

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        **options: Any,
    ) -> list[Document]:
        return self.search([query], options, [run_manager])[0]

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        **options: Any,
    ) -> list[Document]:
        runs = [run_manager.get_sync()]
        (documents,) = await in_thread(self.search, [query], options, runs)
        return documents

    def batch(
        self,
        inputs: list[str],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """Return the documents of each query, by one call of the core, each with its callbacks."""
        return batches.batch(self, inputs, config, kwargs, return_exceptions=return_exceptions)

    async def abatch(
        self,
        inputs: list[str],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """Return what ``batch`` does, without blocking the loop."""
        return await batches.abatch(
            self, inputs, config, kwargs, return_exceptions=return_exceptions
        )

    def _get_ls_params(self, **kwargs: Any) -> LangSmithRetrieverParams:
        """Tell a tracer what searches: twofold, and the model of the vectors."""
        params = super()._get_ls_params(**kwargs)
        params.update(described(self.index))
        return params
