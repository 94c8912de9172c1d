"""What the adapters' users say of one call, checked and turned into a retriever's settings."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from difflib import get_close_matches
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np

from twofold.backend import Store
from twofold.index.index import Index
from twofold.index.open_options import AsStored
from twofold.lexical import AnalyzerLike
from twofold.protocols import Encoder
from twofold.results.hits import Hits
from twofold.retriever.retriever import Retriever
from twofold.similarity import Metric
from twofold.types import PassageLike, Vectors

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


def configure(retriever: Retriever, settings: Mapping[str, Any]) -> Retriever:
    """Return the retriever with those of its settings that aren't None.

    ``weights`` stands for ``dense_weight``: the dense leg's share, or the shares of the dense and
    the lexical leg. ``preset`` takes the place of the retriever's own fusion and weight. Raises
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
    if "preset" in changed:
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


_said: WeakKeyDictionary[Store, set[str]] = WeakKeyDictionary()


def log_warnings(logger: logging.Logger, index: Store, hits: Hits) -> None:
    """Log what these hits warn of: each text once for an index as a warning, then for debugging.

    A weak leg is a property of the index, and would be said again at every query.
    """
    before = _said.setdefault(index, set())
    for text in hits.warnings:
        level = logging.DEBUG if text in before else logging.WARNING
        before.add(text)
        logger.log(level, "%r: %s", hits.query, text)


def create_filled_index(
    path: str | os.PathLike[str] | None,
    passages: Sequence[PassageLike],
    *,
    encoder: Encoder | str | AsStored | None,
    metric: Metric | str | None,
    analyzer: AnalyzerLike | AsStored | None,
    dim: Literal["first"] | None = None,
    vectors: Vectors | None = None,
) -> Index:
    """Return an index to retrieve from after adding ``passages``; the write lock is let go.

    So a notebook cell can be run twice, and another process can write. ``vectors`` (n, dim) are
    those of the first n passages; the others are encoded.
    """
    known = len(vectors) if vectors is not None else 0
    index = Index.open(path, encoder=encoder, dim=dim, metric=metric, analyzer=analyzer)
    try:
        if known:
            index.upsert(passages[:known], vectors=vectors)
        if len(passages) > known:
            index.upsert(passages[known:])
        if path is None:
            return index
        loaded = index.encoder if encoder is not None else None  # so that no model loads twice
    except BaseException:
        index.close()
        raise
    index.close()
    return Index.open(path, encoder=loaded, dim=dim, metric=metric, analyzer=analyzer)
