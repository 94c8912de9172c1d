"""Checks of what a retriever is given."""

from collections.abc import Sequence

import numpy as np

from twofold.errors import QueryError
from twofold.protocols import Scorer, Store
from twofold.types import MODES, Vectors


def check_count(name: str, value: int) -> None:
    """Raise QueryError for what is no whole number of at least 1."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
        raise QueryError(f"{name} is {value!r}: a whole number of at least 1 is wanted")


def check_mode(mode: str, index: Store) -> None:
    """Raise QueryError for an unknown mode, or one that the index can't serve."""
    if mode not in MODES:
        names = ", ".join(repr(each) for each in MODES)
        raise QueryError(f"unknown mode {mode!r}: use one of {names}")
    if mode not in index.modes:
        names = ", ".join(repr(each) for each in index.modes)
        raise QueryError(
            f"this index can't serve mode {mode!r}: it lacks a leg; it serves {names}: give "
            f"mode={index.modes[0]!r}"
        )


def check_fusion(fusion: object) -> None:
    """Raise QueryError for what is no fusion, such as a name or a class."""
    if fusion is not None and (
        isinstance(fusion, type) or not callable(getattr(fusion, "fuse", None))
    ):
        raise QueryError(
            f"fusion is {fusion!r}: WeightedSum(), ReciprocalRank() or another object "
            "with a method fuse is wanted; twofold.fusion.fusion_named makes one of a name"
        )


def one_vector(vector: object) -> Vectors:
    """Return a query vector (dim,) as an array; raise QueryError for what is none."""
    try:
        array = np.asarray(vector)
    except ValueError as error:  # lists of several lengths
        raise QueryError(f"retrieve takes a query vector (dim,) of numbers: {error}") from None
    if array.ndim != 1 or array.dtype.kind not in "fiu":
        raise QueryError(
            f"retrieve takes a query vector (dim,) of numbers, not {array.dtype} of shape "
            f"{array.shape}; retrieve_many takes several (n, dim)"
        )
    return array


def check_queries(queries: Sequence[str] | None, vectors: Vectors | None) -> int:
    """Return how many queries there are; raise QueryError where they can't be asked."""
    if queries is None and vectors is None:
        raise QueryError("give a query text, a query vector, or both")
    if isinstance(queries, str):
        raise QueryError("retrieve_many takes a list of texts; use retrieve for one")
    for query in queries if queries is not None else ():
        if not isinstance(query, str):
            raise QueryError(f"a query is a string, not {type(query).__name__}: {query!r:.80}")
        if not query.isascii() and any("\ud800" <= char <= "\udfff" for char in query):
            raise QueryError(f"a query has half a surrogate pair, which is no text: {query!r:.80}")
    if vectors is None:
        return len(queries) if queries is not None else 0
    if vectors.ndim != 2:
        raise QueryError(
            f"query vectors have shape {vectors.shape}: retrieve takes (dim,), retrieve_many "
            "(n, dim)"
        )
    if queries is not None and len(queries) != len(vectors):
        raise QueryError(f"{len(queries)} texts came with {len(vectors)} vectors")
    return len(vectors)


def check_scorer(scorer: object) -> None:
    """Raise QueryError for what is no scoring function, or one that can't be kept."""
    if scorer is not None and (
        isinstance(scorer, type) or not isinstance(scorer, Scorer) or scorer.__hash__ is None
    ):
        raise QueryError(
            f"scorer is {scorer!r}: an object is wanted, such as BM25(k1=1.2, b=0.75) or "
            "scorer_named('bm25+') of twofold.lexical, and one that is hashable"
        )
