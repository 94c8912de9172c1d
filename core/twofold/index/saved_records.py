"""Stored forms of search profiles and query adapters, in the catalog and in files."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from twofold.backend import SearchProfile
from twofold.calibration import Calibration
from twofold.encoders.query_adapter import QueryAdapter
from twofold.errors import CorruptIndexError, UnsupportedStorageError
from twofold.fusion import fusion_as_dict, fusion_from_dict
from twofold.index.layout import Layout
from twofold.lexical import scorer_as_dict, scorer_from_dict
from twofold.storage import (
    IndexSettings,
    VectorSetRecord,
    content_hash,
    pack_arrays,
    read_plain,
    unpack_arrays,
)
from twofold.validation import check_integer


def profile_as_dict(profile: SearchProfile) -> dict[str, Any]:
    """Return a profile as JSON values.

    Raises:
        InputError: The fusion or the scorer is not one of the library's.
    """
    scorer, adapter, calibration = profile.scorer, profile.query_adapter, profile.calibration
    return {
        "fusion": fusion_as_dict(profile.fusion),
        "depth": int(profile.depth),
        "scorer": scorer_as_dict(scorer) if scorer is not None else None,
        "title_weight": profile.title_weight,
        **({"adapter": adapter} if adapter is not None else {}),
        **({"calibration": calibration.to_dict()} if calibration is not None else {}),
    }


def profile_from_dict(values: Mapping[str, Any]) -> SearchProfile:
    """Return the profile that ``profile_as_dict`` stored.

    Raises:
        UnsupportedStorageError: The values were written by another version of the library.
    """
    try:
        scorer, adapter = values["scorer"], values.get("adapter")
        if not (adapter is None or isinstance(adapter, str)):
            raise TypeError(f"its query adapter is {adapter!r:.80}")
        for name, least in (("depth", 1), ("title_weight", 0)):
            check_integer(name, values[name], least)
        profile = SearchProfile(
            fusion_from_dict(values["fusion"]),
            values["depth"],
            scorer_from_dict(scorer) if scorer is not None else None,
            values["title_weight"],
            adapter,
            Calibration.from_dict(values["calibration"]) if "calibration" in values else None,
        )
        fusion_as_dict(profile.fusion)  # raises for a part that is no fusion
        return profile
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise UnsupportedStorageError(
            f"a saved profile was written by another version of twofold ({error}): use that "
            "version, or remove it with index.profiles.drop(name)"
        ) from error


def profile_records(settings: IndexSettings) -> dict[str, Any]:
    """Return all saved profiles as JSON values, by name."""
    records: dict[str, Any] = json.loads(settings.profiles)  # a dict, as the settings check
    return records


def active_profile(settings: IndexSettings) -> SearchProfile | None:
    """Return the active profile, None for the library's defaults."""
    name = settings.active_profile
    return _decode_profile(settings.profiles, name) if name is not None else None


@lru_cache(maxsize=64)
def _decode_profile(saved: str, name: str) -> SearchProfile:
    records = json.loads(saved)
    if name not in records:
        raise CorruptIndexError(
            f"the active profile {name!r} is missing: restore the index from a copy"
        )
    return profile_from_dict(records[name])


def default_title_weight(settings: IndexSettings) -> int:
    """Return the title weight that applies when no profile is active.

    It is the weight before a profile was activated, or that of a later ``Index.reanalyze``.
    """
    profile, default = active_profile(settings), settings.default_title_weight
    if default is None or profile is None or profile.title_weight != settings.title_weight:
        return settings.title_weight
    return default


@dataclass(frozen=True, slots=True)
class ActiveQueryAdapter:
    """The query adapter of the active profile, or the ``problem`` that prevents its use.

    Both are None if the profile names no adapter. ``key`` identifies adapter and vector set.
    ``damaged`` is whether the adapter is missing or has changed, rather than of another model.
    """

    key: tuple[object, ...]
    adapter: QueryAdapter | None
    problem: str | None = None
    damaged: bool = False


