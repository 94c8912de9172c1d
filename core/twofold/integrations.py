"""Shared by both framework adapters: checks of options, log of warnings, new indexes, FAISS."""

import logging
import os
import warnings
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import fields, replace
from itertools import count
from pathlib import Path
from typing import Any, Literal, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from twofold.backend import Searchable
from twofold.backends.moving import pull
from twofold.backends.remote_index import RemoteIndex
from twofold.concurrency import run_in_thread, runs_event_loop
from twofold.errors import InputError
from twofold.filters import parse_filter
from twofold.index.index import Index
from twofold.index.open_options import AS_STORED, AsStored, encoder_name
from twofold.index.writing.passage_input import derive_id
from twofold.lexical import AnalyzerLike
from twofold.metadata import encode_metadata
from twofold.protocols import Encoder, Reranker
from twofold.rerank import as_reranker
from twofold.results.hits import Hits
from twofold.retriever.retriever import Retriever
from twofold.similarity import Metric
from twofold.types import Mode, Passage, PassageLike, Vectors, Where
from twofold.validation import did_you_mean, is_integer, is_number

_RETRIEVER_OPTIONS = tuple(field.name for field in fields(Retriever) if field.init)
_ADDED = "_twofold_added"
"""Entry of an item's ``__dict__``: for each field added, its value and the field before, if any."""
_TITLE = "_twofold_title"
_FAISS_METRICS = {0: Metric.DOT, 1: Metric.EUCLIDEAN}
"""FAISS's METRIC_INNER_PRODUCT and METRIC_L2; twofold has none of its other metrics."""
_Embedded = Mapping[str, Sequence[float] | BaseException]
_embedded: ContextVar[_Embedded | None] = ContextVar("embedded", default=None)
_Result = TypeVar("_Result")
_logged: WeakKeyDictionary[Searchable, set[str]] = WeakKeyDictionary()


async def run_embedded(
    embed: Callable[[str], Awaitable[Sequence[float]]] | None,
    queries: Sequence[Any],
    function: Callable[..., _Result],
    *args: Any,
    **kwargs: Any,
) -> _Result:
    """Await the embeddings of queries, then call ``function`` in a thread that uses them.

    Many queries can wait for an embedding service at once, since none occupies a thread meanwhile.

    Args:
        embed: Embeds one query; None if the encoder is not one of the framework's.
        queries: The query texts. Blank ones and other values are left out.
        function: The search, which encodes by ``known_embeddings``.
        args: Its arguments.
        kwargs: Its keyword arguments.
    """
    import asyncio

    if embed is None:
        return await run_in_thread(function, *args, **kwargs)
    texts = [text for text in dict.fromkeys(queries) if isinstance(text, str) and text.strip()]
    found = await asyncio.gather(*map(embed, texts), return_exceptions=True)
    token = _embedded.set(dict(zip(texts, found, strict=True)))
    try:
        return await run_in_thread(function, *args, **kwargs)
    finally:
        _embedded.reset(token)


def loaded_encoder(index: Any) -> Encoder | None:
    """Return the encoder of an index or backend, None if not in memory. Reads no file."""
    found: Encoder | None = (
        index.loaded_encoder if isinstance(index, Index | RemoteIndex) else index.encoder
    )
    return found


def last_encoder_name(index: Any) -> str | None:
    """Return the encoder's name as of the last read, None without an encoder. Reads no file."""
    encoder = loaded_encoder(index)
    if encoder is not None:
        return encoder_name(encoder)
    return index.last_settings.encoder if isinstance(index, Index | RemoteIndex) else None


def copy_index(index: Any, folder: str | os.PathLike[str]) -> None:
    """Copy an index, or one on a server, to a folder, replacing an earlier copy there."""
    if not isinstance(index, Index):
        pull(index, folder, overwrite=True)
    elif Path(folder).resolve() != index.path.resolve():
        index.copy(folder, overwrite=True)


def find_mode(retriever: Retriever) -> Mode:
    """Return the mode in which a retriever would search now. May read a file."""
    if retriever.mode is not None:
        return retriever.mode
    with retriever.index.open_search() as scope:
        return scope.capabilities.modes[0]


def known_embeddings(texts: Sequence[str]) -> dict[str, Sequence[float]]:
    """Return the embeddings of those texts that ``run_embedded`` has awaited for this thread.

    Raises what the embedding service raised for one of the texts.
    """
    known: dict[str, Sequence[float]] = {}
    embedded = _embedded.get() or {}
    for text in texts:
        vector = embedded.get(text)
        if isinstance(vector, BaseException):
            raise vector
        if vector is not None:
            known[text] = vector
    return known


def check_reranker(reranker: object) -> Reranker | str:
    """Return a reranker, made from its name if need be; a name where that would block a loop."""
    if isinstance(reranker, str) and runs_event_loop():
        return reranker
    return as_reranker(reranker)


