"""Options of a single LlamaIndex query, translated to settings of ``twofold.Retriever``."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from typing_extensions import TypedDict, Unpack

from llama_index_twofold.filters import Filters, as_where
from twofold import Retriever
from twofold import integrations as core
from twofold.protocols import Reranker
from twofold.types import Mode


class QueryOptions(TypedDict, total=False):
    """Options of a ``TwofoldRetriever``, or of single queries. None keeps the current value.

    ``filters`` replace the retriever's filters. ``weights`` is the dense share, or a pair of dense
    and lexical shares. ``min_score`` is on the fusion's scale, ``min_dense`` and ``min_lexical`` on
    those of the legs. ``abstain`` returns no nodes where more than this share of queries would be
    answered wrongly.
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
    abstain: float | None


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
_CORE_NAMES = {"similarity_top_k": "k", "filters": "where"}
_active: ContextVar[QueryOptions | None] = ContextVar("twofold_query_options", default=None)


@contextmanager
def query_options(**options: Unpack[QueryOptions]) -> Iterator[None]:
    """Apply options to every ``TwofoldRetriever`` queried inside the block.

    Works through chat engines, query engines and routers, sync and async. Blocks can be nested.
    Raises TypeError for an option that ``QueryOptions`` doesn't have.

    Example:
        >>> with query_options(filters={"year": 2024}, similarity_top_k=3):  # doctest: +SKIP
        ...     chat_engine.chat("What is new?")
    """
    refuse_unknown(options)
    token = _active.set({**(_active.get() or {}), **options})
    try:
        yield
    finally:
        _active.reset(token)


def refuse_unknown(options: Mapping[str, Any]) -> None:
    """Raise TypeError for an option that ``QueryOptions`` lacks, and suggest the nearest."""
    core.refuse_unknown(list(options), PER_QUERY, _ALIASES)


def configure(retriever: Retriever, options: Mapping[str, Any]) -> Retriever:
    """Return a copy of ``retriever`` with those ``options`` that are not None."""
    refuse_unknown(options)
    settings = {_CORE_NAMES.get(name, name): value for name, value in options.items()}
    where = as_where(given := settings.get("where"))
    settings["where"] = {} if where is None and given is not None else where
    return core.configure(retriever, settings)


def apply_query_options(retriever: Retriever) -> Retriever:
    """Return ``retriever`` with the options of the enclosing ``query_options`` block, if any."""
    options = _active.get()
    return configure(retriever, options) if options else retriever
