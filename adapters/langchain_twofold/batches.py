"""Many queries in one call of the core, each with a run of its own for LangChain's callbacks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import (
    AsyncCallbackManager,
    CallbackManager,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_config_list, run_in_executor

if TYPE_CHECKING:
    from langchain_twofold.retriever import TwofoldRetriever

Configs = RunnableConfig | list[RunnableConfig] | None


def batch(
    retriever: "TwofoldRetriever",
    queries: list[str],
    config: Configs,
    options: dict[str, Any],
    *,
    return_exceptions: bool,
) -> list[Any]:
    """Return the documents of each query; an exception stands for its query if wanted."""
    configs = get_config_list(config, len(queries))
    runs = [
        CallbackManager.configure(**_callbacks(retriever, each, options)).on_retriever_start(
            None, query, **_named(retriever, each)
        )
        for query, each in zip(queries, configs, strict=True)
    ]
    answers = _answers(retriever, queries, options, runs, apart=return_exceptions)
    for run, answer in zip(runs, answers, strict=True):
        if isinstance(answer, Exception):
            run.on_retriever_error(answer)
        else:
            run.on_retriever_end(answer)
    return _given(answers, return_exceptions=return_exceptions)


async def abatch(
    retriever: "TwofoldRetriever",
    queries: list[str],
    config: Configs,
    options: dict[str, Any],
    *,
    return_exceptions: bool,
) -> list[Any]:
    """Return what ``batch`` does, with handlers awaited and the search in another thread."""
    configs = get_config_list(config, len(queries))
    runs = []
    for query, each in zip(queries, configs, strict=True):
        manager = AsyncCallbackManager.configure(**_callbacks(retriever, each, options))
        runs.append(await manager.on_retriever_start(None, query, **_named(retriever, each)))
    answers = await run_in_executor(
        None,
        _answers,
        retriever,
        queries,
        options,
        [run.get_sync() for run in runs],
        apart=return_exceptions,
    )
    for run, answer in zip(runs, answers, strict=True):
        if isinstance(answer, Exception):
            await run.on_retriever_error(answer)
        else:
            await run.on_retriever_end(answer)
    return _given(answers, return_exceptions=return_exceptions)


def _answers(
    retriever: "TwofoldRetriever",
    queries: list[str],
    options: dict[str, Any],
    runs: Sequence[CallbackManagerForRetrieverRun],
    *,
    apart: bool,
) -> list[list[Document] | Exception]:
    """Search for all; where that fails and they stand ``apart``, for one after the other."""
    try:
        return list(retriever.search(queries, options, runs))
    except Exception as error:  # noqa: BLE001  # handed to the callbacks, then raised or returned
        if not apart or len(queries) == 1:
            return [error for _ in queries]
    return [
        _answers(retriever, [query], options, [run], apart=False)[0]
        for query, run in zip(queries, runs, strict=True)
    ]


def _given(
    answers: list[list[Document] | Exception], *, return_exceptions: bool
) -> list[list[Document] | Exception]:
    """Raise the first exception unless they are wanted."""
    failed = next((each for each in answers if isinstance(each, Exception)), None)
    if failed is not None and not return_exceptions:
        raise failed
    return answers


def _callbacks(
    retriever: "TwofoldRetriever", config: RunnableConfig, options: dict[str, Any]
) -> dict[str, Any]:
    """Return what a callback manager is configured with, as ``BaseRetriever.invoke`` does it."""
    described = retriever._get_ls_params(**options)  # as its base class does
    return {
        "inheritable_callbacks": config.get("callbacks"),
        "verbose": options.get("verbose", False),
        "inheritable_tags": config.get("tags"),
        "local_tags": retriever.tags,
        "inheritable_metadata": {**(config.get("metadata") or {}), **described},
        "local_metadata": retriever.metadata,
    }


def _named(retriever: "TwofoldRetriever", config: RunnableConfig) -> dict[str, Any]:
    """Return the name and the id of a run."""
    return {
        "name": config.get("run_name") or retriever.get_name(),
        "run_id": config.get("run_id"),
    }
