"""What can be said at each call of LangChain's, in the core's words."""

from collections.abc import Mapping, Sequence
from typing import Any

from twofold import Retriever
from twofold.retriever import options as core

PER_CALL = ("k", "filter", "mode", "weights", "min_score", "reranker", "like", "exact")
"""Arguments of ``invoke`` and its kin; None means: as the retriever is set."""
_ALIASES = {
    "embedding": "encoder",
    "embeddings": "encoder",
    "top_k": "k",
    "where": "filter",
    "score_threshold": "min_score",
    "alpha": "weights",
}


def refuse(given: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raise TypeError for names that would be lost, naming the nearest known one."""
    # LangChain forwards verbose to every query.
    core.refuse_unknown([name for name in given if name != "verbose"], known, _ALIASES)


def configured(retriever: Retriever, options: Mapping[str, Any]) -> Retriever:
    """Return the retriever with those options that aren't None.

    ``weights`` is the dense leg's share, or the shares of the dense and the lexical leg. Raises
    TypeError for unknown names and QueryError for values that no query takes.
    """
    refuse(options, PER_CALL)
    return core.configured(
        retriever,
        {
            "where" if name == "filter" else name: value
            for name, value in options.items()
            if name in PER_CALL
        },
    )
