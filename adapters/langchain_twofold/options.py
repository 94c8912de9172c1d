"""Options of a single LangChain call, translated to settings of ``twofold.Retriever``."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from langchain_twofold.filters import where_of_faiss
from twofold import Retriever
from twofold import integrations as core
from twofold.backend import Capabilities
from twofold.errors import InputError, QueryError
from twofold.types import MODES, Mode

PER_CALL = ("k", "filter", "mode", "weights", "min_score", "reranker", "preset", "exact", "abstain")
"""Options of ``invoke`` and its variants. An option of None keeps the retriever's setting."""
_PER_SEARCH = (*PER_CALL, "score_threshold", "fetch_k", "lambda_mult")
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

    @property
    def capabilities(self) -> Capabilities:
        """The modes, as the ``Capabilities`` that ``Retriever`` reads."""
        return Capabilities(self.modes)

    def open_search(self) -> AbstractContextManager[None]:
        """Do nothing; ``Retriever`` opens a search before it refuses a mode."""
        return nullcontext()


def refuse_unknown(names: Iterable[str], known: Sequence[str]) -> None:
    """Raise TypeError if one of ``names`` isn't in ``known``, and suggest the nearest that is."""
    # LangChain forwards verbose to every query.
    core.refuse_unknown([name for name in names if name != "verbose"], known, _ALIASES)


def as_input_error(error: ValidationError) -> InputError:
    """Return the error for a setting that pydantic refuses, without pydantic's own words."""
    detail = error.errors(include_url=False)[0]
    cause, name = detail.get("ctx", {}).get("error"), ".".join(map(str, detail["loc"]))
    if isinstance(cause, InputError):
        return cause
    if not name:
        return QueryError(str(cause if cause is not None else detail["msg"]))
    return QueryError(f"{name}: {detail['msg'].lower()}, got {detail['input']!r:.80}")


def configure(retriever: Retriever, options: Mapping[str, Any]) -> Retriever:
    """Return a copy of ``retriever`` with those ``options`` that are not None.

    ``weights`` is the dense share, or a pair of dense and lexical shares. ``filter`` is a
    ``where`` or a FAISS filter. Raises TypeError, FilterError or QueryError for invalid options.
    """
    refuse_unknown(options, PER_CALL)
    settings = {name: options.get(name) for name in PER_CALL if name != "filter"}
    return core.configure(retriever, {**settings, "where": where_of_faiss(options.get("filter"))})


def configure_search(retriever: Retriever, options: Mapping[str, Any]) -> Retriever:
    """Return a copy of ``retriever`` with the options of a vector store's search method."""
    refuse_unknown(options, _PER_SEARCH)
    settings = {name: value for name, value in options.items() if name in PER_CALL}
    if options.get("score_threshold") is not None:
        settings["min_score"] = options["score_threshold"]
    retriever = configure(retriever, settings)
    if options.get("fetch_k") is not None:
        retriever = replace(retriever, depth=options["fetch_k"])
    if options.get("lambda_mult") is not None:
        retriever = replace(retriever, diversity=1 - options["lambda_mult"])
    return retriever
