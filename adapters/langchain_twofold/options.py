"""What can be said at each call of LangChain's, in the core's words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_twofold.faiss_filter import where_of_faiss
from twofold import Retriever
from twofold.integrations import options as core
from twofold.types import MODES, Mode

PER_CALL = ("k", "filter", "mode", "weights", "min_score", "reranker", "preset", "exact")
"""Arguments of ``invoke`` and its kin; None means: as the retriever is set."""
_ALIASES = {
    "embedding": "encoder",
    "embeddings": "encoder",
    "top_k": "k",
    "where": "filter",
    "score_threshold": "min_score",
    "alpha": "weights",
    "distance_strategy": "metric",
    "normalize_L2": "metric",
}


@dataclass(frozen=True, slots=True)
class Unopened:
    """Stands for an index that is yet to be filled, so that settings can be checked before."""

    modes: tuple[Mode, ...]

    @classmethod
    def with_legs(cls, encoder: object, analyzer: object) -> "Unopened":
        """Tell by what ``Index.open`` is given which modes there will be."""
        if encoder is None:
            return cls(("lexical",))
        return cls(MODES if analyzer is not None else ("dense",))


def refuse(given: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raise TypeError for names that would be lost, naming the nearest known one."""
    # LangChain forwards verbose to every query.
    core.refuse_unknown([name for name in given if name != "verbose"], known, _ALIASES)


def configured(retriever: Retriever, options: Mapping[str, Any]) -> Retriever:
    """Return the retriever with those options that aren't None.

    ``weights`` is the dense leg's share, or the shares of the dense and the lexical leg; ``filter``
    may be of the FAISS store's dialect. Raises TypeError for unknown names, FilterError, and
    QueryError for values that no query takes.
    """
    refuse(options, PER_CALL)
    wanted = {name: options.get(name) for name in PER_CALL if name != "filter"}
    return core.configure(retriever, {**wanted, "where": where_of_faiss(options.get("filter"))})