def refuse_unknown(given: Sequence[str], known: Sequence[str], aliases: Mapping[str, str]) -> None:
    """Raise TypeError if a name in ``given`` isn't in ``known``, and suggest the nearest that is.

    ``aliases`` maps argument names of other libraries to names in ``known``.
    """
    unknown = next((name for name in given if name not in known), None)
    if unknown is None:
        return
    if unknown in _RETRIEVER_OPTIONS and unknown not in aliases:
        raise TypeError(
            f"{unknown!r} is an option of twofold.Retriever: pass "
            f"retriever=Retriever(index, {unknown}=...)"
        )
    hint = did_you_mean(aliases.get(unknown, unknown), known, 0.4)
    listed = f": use one of {', '.join(known)}" if known else ": no options are accepted here"
    raise TypeError(f"unknown argument {unknown!r}{hint or listed}")


def configure(retriever: Retriever, options: Mapping[str, Any]) -> Retriever:
    """Return a copy of ``retriever`` with those ``options`` that aren't None.

    The option ``weights`` sets ``dense_weight``. It is the dense leg's share, or a pair of dense
    and lexical shares. ``preset`` replaces the retriever's fusion and weight.

    Raises:
        QueryError: An option is invalid.
    """
    given = dict(options)
    if (weights := given.pop("weights", None)) is not None:
        given["dense_weight"] = _dense_share(weights)
    changed = {
        name: value
        for name, value in given.items()
        if value is not None and getattr(retriever, name) is not value
    }
    if "preset" in changed:
        changed = {"fusion": None, "dense_weight": None, **changed}
    return replace(retriever, **changed) if changed else retriever


def _dense_share(weights: Any) -> Any:
    """Return the dense leg's share of a (dense, lexical) pair; return a single weight unchanged."""
    if not isinstance(weights, list | tuple | np.ndarray):
        return weights
    valid = len(weights) == 2 and all(is_number(weight) and weight >= 0 for weight in weights)
    if not valid or not sum(weights):
        raise TypeError(
            "weights must be the shares of the dense and the lexical leg, such as (0.7, 0.3), or "
            f"the dense share alone, such as 0.7, got {weights!r}"
        )
    return float(weights[0] / sum(weights))


def log_warnings(logger: logging.Logger, index: Searchable, hits: Hits) -> None:
    """Log the warnings of ``hits``; each at level WARNING once per index, and then at DEBUG."""
    logged = _logged.setdefault(index, set())
    for text in hits.warnings:
        level = logging.DEBUG if text in logged else logging.WARNING
        logged.add(text)
        logger.log(level, "%r: %s", hits.query, text)


def as_id(value: Any) -> Any:
    """Return an id as the index takes it: an integer as its digits, and None as ""."""
    return "" if value is None else str(int(value)) if is_integer(value) else value


def as_ids(ids: Any) -> Any:
    """Return ids for ``Index.get`` or ``delete`` as by ``as_id``; another value unchanged."""
    is_list = isinstance(ids, Iterable) and not isinstance(ids, str | bytes | Mapping)
    return list(map(as_id, ids)) if is_list else ids


def select_passages(
    index: Any, ids: Sequence[str] | None, where: Where, count: int
) -> Sequence[Passage]:
    """Return up to ``count`` passages that match ids and filter, as stored or in the ids' order."""
    if ids is not None:
        found: Sequence[Passage] = index.get(as_ids(ids), where=where)
        return found[:count]
    with index.open_search() as scope:
        statistics = scope.require_statistics("selecting passages by a filter alone")
        return list(scope.session.fetch(statistics.list_keys(parse_filter(where))[:count]).passages)


def match_values(
    name: str, values: Iterable[Any] | None, items: Sequence[Any], noun: str
) -> Sequence[Any]:
    """Return as many values as ``items``: those given, or None for each; or raise InputError."""
    if values is None:
        return [None] * len(items)
    if not isinstance(values, Iterable) or isinstance(values, str | bytes | Mapping):
        raise InputError(f"{name} must be a list, or None, got {values!r:.80}")
    values = list(values)
    if len(values) != len(items):
        raise InputError(f"got {len(values)} {name} for {len(items)} {noun}: pass one for each")
    return values


def stored_vectors(index: Searchable, ids: Sequence[str]) -> list[list[float] | None]:
    """Return the stored vector of each passage as numbers; None for one without a vector."""
    with index.open_search() as scope:
        found = scope.session.fetch(ids=ids, texts=False, vectors=True)
    assert found.vectors is not None
    assert found.has_vector is not None
    rows = zip(found.ids, found.vectors, found.has_vector, strict=True)
    known = {name: vector.tolist() for name, vector, has_vector in rows if has_vector}
    return [known.get(name) for name in ids]


def with_distinct_ids(passages: Iterable[Passage], taken: Iterable[str] = ()) -> list[Passage]:
    """Give each passage an id of its own; one that is ``taken`` is replaced by the content's id.

    Equal passages stay several, as in a retriever that doesn't compare them: they get numbers.
    """
    seen, distinct = set(taken), []
    for passage in passages:
        name = passage.id
        if not name or name in seen:
            name = derived = derive_id(passage, encode_metadata(passage.metadata, repr(name)))
            numbers = count(2)
            while name in seen:
                name = f"{derived}-{next(numbers)}"
        seen.add(name)
        distinct.append(replace(passage, id=name))
    return distinct


