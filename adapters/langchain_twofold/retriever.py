"""A LangChain retriever and document index over a twofold index."""

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForRetrieverRun,
    CallbackManager,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.indexing import DeleteResponse, UpsertResponse
from langchain_core.indexing.base import DocumentIndex
from langchain_core.retrievers import BaseRetriever, LangSmithRetrieverParams
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_config_list
from pydantic import ConfigDict, Field, ValidationError, model_validator
from typing_extensions import Self

from langchain_twofold.documents import as_document, documents_from_hits, passages_from_documents
from langchain_twofold.embeddings import as_encoder, find_async_embed
from langchain_twofold.options import (
    PER_CALL,
    PendingIndex,
    as_input_error,
    configure,
    refuse_unknown,
)
from langchain_twofold.tracing import create_child_runs, langsmith_params
from twofold import Encoder, Index, Metric, Retriever
from twofold.concurrency import run_write
from twofold.errors import InputError, QueryError
from twofold.filters import parse_filter
from twofold.index import AS_STORED, AsStored
from twofold.integrations import as_ids, create_filled_index, log_warnings, run_embedded
from twofold.lexical import AnalyzerLike
from twofold.types import Mode
from twofold.validation import check_mode, check_queries

Configs = RunnableConfig | list[RunnableConfig] | None
Answer = list[Document] | Exception

logger = logging.getLogger(__name__)


