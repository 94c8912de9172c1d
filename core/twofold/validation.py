"""What vectors and searches must be."""

import math
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from twofold.backend import Store
from twofold.errors import InputError, MissingExtraError, QueryError, VectorError
from twofold.protocols import Scorer
from twofold.types import MODES, Vectors

MOST_EFFORT = 10**9
_BLOCK = 1 << 16
"""Vectors looked at together: they may be a memory map that is larger than memory."""


def check_vectors(vectors: Vectors, dim: int, count: int) -> Vectors:
    """Return ``vectors`` as contiguous float32 (count, dim), or raise VectorError saying why not.

    Floats of any width are taken; what is not finite as float32 is refused.
    """
    given = np.asarray(vectors)
    if given.ndim != 2 or given.shape != (count, dim):
        raise VectorError(f"vectors have shape {given.shape}: ({count}, {dim}) is wanted")
    if given.dtype.kind != "f":
        raise VectorError(f"vectors are of {given.dtype}: floats are wanted, best float32")
    with np.errstate(over="ignore"):
        out = np.ascontiguousarray(given, np.float32)
    for start in range(0, count, _BLOCK):
        finite = np.isfinite(out[start : start + _BLOCK]).all(axis=1)
        if not finite.all():
            place = start + int(np.flatnonzero(~finite)[0])
            raise VectorError(f"vector {place} has a value that is NaN or infinite as float32")
    return out


def check_effort(effort: float) -> None:
    """Raise QueryError for an effort that means nothing."""
    number = isinstance(effort, int | float | np.number) and not isinstance(effort, bool)
    if not number or math.isnan(effort) or not 0 < effort <= MOST_EFFORT:
        raise QueryError(
            f"effort is {effort!r:.40}: a number above 0 and up to {MOST_EFFORT:,} is wanted, 1.0 "
            "for what the dense leg's kind says; exact=True looks at all vectors"
        )


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


LOWEST_TEMPERATURE = 0.005
"""Below it, a softmax over cosines looks at nothing but the nearest wrong passage."""
HIGHEST_TEMPERATURE = 0.5
"""Above it, a softmax over cosines is nearly flat whatever is learned."""

WORK = "training"
"""The folder of a run within that of its model, while it lasts."""
_WORKS = {"notes.json", "notes.tmp", "checkpoints", "best", "blend"}
_OLDEST = (6, 2)  # of sentence-transformers, with a GradCache for losses of one's own
_SEEDS = 2**32  # numpy's and transformers' limit


def check_temperature(temperature: float) -> None:
    """Raise InputError for a temperature at which nothing is learned from cosines."""
    number = isinstance(temperature, int | float) and not isinstance(temperature, bool)
    if not number or not LOWEST_TEMPERATURE <= temperature <= HIGHEST_TEMPERATURE:
        raise InputError(
            f"temperature is {temperature!r}: {LOWEST_TEMPERATURE} to {HIGHEST_TEMPERATURE} is "
            "wanted, such as 0.05; what another library calls scale=20 is 1/20"
        )


def check_whole(name: str, value: object, low: int) -> None:
    """Raise InputError for what is no whole number of at least ``low``."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < low:
        raise InputError(f"{name} is {value!r}: a whole number of at least {low} is wanted")


def check_range(
    name: str, value: object, low: float, high: float, wanted: str, *, strict: bool = False
) -> None:
    """Raise InputError for what is no number from ``low`` to ``high``, or, if strict, between."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    inside = isinstance(value, int | float) and (low < value < high if strict else True)
    if not number or not inside or not low <= float(str(value)) <= high:
        raise InputError(f"{name} is {value!r}: {wanted} is wanted")


def check_seed(seed: object) -> None:
    """Raise InputError for what can't seed every generator of random numbers that training uses."""
    check_whole("seed", seed, 0)
    if not isinstance(seed, int | np.integer) or seed >= _SEEDS:
        raise InputError(f"seed is {seed!r}: a whole number below {_SEEDS:,} is wanted")


def check_shares(name: str, shares: object) -> None:
    """Raise InputError for anything but a tuple of numbers above 0 and up to 1."""
    if not isinstance(shares, tuple) or not shares:
        raise InputError(
            f"{name} is {shares!r:.80}: a tuple of shares above 0 and up to 1 is wanted, such as "
            "(1.0, 0.5)"
        )
    for each in shares:
        check_range(f"a share of {name}", each, 0.01, 1, "a number from 0.01 to 1")


def check_extra() -> None:
    """Raise MissingExtraError without what sentence-transformers' trainers need."""
    missing = [name for name in ("accelerate", "datasets") if find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"fine-tuning needs {' and '.join(missing)}: pip install 'twofold[train]'"
        )
    found = version("sentence-transformers")
    if tuple(int(each) for each in found.split(".")[:2]) < _OLDEST:
        raise MissingExtraError(
            f"fine-tuning needs sentence-transformers 6.2 or newer, not {found}: "
            "pip install 'twofold[train]'"
        )


def check_new_folder(folder: Path) -> Path:
    """Return the folder if it is new, or has nothing but a stopped run; else raise InputError."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: give the path of a new folder")
    work = folder / WORK
    strange = [each for each in folder.iterdir() if each != work] if folder.exists() else []
    if work.exists() and (not work.is_dir() or {each.name for each in work.iterdir()} - _WORKS):
        strange.append(work)
    if strange:
        raise InputError(
            f"{folder} is there already, with {strange[0].name}: give the path of a new folder"
        )
    return folder


def check_weight(
    value: float, name: str = "dense_weight", low: float = 0.0, high: float = 1.0
) -> None:
    """Raise InputError if a parameter is not a finite number in its range."""
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not (number and math.isfinite(value) and low <= value <= high):
        wanted = f"between {low:g} and {high:g}" if math.isfinite(high) else f"of at least {low:g}"
        raise InputError(f"{name} is {value!r}: a number {wanted} is wanted")