def adapter_records(settings: IndexSettings) -> dict[str, dict[str, Any]]:
    """Return the hash and the vector set's number of each saved adapter, by name."""
    records: dict[str, dict[str, Any]] = json.loads(settings.query_adapters)
    return records


def pack_adapter(adapter: QueryAdapter) -> bytes:
    """Return the bytes of an adapter's file."""
    notes = json.dumps({"model": adapter.model, "card": dict(adapter.metadata)}).encode()
    return pack_arrays({"matrix": adapter.matrix, "notes": np.frombuffer(notes, np.uint8)})


def read_adapter_file(layout: Layout, name: str, digest: str) -> bytes:
    """Read an adapter's file; raise CorruptIndexError if it is missing or of another hash."""
    path = layout.adapter_file(name)
    try:
        data = read_plain(path)
    except FileNotFoundError:
        raise CorruptIndexError(f"the file of query adapter {name!r} is missing: {path}") from None
    except OSError as error:
        raise CorruptIndexError(f"query adapter {name!r} can't be read: {error}") from error
    if content_hash(data).hex() != digest:
        raise CorruptIndexError(f"the file of query adapter {name!r} has changed: {path}")
    return data


def read_adapter(layout: Layout, name: str, digest: str) -> QueryAdapter:
    """Read an adapter; raise CorruptIndexError if its file is missing or not of hash ``digest``."""
    return unpack_adapter(name, read_adapter_file(layout, name, digest))


def unpack_adapter(name: str, data: bytes) -> QueryAdapter:
    """Return the adapter whose ``pack_adapter`` this is; raise CorruptIndexError if it isn't."""
    arrays = unpack_arrays(data)
    try:
        notes: Mapping[str, Any] = json.loads(arrays["notes"].tobytes())
        return QueryAdapter(arrays["matrix"], notes["model"], notes["card"])
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise CorruptIndexError(f"query adapter {name!r} is damaged: {error}") from error


def find_adapter_problem(layout: Layout, name: str, digest: str) -> str | None:
    """Return what is wrong with an adapter's file, None if nothing is."""
    try:
        read_adapter(layout, name, digest)
    except CorruptIndexError as error:
        return str(error)
    return None


def load_active_adapter(
    profile: SearchProfile | None,
    settings: IndexSettings,
    vector_set: VectorSetRecord | None,
    before: ActiveQueryAdapter | None,
    read: Callable[[str, str], QueryAdapter],
) -> ActiveQueryAdapter:
    """Return the adapter of a profile: ``before``, if nothing has changed since.

    ``read`` returns the stored adapter of a name and a hash, or raises CorruptIndexError.
    """
    name = profile.query_adapter if profile is not None else None
    if name is None:
        return ActiveQueryAdapter((), None)
    record = adapter_records(settings).get(name)
    if record is None:
        problem = f"there is no query adapter {name!r}"
        return ActiveQueryAdapter((name,), None, problem, damaged=True)
    key = (name, record["hash"], record["set"], vector_set)
    if before is not None and before.key == key:
        return before
    try:
        adapter = read(name, record["hash"])
    except CorruptIndexError as error:
        return ActiveQueryAdapter(key, None, str(error), damaged=True)
    if not _is_for_vector_set(adapter, record["set"], settings, vector_set):
        problem = f"query adapter {name!r} was trained for another model"
        return ActiveQueryAdapter(key, None, problem)
    return ActiveQueryAdapter(key, adapter)


def _is_for_vector_set(
    adapter: QueryAdapter, number: int, settings: IndexSettings, vector_set: VectorSetRecord | None
) -> bool:
    """Return whether the active vectors are from the model that an adapter was trained for."""
    if vector_set is None or adapter.dim != settings.dim:
        return False
    identity = vector_set.to_identity()
    same = identity is not None and adapter.model == identity.fingerprint
    return same or number == vector_set.number
