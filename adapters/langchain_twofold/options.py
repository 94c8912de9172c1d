"""Options of a single LangChain call, translated to settings of the core's ``Retriever``."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_twofold.filters import where_of_faiss
from twofold import Retriever
from twofold.integrations import options as core
from twofold.types import MODES, Mode

PER_CALL = ("k", "filter", "mode", "weights", "min_score", "reranker", "preset", "exact")
"""Options of ``invoke`` and its variants. None keeps the retriever's setting."""
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
class PendingIndex:
    """Stands in for an index that does not exist yet, to validate settings before indexing."""

    modes: tuple[Mode, ...]

    @classmethod
    def from_options(cls, encoder: object, analyzer: object) -> "PendingIndex":
        """Derive the modes of an index from the options of ``Index.open``."""
        if encoder is None:
            return cls(("lexical",))
        return cls(MODES if analyzer is not None else ("dense",))


def refuse_unknown(names: Iterable[str], known: Sequence[str]) -> None:
    """Raise TypeError for an argument that is not known, and suggest the nearest known one."""
    # LangChain forwards verbose to every query.
    core.refuse_unknown([name for name in names if name != "verbose"], known, _ALIASES)


def configure(retriever: Retriever, options: Mapping[str, Any]) -> Retriever:
    """Return a copy of the retriever with those options that are not None.

    Args:
        retriever: The core's retriever.
        options: Values of ``PER_CALL``. ``weights`` is the dense share, or a pair of dense and
            lexical shares. ``filter`` is a ``where`` or a FAISS filter.

    Raises:
        TypeError: An option is unknown.
        FilterError: ``filter`` is not a mapping.
        QueryError: A value is invalid.
    """
    refuse_unknown(options, PER_CALL)
    settings = {name: options.get(name) for name in PER_CALL if name != "filter"}
    return core.configure(retriever, {**settings, "where": where_of_faiss(options.get("filter"))})