class TwofoldRetriever(BaseRetriever):
    """Hybrid, dense or lexical retrieval from a twofold index.

    ``invoke`` and its variants take ``k``, ``filter``, ``mode``, ``weights``, ``min_score``,
    ``reranker``, ``preset``, ``exact`` and ``abstain`` as options of one call; ``bind`` and
    ``configurable_fields`` work too. Each returned document is a new copy.

    Args:
        index: A twofold ``Index``. Pass this, ``retriever`` or ``path``.
        retriever: A configured ``twofold.Retriever``.
        path: The folder of an index, which is opened.
        encoder: The encoder or ``Embeddings`` of the index at ``path``, needed if no name finds it.
        k: The number of documents to return.
        filter: A twofold ``where``, or a filter in the syntax of LangChain's FAISS store.
        mode: ``"hybrid"``, ``"dense"`` or ``"lexical"``. None is hybrid if the index has both legs
            at the time of a search.
        weights: The dense share, or a pair of dense and lexical shares.
        min_score: The lowest score to return.
        preset: The fusion of another library, such as ``"langchain"``, in place of ``weights``.
        reranker: A reranker of ``twofold.rerank``.
        abstain: Return no documents where more than this share of queries would be answered
            wrongly, as in ``twofold.Retriever``.
        score_key: Metadata field for the score, a Python float. None leaves it out.
        confidence_key: Metadata field for ``hits.confidence``. None leaves it out.
        explanation_key: Metadata field for the explanation. None leaves it out.

    Example:
        >>> documents = [Document("green tea"), Document("black coffee")]
        >>> retriever = TwofoldRetriever.from_documents(documents, encoder="hashing", k=1)
        >>> retriever.invoke("a cup of tea")[0].page_content
        'green tea'
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    # Public because configurable_fields rebuilds the object from its public fields. Typed Any and
    # checked below, because pydantic can't validate a dataclass that has protocols.
    retriever: Any
    k: int = Field(default=10, ge=1)
    filter: dict[str, Any] | None = None
    mode: Mode | None = None
    weights: Any = None
    min_score: float | None = None
    preset: str | None = None
    reranker: Any = None
    abstain: float | None = None
    score_key: str | None = "score"
    confidence_key: str | None = None
    explanation_key: str | None = None

    def __init__(
        self,
        *,
        index: Any = None,
        path: str | os.PathLike[str] | None = None,
        encoder: Encoder | Embeddings | str | AsStored | None = AS_STORED,
        **settings: Any,
    ) -> None:
        if index is not None:
            settings["index"] = index
        if path is not None:
            if "index" in settings or settings.pop("retriever", None) is not None:
                raise InputError("pass only one of index=, retriever= and path=")
            settings["index"] = Index.open(path, encoder=as_encoder(encoder), create=False)
        elif not isinstance(encoder, AsStored):
            raise InputError("encoder= needs path=: an index that is open has its encoder")
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise as_input_error(error) from None

    @model_validator(mode="before")
    @classmethod
    def _accept_index(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Replace ``index=`` by ``retriever=``; k and mode default to the retriever's."""
        values = dict(values)
        if (index := values.pop("index", None)) is not None:
            if "retriever" in values:
                raise ValueError("pass index= or retriever=, not both")
            values["retriever"] = Retriever(index, mode=values.get("mode"))
        try:
            refuse_unknown(values, [*cls.model_fields, "index"])
        except TypeError as error:
            raise ValueError(str(error)) from error
        retriever = values.get("retriever")
        if not isinstance(retriever, Retriever):
            raise ValueError(
                "pass index= (a twofold Index), retriever= (a twofold Retriever) or path= (its "
                "folder)"
            )
        return {"k": retriever.k, "mode": retriever.mode, **values}

    @model_validator(mode="after")
    def _check_settings(self) -> "TwofoldRetriever":
        """Raise an error for settings that every query would refuse."""
        where = self._configure({}).where
        if where is not None:
            parse_filter(where)
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
        windows: bool | int | None = None,
        replace: bool = False,
        **settings: Any,
    ) -> Self:
        """Index documents in the folder ``path``, or a temporary one, and return its retriever.

        ``encoder`` is a model name, a twofold encoder or LangChain ``Embeddings``; with None,
        search is lexical only. ``metric``, ``analyzer`` and ``windows`` are those of
        ``Index.open``, and ``settings`` are fields of this class. The index keeps what ``path``
        already holds, such as the chunks of an earlier splitting; with ``replace``, the documents
        replace all of it in one commit.
        """
        options = ("encoder", "path", "metric", "analyzer", "windows", "replace")
        refuse_unknown(settings, [*cls.model_fields, *options])
        passages = passages_from_documents(documents)
        pending = PendingIndex.from_options(encoder, analyzer)
        cls(index=pending, **settings)  # checks the settings
        if settings.get("mode") is not None:
            check_mode(settings["mode"], pending.modes)  # which no constructor on a loop does
        index = create_filled_index(
            path,
            passages,
            encoder=as_encoder(encoder),
            metric=metric,
            analyzer=analyzer,
            windows=windows,
            replace=replace,
        )
        return cls(index=index, **settings)

    @classmethod
    async def afrom_documents(cls, *args: Any, **kwargs: Any) -> Self:
        """Run ``from_documents`` without blocking the event loop."""
        return await run_write(cls.from_documents, *args, **kwargs)

    @property
    def index(self) -> Any:
        """The index that is searched."""
        return self.retriever.index

    def batch(
        self,
        inputs: list[str],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """Search for all queries at once; each has its own run and callbacks."""
        queries = list(inputs)
        runs = [
            CallbackManager.configure(**manager).on_retriever_start(None, query, **options)
            for query, manager, options in self._callback_options(queries, config, kwargs)
        ]
        answers = self._answer(queries, kwargs, runs)
        for run, answer in zip(runs, answers, strict=True):
            if isinstance(answer, Exception):
                run.on_retriever_error(answer)
            else:
                run.on_retriever_end(answer)
        return _raise_first(answers, return_exceptions=return_exceptions)

    async def abatch(
        self,
        inputs: list[str],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """Run ``batch`` without blocking the event loop; async handlers are awaited."""
        queries = list(inputs)
        runs = []
        for query, manager, options in self._callback_options(queries, config, kwargs):
            callbacks = AsyncCallbackManager.configure(**manager)
            runs.append(await callbacks.on_retriever_start(None, query, **options))
        sync_runs = [run.get_sync() for run in runs]
        embed = find_async_embed(self.retriever, kwargs.get("mode") or self.mode)
        answers = await run_embedded(embed, queries, self._answer, queries, kwargs, sync_runs)
        for run, answer in zip(runs, answers, strict=True):
            if isinstance(answer, Exception):
                await run.on_retriever_error(answer)
            else:
                await run.on_retriever_end(answer)
        return _raise_first(answers, return_exceptions=return_exceptions)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        return self._search([query], options, [run_manager])[0]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        runs = [run_manager.get_sync()]
        embed = find_async_embed(self.retriever, options.get("mode") or self.mode)
        (documents,) = await run_embedded(embed, [query], self._search, [query], options, runs)
        return documents

    def _configure(self, options: dict[str, Any]) -> Retriever:
        """Return a ``twofold.Retriever`` with this object's settings and one call's options."""
        fields = type(self).model_fields
        settings = {name: getattr(self, name) for name in PER_CALL if name in fields}
        given = {name: value for name, value in options.items() if value is not None}
        if "preset" in given:
            settings["weights"] = None  # they belong to the fusion that the preset replaces
        return configure(self.retriever, settings | given)

    def _search(
        self,
        queries: list[str],
        options: dict[str, Any],
        runs: Sequence[CallbackManagerForRetrieverRun],
    ) -> list[list[Document]]:
        """Return the documents of each query with one call of ``retrieve_many``."""
        retriever = self._configure(options)
        observer = create_child_runs(runs, queries)
        if observer:
            retriever = replace(retriever, observer=observer)
        answers = retriever.retrieve_many(queries)
        for hits in answers:
            log_warnings(logger, self.index, hits)
        keys = self.score_key, self.explanation_key, self.confidence_key
        return [documents_from_hits(hits, *keys) for hits in answers]

    def _answer(
        self,
        queries: list[str],
        options: dict[str, Any],
        runs: Sequence[CallbackManagerForRetrieverRun],
    ) -> list[Answer]:
        """Return documents or an exception for each query; an invalid query fails alone.

        Searches for all valid queries at once; if that fails, one by one, without child runs.
        """
        answers: list[Answer | None] = [_check_query(query) for query in queries]
        valid = [query for query, answer in zip(queries, answers, strict=True) if answer is None]
        searched = [run for run, answer in zip(runs, answers, strict=False) if answer is None]
        try:
            found = iter(self._search(valid, options, searched))
        except Exception as error:  # noqa: BLE001  # handed to the callbacks, then raised or returned
            if len(queries) == 1:
                return [error]
            return [self._answer([query], options, [])[0] for query in queries]
        return [next(found) if answer is None else answer for answer in answers]

    def _callback_options(
        self, queries: list[str], config: Configs, options: dict[str, Any]
    ) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
        """Return each query with the arguments of its callback manager and of its run.

        The arguments are those that ``BaseRetriever.invoke`` passes.
        """
        params = self._get_ls_params(**options)
        return [
            (
                query,
                {
                    "inheritable_callbacks": one.get("callbacks"),
                    "verbose": options.get("verbose", False),
                    "inheritable_tags": one.get("tags"),
                    "local_tags": self.tags,
                    "inheritable_metadata": {**(one.get("metadata") or {}), **params},
                    "local_metadata": self.metadata,
                },
                {"name": one.get("run_name") or self.get_name(), "run_id": one.get("run_id")},
            )
            for query, one in zip(queries, get_config_list(config, len(queries)), strict=True)
        ]

    def _get_ls_params(self, **kwargs: Any) -> LangSmithRetrieverParams:
        """Return LangSmith's tracing parameters with twofold and the encoder's name added."""
        params = super()._get_ls_params(**kwargs)
        params.update(langsmith_params(self.index))
        return params


class TwofoldIndex(TwofoldRetriever, DocumentIndex):
    """A ``TwofoldRetriever`` that also adds, deletes and reads documents by id.

    LangChain's ``index()`` and ``aindex()`` can update it from a source, with a record manager.
    The arguments are those of ``TwofoldRetriever``.

    Example:
        >>> from langchain_core.indexing import InMemoryRecordManager, index
        >>> from twofold import Index
        >>> target = TwofoldIndex(index=Index.open(None, encoder="hashing"))
        >>> manager = InMemoryRecordManager(namespace="tea")
        >>> manager.create_schema()
        >>> index([Document("green tea")], manager, target, key_encoder="sha256")["num_added"]
        1
    """

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            index: Any = None,
            path: str | os.PathLike[str] | None = None,
            encoder: Encoder | Embeddings | str | AsStored | None = AS_STORED,
            **settings: Any,
        ) -> None: ...

    def upsert(self, items: Sequence[Document], /, **kwargs: Any) -> UpsertResponse:
        """Add documents, replacing stored ones with the same ids. All are stored, or none.

        Raises what ``Index.upsert`` raises, such as PassageError; ``failed`` is always empty.
        """
        refuse_unknown(kwargs, ())
        stored = self.index.upsert(passages_from_documents(items))
        return UpsertResponse(succeeded=list(stored.ids), failed=[])

    async def aupsert(self, items: Sequence[Document], /, **kwargs: Any) -> UpsertResponse:
        """Run ``upsert`` without blocking the event loop."""
        return await run_write(self.upsert, items, **kwargs)

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> DeleteResponse:
        """Delete documents; unknown ids are ignored. Raises ValueError if ``ids`` is None."""
        refuse_unknown(kwargs, ("ids",))
        if ids is None:
            raise ValueError("delete needs ids: to delete all, call index.delete(where={})")
        known = list(dict.fromkeys(passage.id for passage in self.index.get(as_ids(ids))))
        self.index.delete(known)
        return DeleteResponse(num_deleted=len(known), succeeded=known, failed=[], num_failed=0)

    async def adelete(self, ids: list[str] | None = None, **kwargs: Any) -> DeleteResponse:
        """Run ``delete`` without blocking the event loop."""
        return await run_write(self.delete, ids, **kwargs)

    def get(self, ids: Sequence[str], /, **kwargs: Any) -> list[Document]:
        """Return the documents with these ids; unknown ids are ignored."""
        refuse_unknown(kwargs, ("ids",))
        return [as_document(passage) for passage in self.index.get(as_ids(ids))]


def _check_query(query: str) -> Exception | None:
    """Return the QueryError of an invalid query, or None for a valid one."""
    try:
        check_queries([query], None)
    except QueryError as error:
        return error
    return None


def _raise_first(answers: list[Answer], *, return_exceptions: bool) -> list[Answer]:
    """Return the answers, or raise the first exception among them."""
    if not return_exceptions:
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
    return answers
