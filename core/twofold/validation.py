"""Checks of arguments, shared by all packages: each raises an error that says what to pass."""

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.errors import InputError, PassageError, QueryError, TwofoldError, VectorError
from twofold.limits import MINIMUM, check_limit
from twofold.types import MODES, Mode, Passage, PassageLike, Vectors

MAX_EFFORT = 10**9
MIN_TEMPERATURE = 0.005
"""Below it, a contrastive softmax over cosines weights only the hardest negative."""
MAX_TEMPERATURE = 0.5
"""Above it, a contrastive softmax over cosines is nearly flat."""
_MAX_SEED = 2**32 - 1  # numpy's and transformers' limit
_BLOCK = 1 << 16
"""Vectors checked at a time: they may be a memory map larger than memory."""
_PASSAGE_FIELDS = ("id", "text", "title", "metadata")


def did_you_mean(word: object, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return ``"; did you mean 'x'?"``, for the end of a message, or "" if no name is near."""
    nearest = get_close_matches(str(word), list(known), n=1, cutoff=cutoff)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


def is_integer(value: object) -> bool:
    """Return whether ``value`` is a Python or numpy integer; booleans are not."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_bool(value: object) -> bool:
    """Return whether ``value`` is a Python or numpy boolean."""
    return isinstance(value, bool | np.bool_)


def is_number(value: object) -> bool:
    """Return whether ``value`` is a finite Python or numpy number; booleans are not."""
    if not isinstance(value, int | float | np.number) or isinstance(value, bool):
        return False
    return math.isfinite(value)


def check_integer(
    name: str,
    value: object,
    minimum: int = 1,
    maximum: int | None = None,
    *,
    error: type[TwofoldError] = InputError,
) -> None:
    """Raise ``error`` unless ``value`` is an integer from ``minimum`` to ``maximum``."""
    if is_integer(value) and minimum <= value and (maximum is None or value <= maximum):  # type: ignore[operator]
        return
    bounds = f">= {minimum:,}" if maximum is None else f"from {minimum:,} to {maximum:,}"
    raise error(f"{name} must be an integer {bounds}, got {value!r:.80}")


def check_number(
    name: str,
    value: object,
    minimum: float = -math.inf,
    maximum: float = math.inf,
    *,
    exclusive: bool = False,
    error: type[TwofoldError] = InputError,
) -> None:
    """Raise ``error`` unless ``value`` is a finite number from ``minimum`` to ``maximum``.

    ``exclusive`` refuses the bounds themselves, too.
    """
    if is_number(value):
        number = float(value)  # type: ignore[arg-type]
        if minimum < number < maximum or (not exclusive and number in (minimum, maximum)):
            return
    low, high = (">", "<") if exclusive else (">=", "<=")
    bounds = [f"{low} {minimum:g}"] if minimum > -math.inf else []
    bounds += [f"{high} {maximum:g}"] if maximum < math.inf else []
    text = " " + " and ".join(bounds) if bounds else ""
    raise error(f"{name} must be a number{text}, got {value!r:.80}")


def check_choice(
    name: str, value: object, choices: Iterable[str], *, error: type[TwofoldError] = InputError
) -> None:
    """Raise ``error`` unless ``value`` is one of ``choices``; the message suggests the nearest."""
    known = list(choices)
    if isinstance(value, str) and value in known:
        return
    listed = ", ".join(repr(choice) for choice in known)
    hint = did_you_mean(value, known)
    raise error(f"{name} must be one of {listed}, got {value!r:.80}{hint}")


def as_path(name: str, value: object, expected: str = "the path of a file or folder") -> Path:
    """Return a path; raise InputError, saying what is ``expected``, for a value that is none."""
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(path, str) or not path or "\0" in path:
        raise InputError(f"{name} must be {expected}, got {value!r:.80}")
    return Path(path)


def check_iterable(items: object) -> None:
    """Raise PassageError if something else than an iterable is passed, such as one passage."""
    if not isinstance(items, Iterable):
        raise PassageError(f"pass an iterable of passages or texts, got {items!r:.80}")
    if isinstance(items, str | bytes | Mapping | Passage):
        raise PassageError(
            f"pass an iterable of passages or texts, got one {type(items).__name__}: put it into a "
            "list"
        )


def as_passage(item: PassageLike) -> Passage:
    """Return ``item`` as a Passage: a string is a text, a mapping has a passage's fields.

    Raises PassageError if ``item`` has another type, unknown fields or no text.
    """
    if isinstance(item, Passage):
        return item
    if isinstance(item, str):
        return Passage(text=item)
    if not isinstance(item, Mapping):
        raise PassageError(
            f"a passage must be a Passage, a mapping or a string, got {type(item).__name__}: "
            f"{item!r:.80}"
        )
    unknown = [name for name in item if name not in _PASSAGE_FIELDS]
    if unknown:
        hint = did_you_mean(unknown[0], _PASSAGE_FIELDS, 0.4)
        raise PassageError(
            f"unknown field {unknown[0]!r} in passage {item.get('id')!r}: a passage has id, text, "
            f"title and metadata, and other values belong in metadata{hint}"
        )
    if item.get("text") is None:
        raise PassageError(f"passage {item.get('id')!r} has no 'text'")
    return Passage(**{name: item[name] for name in _PASSAGE_FIELDS if item.get(name) is not None})


def check_seed(seed: object) -> None:
    """Raise InputError unless ``seed`` can seed numpy's and torch's generators."""
    check_integer("seed", seed, 0, _MAX_SEED)


def check_temperature(temperature: object) -> None:
    """Raise InputError unless a training ``temperature`` is a number in the allowed range."""
    if not is_number(temperature) or not MIN_TEMPERATURE <= temperature <= MAX_TEMPERATURE:  # type: ignore[operator]
        raise InputError(
            f"temperature must be a number from {MIN_TEMPERATURE} to {MAX_TEMPERATURE}, such as "
            f"0.05, got {temperature!r:.80}; another library's scale=20 is temperature=1/20"
        )


def check_fractions(name: str, values: object) -> None:
    """Raise InputError unless ``values`` is a tuple of numbers from 0.01 to 1."""
    if not isinstance(values, tuple) or not values:
        raise InputError(
            f"{name} must be a tuple of numbers from 0.01 to 1, such as (1.0, 0.5), "
            f"got {values!r:.80}"
        )
    for value in values:
        check_number(f"each of {name}", value, 0.01, 1)


def check_effort(effort: object) -> None:
    """Raise QueryError unless ``effort`` is a number above 0 and at most MAX_EFFORT."""
    if not is_number(effort) or not 0 < effort <= MAX_EFFORT:  # type: ignore[operator]
        raise QueryError(
            f"effort must be a number > 0 and <= {MAX_EFFORT:,}, got {effort!r:.40}; 1.0 is the "
            "index type's own effort, and exact=True compares all vectors"
        )


def as_array(given: object) -> NDArray[Any]:
    """Return an array, a tensor of torch or nested lists of numbers as an array of numbers.

    Raises VectorError for anything else, such as a None in place of a vector.
    """
    if isinstance(given, np.ndarray) and given.dtype.kind in "fiu":
        return given
    listed = list(given) if isinstance(given, list | tuple) else []
    for position, row in enumerate(listed):
        if row is None:
            raise VectorError(f"vector {position} is None: pass a vector for every passage")
    try:
        array = np.asarray([_detach(row) for row in listed] if listed else _detach(given))
    except Exception as error:  # a stranger's __array__ may raise anything
        raise VectorError(f"vectors must be an array of floats: {error}") from error
    if array.dtype.kind == "V" and "float" in array.dtype.name:  # of ml_dtypes, such as bfloat16
        return array.astype(np.float32)
    if array.dtype.kind not in "fiu" and array.size:
        raise VectorError(f"vectors must be an array of floats, got {array.dtype}: {given!r:.80}")
    return array


def _detach(given: Any) -> Any:
    """Return a tensor of torch as an array, and other objects unchanged.

    numpy takes no tensor that needs a gradient, and has no bfloat16.
    """
    if not hasattr(given, "detach"):
        return given
    tensor = given.detach().cpu()
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()


def check_vectors(
    vectors: object, dim: int, count: int, describe: Callable[[int], str] = str
) -> Vectors:
    """Return ``vectors``, floats of any width, as contiguous float32 of shape (count, dim).

    Args:
        vectors: What `as_array` takes.
        dim: The dimensions expected.
        count: The number of vectors expected.
        describe: Returns how messages name the vector at a position.

    Raises:
        VectorError: The shape or type is wrong, or a value is not finite as float32.
    """
    given = as_array(vectors)
    if given.ndim != 2 or given.shape != (count, dim):
        raise VectorError(f"vectors must have shape ({count}, {dim}), got {given.shape}")
    if given.dtype.kind != "f":
        raise VectorError(f"vectors must be floats, best float32, got {given.dtype}")
    with np.errstate(over="ignore"):
        out = np.ascontiguousarray(given, np.float32)
    for start in range(0, count, _BLOCK):
        finite = np.isfinite(out[start : start + _BLOCK]).all(axis=1)
        if not finite.all():
            position = start + int(np.flatnonzero(~finite)[0])
            raise VectorError(
                f"vector {describe(position)} has a value that is NaN or infinite as float32"
            )
    return out


def check_mode(mode: str, served: Sequence[Mode]) -> None:
    """Raise QueryError if ``mode`` is unknown or not in ``served``."""
    check_choice("mode", mode, MODES, error=QueryError)
    if mode not in served:
        listed = ", ".join(repr(name) for name in served)
        raise QueryError(
            f"this index can't serve mode {mode!r}, because it lacks a leg: use one of {listed}"
        )


def check_fusion(fusion: object) -> None:
    """Raise QueryError unless ``fusion`` is None or an object with a method ``fuse``."""
    if fusion is None or (not isinstance(fusion, type) and callable(getattr(fusion, "fuse", None))):
        return
    raise QueryError(
        f"fusion must be an object with a method fuse, such as WeightedSum() or ReciprocalRank(), "
        f"got {fusion!r:.80}; twofold.fusion.fusion_from_name makes one from its name"
    )


def check_scorer(scorer: object) -> None:
    """Raise QueryError unless ``scorer`` is None or a hashable lexical scoring function."""
    usable = (
        not isinstance(scorer, type)
        and callable(getattr(scorer, "idf", None))
        and getattr(scorer, "__hash__", None) is not None
    )
    if scorer is not None and not usable:
        raise QueryError(
            f"scorer must be a hashable scoring function, such as BM25(k1=1.2, b=0.75) or "
            f"scorer_from_name('bm25+') of twofold.lexical, got {scorer!r:.80}"
        )


def check_query_vector(vector: object) -> Vectors:
    """Return a query vector as an array of shape (dim,), or raise QueryError."""
    try:
        array = as_array(vector)
    except VectorError as error:  # such as nested lists of several lengths
        raise QueryError(f"a query vector must be numbers of shape (dim,): {error}") from None
    if array.ndim != 1 or array.dtype.kind not in "fiu":
        raise QueryError(
            f"a query vector must be numbers of shape (dim,), got {array.dtype} of shape "
            f"{array.shape}; retrieve_many takes several of shape (n, dim)"
        )
    return array


def check_query_vectors(vectors: object) -> Vectors:
    """Return query vectors as an array of numbers, or raise QueryError."""
    try:
        return as_array(vectors)
    except VectorError as error:
        raise QueryError(f"query vectors must be numbers of shape (n, dim): {error}") from None


def check_queries(queries: Sequence[str] | None, vectors: Vectors | None) -> int:
    """Return the number of queries; raise QueryError unless texts and vectors are as many."""
    if queries is None and vectors is None:
        raise QueryError("pass a query text, a query vector, or both")
    if isinstance(queries, str):
        raise QueryError("retrieve_many takes a list of texts; use retrieve for one text")
    for query in queries if queries is not None else ():
        if not isinstance(query, str):
            raise QueryError(f"a query must be a string, got {type(query).__name__}: {query!r:.80}")
        if not query.isascii() and any("\ud800" <= char <= "\udfff" for char in query):
            raise QueryError(f"a query must not contain half a surrogate pair, got {query!r:.80}")
        if len(query) > MINIMUM:
            check_limit(
                "query_characters",
                len(query),
                "a query",
                "characters",
                "shorten it",
                error=QueryError,
            )
    if vectors is None:
        return len(queries) if queries is not None else 0
    if vectors.ndim != 2:
        raise QueryError(
            f"query vectors must have shape (dim,) for retrieve and (n, dim) for retrieve_many, "
            f"got {vectors.shape}"
        )
    if queries is not None and len(queries) != len(vectors):
        raise QueryError(
            f"{len(queries)} texts came with {len(vectors)} vectors: pass one vector for each text"
        )
    return len(vectors)
