"""A query adapter as a file of an index's folder, and which one a generation searches by."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from twofold.catalog import Settings, VectorSetRecord, content_hash, pack, unpack
from twofold.encoders.query_adapter import QueryAdapter
from twofold.errors import CorruptIndexError
from twofold.index.layout import Layout
from twofold.index.stored_setting import setting_in_use


@dataclass(frozen=True, slots=True)
class AdapterInUse:
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
    notes = json.dumps({"model": adapter.model, "card": dict(adapter.card)}).encode()
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


def adapter_in_use(
    layout: Layout,
    settings: Settings,
    vector_set: VectorSetRecord | None,
    before: AdapterInUse | None,
) -> AdapterInUse:
    """Return the adapter of the setting in use, loaded unless ``before`` has it."""
    setting = setting_in_use(settings)
    name = setting.adapter if setting is not None else None
    if name is None:
        return AdapterInUse((), None)
    record = stored_adapters(settings).get(name)
    if record is None:
        return AdapterInUse((name,), None, f"there is no adapter {name!r}")
    key = (name, record["hash"], record["set"], vector_set)
    if before is not None and before.key == key:
        return before
    try:
        adapter = read_adapter(layout, name, record["hash"])
    except CorruptIndexError as error:
        return AdapterInUse(key, None, str(error))
    if not _fits(adapter, record["set"], settings, vector_set):
        return AdapterInUse(key, None, f"the adapter {name!r} was learned for another model")
    return AdapterInUse(key, adapter)


def _fits(
    adapter: QueryAdapter, number: int, settings: Settings, vector_set: VectorSetRecord | None
) -> bool:
    """Whether the vectors that are searched are of the model that an adapter was learned for."""
    if vector_set is None or adapter.dim != settings.dim:
        return False
    identity = vector_set.to_identity()
    same = identity is not None and adapter.model == identity.fingerprint
    return same or number == vector_set.number
