"""What can be said at each call, checked and turned into a retriever's settings."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from difflib import get_close_matches
from typing import Any

from twofold import Retriever

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
_SETTINGS = tuple(each.name for each in fields(Retriever))
_NAMES = {"filter": "where", "weights": "dense_weight"}


def refuse(given: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raise TypeError for names that would be lost, naming the nearest known one."""
    # LangChain forwards verbose to every query.
    unknown = [name for name in given if name not in known and name != "verbose"]
    if unknown and unknown[0] in _SETTINGS and unknown[0] not in _ALIASES:
        raise TypeError(
            f"{unknown[0]!r} is a setting of the core's retriever: give "
            f"retriever=Retriever(index, {unknown[0]}=...)"
        )
    if unknown:
        near = get_close_matches(_ALIASES.get(unknown[0], unknown[0]), known, n=1, cutoff=0.4)
        hint = f"known are {', '.join(known)}" if known else "it takes none"
        hint = f"did you mean {near[0]!r}?" if near else hint
        raise TypeError(f"unknown argument {unknown[0]!r}: {hint}")


def configured(retriever: Retriever, options: Mapping[str, Any]) -> Retriever:
    """Return the retriever with those options that aren't None.

    ``weights`` is the dense leg's share, or the shares of the dense and the lexical leg. Raises
    TypeError for unknown names and QueryError for values that no query takes.
    """
    refuse(options, PER_CALL)
    wanted = {
        _NAMES.get(name, name): _dense_share(value) if name == "weights" else value
        for name, value in options.items()
        if value is not None and name in PER_CALL
    }
    changed = {
        name: value for name, value in wanted.items() if getattr(retriever, name) is not value
    }
    return replace(retriever, **changed) if changed else retriever


def _dense_share(weights: Any) -> Any:
    """Return the share of the dense leg."""
    if not isinstance(weights, list | tuple):
        return weights
    numbers = [each for each in weights if isinstance(each, int | float) and each >= 0]
    if len(weights) != 2 or len(numbers) != 2 or not sum(numbers):
        raise TypeError(
            f"weights is {weights!r}: the shares of the dense and of the lexical leg are wanted, "
            "such as (0.7, 0.3), or the dense one's alone"
        )
    return weights[0] / sum(weights)