def add_field(item: Any, key: str, value: object) -> None:
    """Set a metadata field of a document or node that is returned, such as its score.

    The item remembers it, also in copies, and ``own_metadata`` leaves it out. The mark is an entry
    of the item's ``__dict__``, which pydantic ignores in comparisons and when it serializes.
    """
    added: dict[str, tuple[object, dict[str, Any]]] = item.__dict__.get(_ADDED, {})
    before = {name: item.metadata[name] for name in (key,) if name in item.metadata}
    _, original = added.get(key, (None, before))
    item.metadata[key] = value
    item.__dict__[_ADDED] = {**added, key: (value, original)}


def add_new_field(item: Any, key: str | None, value: object, option: str) -> None:
    """Set a metadata field unless ``key`` is None; keep an existing field, and warn.

    ``option`` is the option of the adapter whose value ``key`` is.
    """
    if key is None:
        return
    if key not in item.metadata:
        add_field(item, key, value)
        return
    warnings.warn(
        f"the metadata field {key!r} exists already and is kept: set {option} to another name, or "
        "to None",
        UserWarning,
        stacklevel=2,
    )


def add_title(item: Any, title: str) -> None:
    """Add a passage's title to the metadata of a document or node, unless it has one already."""
    if title:
        item.__dict__[_TITLE] = title
        if "title" not in item.metadata:
            add_field(item, "title", title)


def own_title(item: Any) -> str:
    """Return the title that ``add_title`` was given for a document or node, "" without one."""
    title: str = item.__dict__.get(_TITLE, "")
    return title


def own_metadata(item: Any) -> dict[str, Any]:
    """Return the metadata of a document or node without fields that ``add_field`` has set.

    A field that was changed since is the user's, and one that was overwritten has its old value.
    """
    added: dict[str, tuple[object, dict[str, Any]]] = item.__dict__.get(_ADDED, {})
    metadata: dict[str, Any] = item.metadata
    if not added:
        return metadata
    result: dict[str, Any] = {}
    for key, value in metadata.items():
        mark, original = added.get(key, (None, {}))
        same = value is mark or (type(value) is type(mark) and value == mark)
        result |= original if key in added and same else {key: value}
    return result


def create_filled_index(
    path: str | os.PathLike[str] | None = None,
    passages: Sequence[PassageLike] = (),
    *,
    encoder: Encoder | str | AsStored | None,
    metric: Metric | str | None = None,
    analyzer: AnalyzerLike | AsStored | None = AS_STORED,
    windows: bool | int | None = None,
    dim: Literal["first"] | None = None,
    vectors: Vectors | None = None,
    replace: bool = False,
) -> Index:
    """Open an index, add passages, release the write lock, and return the index.

    Another process can therefore write. ``vectors`` (n, dim) are
    those of the first n passages; later passages are encoded, in another commit. ``replace``
    deletes all other passages. Other arguments: see `Index.open`.
    """
    first = len(vectors) if vectors is not None else 0
    options: dict[str, Any] = {"metric": metric, "analyzer": analyzer, "windows": windows}
    index = Index.open(path, encoder=encoder, dim=dim, **options)
    try:
        if first:
            index.upsert(passages[:first], vectors=vectors, replace_all=replace)
        if len(passages) > first or (replace and not first):
            index.upsert(passages[first:], replace_all=replace and not first)
        if path is None:
            return index
        loaded = index.encoder if encoder is not None else None  # so that no model loads twice
    except BaseException:
        index.close()
        raise
    index.close()
    return Index.open(path, encoder=loaded, dim=dim, **options)


def read_faiss_vectors(index: Any) -> tuple[list[int], Vectors, Metric]:
    """Read the vectors of a flat FAISS index, or of an ``IndexIDMap`` over one.

    Returns FAISS's id of each vector (its position, or its id in the map), the vectors (n, dim) in
    the same order, and the metric. Raises InputError for a metric other than inner product and L2,
    and for an index that stores codes instead of vectors (PQ, LSH and others).
    """
    import faiss

    name, metric = type(index).__name__, _FAISS_METRICS.get(index.metric_type)
    if metric is None:
        raise InputError(
            f"{name} has FAISS's metric {index.metric_type}, and only inner product and L2 can be "
            "imported: index the texts anew"
        )
    ids = list(range(index.ntotal))
    if hasattr(index, "id_map"):
        ids = faiss.vector_to_array(index.id_map).tolist()
        index = faiss.downcast_index(index.index)
        name = type(index).__name__
    if "Flat" not in name:
        raise InputError(f"{name} doesn't store the original vectors: index the texts anew")
    return ids, np.asarray(index.reconstruct_n(0, index.ntotal), np.float32), metric
