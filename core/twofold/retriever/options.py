"""What the adapters' users say of one call, checked and turned into a retriever's settings."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from difflib import get_close_matches
from typing import Any

import numpy as np

from twofold.retriever.retriever import Retriever

_SETTINGS = tuple(each.name for each in fields(Retriever))


def refuse_unknown(given: Sequence[str], known: Sequence[str], aliases: Mapping[str, str]) -> None:
    """Raise TypeError for a name that would be lost, with the nearest known one.

    ``aliases`` are other libraries' words for known names.
    """
    unknown = next((name for name in given if name not in known), None)
    if unknown is None:
        return
    if unknown in _SETTINGS and unknown not in aliases:
        raise TypeError(
            f"{unknown!r} is a setting of the core's retriever: give "
            f"retriever=Retriever(index, {unknown}=...)"
        )
    near = get_close_matches(aliases.get(unknown, unknown), known, n=1, cutoff=0.4)
    hint = f"known are {', '.join(known)}" if known else "it takes none"
    hint = f"did you mean {near[0]!r}?" if near else hint
    raise TypeError(f"unknown argument {unknown!r}: {hint}")


def configured(retriever: Retriever, settings: Mapping[str, Any]) -> Retriever:
    """Return the retriever with those of its settings that aren't None.

    ``weights`` stands for ``dense_weight``: the dense leg's share, or the shares of the dense and
    the lexical leg. ``like`` takes the place of the retriever's own fusion and weight. Raises
    QueryError for values that no query takes.
    """
    wanted = dict(settings)
    if (weights := wanted.pop("weights", None)) is not None:
        wanted["dense_weight"] = dense_share(weights)
    changed = {
        name: value
        for name, value in wanted.items()
        if value is not None and getattr(retriever, name) is not value
    }
    if "like" in changed:
        changed = {"fusion": None, "dense_weight": None, **changed}
    return replace(retriever, **changed) if changed else retriever


def dense_share(weights: Any) -> Any:
    """Return the share of the dense leg; raise TypeError for what isn't one or two shares."""
    if not isinstance(weights, list | tuple | np.ndarray):
        return weights
    numbers = [each for each in weights if isinstance(each, int | float | np.number) and each >= 0]
    if len(weights) != 2 or len(numbers) != 2 or not sum(numbers):
        raise TypeError(
            f"weights is {weights!r}: the shares of the dense and of the lexical leg are wanted, "
            "such as (0.7, 0.3), or the dense one's alone"
        )
    return float(numbers[0] / sum(numbers))
