"""A setting of searches as the catalog keeps it: JSON, and which one is in use."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from twofold.backend import SearchProfile
from twofold.encoders.query_adapter import QueryAdapter
from twofold.errors import CorruptIndexError, InputError, UnsupportedStorageError
from twofold.fusion import fusion_as_dict, fusion_from_dict
from twofold.index.layout import Layout
from twofold.lexical import scorer_as_dict, scorer_from_dict
from twofold.storage import Settings, VectorSetRecord, content_hash, pack, unpack


def profile_as_dict(profile: SearchProfile) -> dict[str, Any]:
    """Return a setting as JSON values.

    Raises InputError for a fusion or a scoring function that isn't the library's.
    """
    scorer = profile.scorer
    return {
        "fusion": fusion_as_dict(profile.fusion),
        "depth": int(profile.depth),
        "scorer": scorer_as_dict(scorer) if scorer is not None else None,
        "title_weight": profile.title_weight,
        **({"adapter": profile.query_adapter} if profile.query_adapter is not None else {}),
    }


def profile_from_dict(values: Mapping[str, Any]) -> SearchProfile:
    """Return the setting that ``setting_as_dict`` gave.

    Raises UnsupportedStorageError for what only another version of the library can have written.
    """
    try:
        scorer = values["scorer"]
        return SearchProfile(
            fusion_from_dict(values["fusion"]),
            values["depth"],
            scorer_from_dict(scorer) if scorer is not None else None,
            values["title_weight"],
            values.get("adapter"),
        )
    except (KeyError, TypeError, InputError) as error:
        raise UnsupportedStorageError(
            f"a saved setting is not of this version of twofold ({error}): use the version that "
            "saved it, or drop it"
        ) from error


def saved_values(settings: Settings) -> dict[str, Any]:
    """Return all saved settings as JSON values, by name."""
    values: dict[str, Any] = json.loads(settings.saved)
    return values


def active_profile(settings: Settings) -> SearchProfile | None:
    """Return the setting that searches use, None for the library's defaults."""
    return None if settings.active is None else _decoded(settings.saved, settings.active)


def default_title_weight(settings: Settings) -> int:
    """Return what titles weigh without any saved setting.

    A weight that was changed by hand while a setting was in use is the user's own, too.
    """
    used, own = active_profile(settings), settings.own_title_weight
    if own is None or used is None or used.title_weight != settings.title_weight:
        return settings.title_weight
    return own


@lru_cache(maxsize=64)
def _decoded(saved: str, name: str) -> SearchProfile:
    """Return one setting; every query asks."""
    return profile_from_dict(json.loads(saved)[name])


@dataclass(frozen=True, slots=True)
class ActiveQueryAdapter:
    """The adapter that the setting in use names, or why there is none to be had.

    ``key`` is what it follows from: an equal one gives the same.
    """

    key: tuple[object, ...]
    adapter: QueryAdapter | None
    problem: str | None = None


def stored_adapters(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return by name what is recorded of each saved adapter: its hash, and the vectors' set."""
    values: dict[str, dict[str, Any]] = json.loads(settings.adapters)
    return values


def packed(adapter: QueryAdapter) -> bytes:
    """Return an adapter as the bytes of its file."""
    notes = json.dumps({"model": adapter.model, "card": dict(adapter.metadata)}).encode()
    return pack({"matrix": adapter.matrix, "notes": np.frombuffer(notes, np.uint8)})


def read_adapter(layout: Layout, name: str, digest: str) -> QueryAdapter:
    """Read the adapter whose bytes have this hash; raise CorruptIndexError where they don't."""
    path = layout.adapter_file(name)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise CorruptIndexError(f"the file of the adapter {name!r} is gone: {path}") from None
    except OSError as error:
        raise CorruptIndexError(f"the adapter {name!r} can't be read: {error}") from error
    if content_hash(data).hex() != digest:
        raise CorruptIndexError(f"the adapter {name!r} is not what was written: {path}")
    arrays = unpack(data)
    notes: Mapping[str, Any] = json.loads(arrays["notes"].tobytes())
    return QueryAdapter(arrays["matrix"], notes["model"], notes["card"])


def adapter_problem(layout: Layout, name: str, digest: str) -> str | None:
    """Return what is wrong with the file of a saved adapter, None if nothing is."""
    try:
        read_adapter(layout, name, digest)
    except CorruptIndexError as error:
        return str(error)
    return None


def active_adapter(
    layout: Layout,
    settings: Settings,
    vector_set: VectorSetRecord | None,
    before: ActiveQueryAdapter | None,
) -> ActiveQueryAdapter:
    """Return the adapter of the setting in use, loaded unless ``before`` has it."""
    setting = active_profile(settings)
    name = setting.query_adapter if setting is not None else None
    if name is None:
        return ActiveQueryAdapter((), None)
    record = stored_adapters(settings).get(name)
    if record is None:
        return ActiveQueryAdapter((name,), None, f"there is no adapter {name!r}")
    key = (name, record["hash"], record["set"], vector_set)
    if before is not None and before.key == key:
        return before
    try:
        adapter = read_adapter(layout, name, record["hash"])
    except CorruptIndexError as error:
        return ActiveQueryAdapter(key, None, str(error))
    if not _fits(adapter, record["set"], settings, vector_set):
        return ActiveQueryAdapter(key, None, f"the adapter {name!r} was learned for another model")
    return ActiveQueryAdapter(key, adapter)


def _fits(
    adapter: QueryAdapter, number: int, settings: Settings, vector_set: VectorSetRecord | None
) -> bool:
    """Whether the vectors that are searched are of the model that an adapter was learned for."""
    if vector_set is None or adapter.dim != settings.dim:
        return False
    identity = vector_set.to_identity()
    same = identity is not None and adapter.model == identity.fingerprint
    return same or number == vector_set.number
