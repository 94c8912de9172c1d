"""Query adapters saved with an index, each in a file."""

import json
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from twofold.encoders.query_adapter import QueryAdapter
from twofold.errors import InputError
from twofold.index.saved.collection import (
    SavedCollection,
    check_free,
    check_known,
    check_name,
)
from twofold.index.saved.store import SavedChange
from twofold.index.saved_records import (
    adapter_records,
    pack_adapter,
    profile_records,
    unpack_adapter,
)
from twofold.storage import IndexSettings, VectorSetRecord, content_hash

_UNSAFE = set('/\\:*?"<>|')
_MAX_BYTES = 200  # file systems allow 255
# Windows' devices; it reads a superscript digit as the digit.
_RESERVED = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[\d\u00b9\u00b2\u00b3])( *\..*)?", re.IGNORECASE
)


class QueryAdapters(SavedCollection[QueryAdapter]):
    """The query adapters of an index by name.

    An adapter is used while a profile that names it (``SearchProfile.query_adapter``) is active.
    Its file is ``adapters/NAME.adapter`` in the index's folder. If the file is missing or has
    changed, searches use the library's defaults, with a warning.
    """

    _stem = "trained"

    def save(self, name: str, adapter: QueryAdapter) -> None:
        """Save an adapter under a new name, without using it.

        Raises:
            InputError: The name is taken or not valid, or the adapter is for other dimensions or
                another model than the index's.
        """
        if not isinstance(adapter, QueryAdapter):
            raise InputError(f"adapter must be a QueryAdapter, got {type(adapter).__name__}")

        def update(settings: IndexSettings, vector_set: VectorSetRecord | None) -> SavedChange:
            records = adapter_records(settings)
            self._check_new(name, records)
            if vector_set is None or settings.dim is None:
                raise InputError("the index has no vectors for a query adapter: add some first")
            if adapter.dim != settings.dim:
                raise InputError(
                    f"the adapter is for vectors of {adapter.dim} dimensions, but the index has "
                    f"{settings.dim}: train an adapter on this index"
                )
            identity = vector_set.to_identity()
            if identity is not None and adapter.model and adapter.model != identity.fingerprint:
                raise InputError(
                    "the adapter was trained for another model than the index's "
                    f"({identity.name!r}): train an adapter on this index"
                )
            data = pack_adapter(adapter)
            records[name] = {"hash": content_hash(data).hex(), "set": vector_set.number}
            after = replace(settings, query_adapters=json.dumps(records))
            return SavedChange(after, written={name: data})

        self._store.change(update)

    def drop(self, name: str) -> None:
        """Delete an adapter that no saved profile names.

        Raises:
            InputError: There is no adapter of that name, or a profile names it.
        """

        def update(settings: IndexSettings, _: VectorSetRecord | None) -> SavedChange:
            records = adapter_records(settings)
            check_known("query adapter", name, records)
            for profile, values in profile_records(settings).items():
                if values.get("adapter") == name:
                    raise InputError(
                        f"query adapter {name!r} is used by profile {profile!r}: drop that "
                        "profile first"
                    )
            del records[name]
            after = replace(settings, query_adapters=json.dumps(records))
            return SavedChange(after, deleted=(name,))

        self._store.change(update)

    def __getitem__(self, name: str) -> QueryAdapter:
        return unpack_adapter(name, self._store.read_adapter(name, self._records()[name]["hash"]))

    def _records(self) -> dict[str, Any]:
        return adapter_records(self._store.read())

    def _check_new(self, name: str, taken: Iterable[str]) -> None:
        """Raise InputError if a name is taken, or can't be a file name on every system."""
        check_name("query adapter", name)
        if name.startswith(".") or _UNSAFE & set(name):
            raise InputError(
                f"a query adapter's name becomes a file name, so it must not start with a dot or "
                f"contain any of {' '.join(sorted(_UNSAFE))}, got {name!r}"
            )
        if len(name.encode()) > _MAX_BYTES or _RESERVED.fullmatch(name):
            raise InputError(
                f"a query adapter's name becomes a file name, so it must have at most {_MAX_BYTES} "
                f"bytes and not be one that Windows reserves for devices, got {name!r}"
            )
        check_free("query adapter", name, taken)
        twin = next((other for other in taken if _fold(other) == _fold(name)), None)
        if twin is not None:
            raise InputError(
                f"there is already a query adapter {twin!r}, and some file systems ignore case: "
                f"use another name than {name!r}"
            )


def _fold(name: str) -> str:
    """Return a name as file systems compare it that ignore case and forms of accents."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())
