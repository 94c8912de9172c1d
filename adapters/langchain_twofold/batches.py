"""Many queries in one call of the core, each with a run of its own for LangChain's callbacks."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import (
    AsyncCallbackManager,
    CallbackManager,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_config_list

from twofold.concurrency import in_thread
from twofold.errors import QueryError
from twofold.validation import check_queries

if TYPE_CHECKING:
    from langchain_twofold.retriever import TwofoldRetriever

Configs = RunnableConfig | list[RunnableConfig] | None
Answer = list[Document] | Exception


def batch(
    retriever: "TwofoldRetriever",
    inputs: Iterable[str],
    config: Configs,
    options: dict[str, Any],
    *,
    return_exceptions: bool,
) -> list[Any]:
    """Return the documents of each query; an exception stands for its query if wanted."""
    queries = list(inputs)
    configs = get_config_list(config, len(queries))
    runs = [
        CallbackManager.configure(**_callbacks(retriever, each, options)).on_retriever_start(
            None, query, **_named(retriever, each)
        )
        for query, each in zip(queries, configs, strict=True)
    ]
    answers = _answers(retriever, queries, options, runs)
    for run, answer in zip(runs, answers, strict=True):
        if isinstance(answer, Exception):
            run.on_retriever_error(answer)
        else:
            run.on_retriever_end(answer)
    return _given(answers, return_exceptions=return_exceptions)


async def abatch(
    retriever: "TwofoldRetriever",
    inputs: Iterable[str],
    config: Configs,
    options: dict[str, Any],
    *,
    return_exceptions: bool,
) -> list[Any]:
    """Return what ``batch`` does, with handlers awaited and the search in another thread."""
    queries = list(inputs)
    configs = get_config_list(config, len(queries))
    runs = []
    for query, each in zip(queries, configs, strict=True):
        manager = AsyncCallbackManager.configure(**_callbacks(retriever, each, options))
        runs.append(await manager.on_retriever_start(None, query, **_named(retriever, each)))
    own = [run.get_sync() for run in runs]
    answers = await in_thread(_answers, retriever, queries, options, own)
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
) -> list[Answer]:
    """Search for all that can be asked, so that a bad query leaves the others theirs."""
    try:
        retriever.configured(options)
    except Exception as error:  # noqa: BLE001  # handed to the callbacks, then raised or returned
        return [error for _ in queries]
    answers: list[Answer | None] = [_refusal(query) for query in queries]
    asked = [place for place, answer in enumerate(answers) if answer is None]
    found = iter(
        _found(retriever, [queries[at] for at in asked], options, [runs[at] for at in asked])
    )
    return [next(found) if answer is None else answer for answer in answers]


def _refusal(query: str) -> Exception | None:
    """Return why a query can't be asked."""
    try:
        check_queries([query], None)
    except QueryError as error:
        return error
    return None


def _found(
    retriever: "TwofoldRetriever",
    queries: list[str],
    options: dict[str, Any],
    runs: Sequence[CallbackManagerForRetrieverRun],
) -> list[Answer]:
    """Search for all at once; where that fails, for one after the other, without child runs."""
    try:
        return list(retriever.search(queries, options, runs))
    except Exception as error:  # noqa: BLE001  # as above
        if len(queries) == 1:
            return [error]
    return [_found(retriever, [query], options, [])[0] for query in queries]


def _given(answers: list[Answer], *, return_exceptions: bool) -> list[Answer]:
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
