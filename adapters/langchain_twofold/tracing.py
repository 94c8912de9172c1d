"""What a trace tells: what searched, and in child runs what each leg and the reranker gave."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.retrievers import LangSmithRetrieverParams

from twofold.protocols import Report, Stage

_described: WeakKeyDictionary[Any, tuple[int | None, LangSmithRetrieverParams]] = (
    WeakKeyDictionary()
)

_NAMES = {
    "encode": "twofold encoder",
    "dense": "twofold dense leg",
    "lexical": "twofold lexical leg",
    "rerank": "twofold reranker",
}


class ChildRuns:
    """Opens a run below each query's own as a stage begins, and ends it with what was found.

    They are runs of a chain, whose output has ids and scores: only the query's own is a retriever's
    run, so that who gathers or counts those has each passage once.
    """

    def __init__(
        self, runs: Sequence[CallbackManagerForRetrieverRun], queries: Sequence[str]
    ) -> None:
        self._runs = runs
        self._queries = queries

    @contextmanager
    def stage(self, name: Stage) -> Iterator[Report]:
        """Open the runs of one stage."""
        opened = [
            run.get_child(f"twofold:{name}").on_chain_start({}, {"query": query}, name=_NAMES[name])
            for run, query in zip(self._runs, self._queries, strict=True)
        ]
        told: list[Sequence[tuple[str, float]]] = []
        try:
            yield told.extend
        except BaseException as error:
            for run in opened:
                run.on_chain_error(error)
            raise
        if not told:  # encoding finds nothing
            for run in opened:
                run.on_chain_end({})
            return
        for run, found in zip(opened, told, strict=True):
            run.on_chain_end({"found": [{"id": own, "score": score} for own, score in found]})


def child_runs(
    runs: Sequence[CallbackManagerForRetrieverRun], queries: Sequence[str]
) -> ChildRuns | None:
    """Return an observer for these queries' runs, None where nobody would hear of its stages."""
    if len(runs) != len(queries) or not any(run.inheritable_handlers for run in runs):
        return None
    return ChildRuns(runs, queries)


def described(index: Any) -> LangSmithRetrieverParams:
    """Return what searches, and the model of its vectors, as of the last query.

    A query's run is opened on the event loop, which must not wait for the index's catalog.
    """
    return _described[index][1] if index in _described else describe(index, None)


def describe(index: Any, generation: int | None) -> LangSmithRetrieverParams:
    """Look up what searches in a generation, for the queries to come."""
    known = _described.get(index)
    if known is not None and known[0] == generation:
        return known[1]
    params = LangSmithRetrieverParams(ls_vector_store_provider="twofold")
    encoder = index.encoder
    if encoder is not None:
        params["ls_embedding_provider"] = type(encoder).__name__
        params["ls_embedding_model"] = encoder.name
    _described[index] = (generation, params)
    return params
