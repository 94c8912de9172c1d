"""What can be said of one query, and how it reaches a retriever inside an engine."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from typing_extensions import TypedDict, Unpack

from llama_index_twofold.filters import Filters, as_where
from twofold import Retriever
from twofold.integrations import options as core
from twofold.protocols import Reranker
from twofold.types import Mode


class QueryOptions(TypedDict, total=False):
    """What a ``TwofoldRetriever`` takes when it is made, and for single queries.

    None means: as it is set. ``filters`` take the place of those that are set. ``weights`` is the
    dense leg's share, or the shares of the dense and the lexical leg. The thresholds are those of
    ``twofold.Retriever``: ``min_score`` on the fusion's scale, the others on those of the legs.
    """

    similarity_top_k: int | None
    filters: Filters
    mode: Mode | None
    weights: Any
    min_score: float | None
    min_dense: float | None
    min_lexical: float | None
    reranker: Reranker | None
    preset: str | None
    exact: bool | None


PER_QUERY = tuple(QueryOptions.__annotations__)
_ALIASES = {
    "top_k": "similarity_top_k",
    "k": "similarity_top_k",
    "filter": "filters",
    "where": "filters",
    "alpha": "weights",
    "similarity_cutoff": "min_score",
    "vector_store_query_mode": "mode",
}
_CORE = {"similarity_top_k": "k", "filters": "where"}
_said: ContextVar[QueryOptions | None] = ContextVar("twofold_query_options", default=None)


@contextmanager
def query_options(**options: Unpack[QueryOptions]) -> Iterator[None]:
    """Give options to every ``TwofoldRetriever`` that is asked inside the block, however deep.

    Through chat engines, query engines and routers, sync or async, which have no argument for it:
    ``with query_options(filters=..., similarity_top_k=3): chat_engine.chat("...")``. Blocks nest.
    Raises TypeError for unknown names.
    """
    check(options)
    token = _said.set({**(_said.get() or {}), **options})
    try:
        yield
    finally:
        _said.reset(token)


def check(options: Mapping[str, Any]) -> None:
    """Raise TypeError for names that would be lost, naming the nearest known one."""
    core.refuse_unknown(list(options), PER_QUERY, _ALIASES)


def configured(retriever: Retriever, options: Mapping[str, Any]) -> Retriever:
    """Return the core's retriever with those options that aren't None."""
    check(options)
    wanted = {_CORE.get(name, name): value for name, value in options.items()}
    wanted["where"] = as_where(wanted.get("where"))
    return core.configure(retriever, wanted)


def asked(retriever: Retriever) -> Retriever:
    """Return the core's retriever as the block around this query wants it."""
    said = _said.get()
    return configured(retriever, said) if said else retriever
