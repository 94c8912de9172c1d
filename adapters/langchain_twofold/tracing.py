"""LangChain callbacks and tracing metadata for searches."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.retrievers import LangSmithRetrieverParams

from twofold.integrations import last_encoder_name, loaded_encoder
from twofold.protocols import Report, Stage

_RUN_NAMES = {
    "encode": "twofold encoder",
    "dense": "twofold dense leg",
    "lexical": "twofold lexical leg",
    "rerank": "twofold reranker",
}


class ChildRuns:
    """An observer that opens, for each search stage, a child run of each query's LangChain run.

    Child runs are chain runs whose output has ids and scores. Only the query's own run is a
    retriever run, so that tools that count or collect retrieved documents see each one once.
    """

    def __init__(
        self, runs: Sequence[CallbackManagerForRetrieverRun], queries: Sequence[str]
    ) -> None:
        self._runs = runs
        self._queries = queries

    @contextmanager
    def stage(self, name: Stage) -> Iterator[Report]:
        """Open a child run per query for one stage, and end the runs with the stage's results."""
        children = [
            run.get_child(f"twofold:{name}").on_chain_start(
                {}, {"query": query}, name=_RUN_NAMES[name]
            )
            for run, query in zip(self._runs, self._queries, strict=True)
        ]
        results: list[Sequence[tuple[str, float]]] = []
        try:
            yield results.extend
        except BaseException as error:
            for child in children:
                child.on_chain_error(error)
            raise
        if not results:  # the encoding stage reports none
            for child in children:
                child.on_chain_end({})
            return
        for child, hits in zip(children, results, strict=True):
            child.on_chain_end({"found": [{"id": hit, "score": score} for hit, score in hits]})


def create_child_runs(
    runs: Sequence[CallbackManagerForRetrieverRun], queries: Sequence[str]
) -> ChildRuns | None:
    """Return an observer for the runs of these queries, or None if no handler listens."""
    if len(runs) != len(queries) or not any(run.inheritable_handlers for run in runs):
        return None
    return ChildRuns(runs, queries)


def langsmith_params(index: Any) -> LangSmithRetrieverParams:
    """Return an index's tracing parameters for LangSmith, as far as they are in memory.

    A run starts on the event loop, where reading the index's catalog would block.
    """
    params = LangSmithRetrieverParams(ls_vector_store_provider="twofold")
    encoder, name = loaded_encoder(index), last_encoder_name(index)
    if encoder is not None:
        params["ls_embedding_provider"] = type(encoder).__name__
    if name is not None:
        params["ls_embedding_model"] = name
    return params
