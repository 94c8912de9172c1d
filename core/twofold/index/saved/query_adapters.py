"""Query adapters saved with an index: each a file of its own, which may be deleted."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from twofold.encoders.query_adapter import QueryAdapter
from twofold.errors import InputError
from twofold.index.layout import Layout
from twofold.index.saved.names import check_free, check_known, check_name, free_name
from twofold.index.saved_records import packed, read_adapter, saved_values, stored_adapters
from twofold.index.view import SnapshotProvider
from twofold.index.writing.commit import Change
from twofold.index.writing.writer import IndexWriter
from twofold.storage import Settings, VectorSetRecord, content_hash, write_whole

_KIND = "adapter"
_UNSAFE = set('/\\:*?"<>|')
_LONGEST = 200  # bytes, of 255 that file systems give a name
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # Windows' devices


class QueryAdapters(Mapping[str, QueryAdapter]):
    """The query adapters of an index by name.

    One is used by a saved setting that names it (``Setting.adapter``), while that setting is in
    use. Each is the file ``adapters/NAME.adapter`` of the index's folder: where it is gone, or
    isn't what was written, searches go by the library's defaults, and say so.
    """

    def __init__(
        self,
        layout: Layout,
        writer: IndexWriter,
        generations: SnapshotProvider,
        check_open: Callable[[], None],
    ) -> None:
        self._layout = layout
        self._writer = writer
        self._generations = generations
        self._check_open = check_open

    def new_name(self, wanted: str | None = None) -> str:
        """Return a name that no adapter has: ``wanted``, or the first of trained, trained-2 ...

        Raises InputError for a wanted name that is taken, or that no adapter can have.
        """
        if wanted is None:
            return free_name("trained", self._records())
        _check_new(wanted, self._records())
        return wanted

    def save(self, name: str, adapter: QueryAdapter) -> None:
        """Save an adapter under a new name; nothing uses it yet.

        Raises InputError for a name that is taken or can't be had, and for an adapter of other
        dimensions or of another model than the index's, IndexLockedError, ReadOnlyError.
        """
        if not isinstance(adapter, QueryAdapter):
            raise InputError(f"a QueryAdapter is wanted, not {type(adapter).__name__}")
        _check_new(name, self._records())
        self._writer.begin()
        with self._writer.turn:
            with self._generations.view() as view:
                snapshot = view.snapshot
            settings, vector_set = snapshot.settings, snapshot.vector_set
            records = stored_adapters(settings)
            _check_new(name, records)  # again: another writer may have come first
            if vector_set is None or settings.dim is None:
                raise InputError("the index has no vectors, so no query vector to adapt")
            if adapter.dim != settings.dim:
                raise InputError(
                    f"the adapter is for vectors of {adapter.dim} dimensions, and the index holds "
                    f"{settings.dim}"
                )
            identity = vector_set.to_identity()
            if identity is not None and adapter.model and adapter.model != identity.fingerprint:
                raise InputError(
                    f"the adapter was learned for another model than the index's, {identity.name!r}"
                )
            data = packed(adapter)
            self._layout.adapters.mkdir(exist_ok=True)
            write_whole(self._layout.adapter_file(name), lambda file: file.write(data))
            records[name] = {"hash": content_hash(data).hex(), "set": vector_set.number}
            self._commit(replace(settings, adapters=json.dumps(records)), vector_set)

    def drop(self, name: str) -> None:
        """Delete an adapter that no saved setting names.

        Raises InputError for an unknown name and for one that is named, IndexLockedError,
        ReadOnlyError.
        """
        self._check_open()
        self._writer.begin()
        with self._writer.turn:
            with self._generations.view() as view:
                snapshot = view.snapshot
            records = stored_adapters(snapshot.settings)
            check_known(_KIND, name, records)
            for setting, values in saved_values(snapshot.settings).items():
                if values.get("adapter") == name:
                    raise InputError(
                        f"the adapter {name!r} is used by the setting {setting!r}: drop that first"
                    )
            del records[name]
            changed = replace(snapshot.settings, adapters=json.dumps(records))
            self._commit(changed, snapshot.vector_set)
            self._layout.adapter_file(name).unlink(missing_ok=True)

    def __getitem__(self, name: str) -> QueryAdapter:
        return read_adapter(self._layout, name, self._records()[name]["hash"])

    def __iter__(self) -> Iterator[str]:
        return iter(self._records())

    def __len__(self) -> int:
        return len(self._records())

    def __repr__(self) -> str:
        return f"SavedAdapters({', '.join(map(repr, self))})"

    def _records(self) -> dict[str, dict[str, Any]]:
        self._check_open()
        with self._generations.view() as view:
            return stored_adapters(view.snapshot.settings)

    def _commit(self, settings: Settings, vector_set: VectorSetRecord | None) -> None:
        self._writer.commit(Change.of_nothing(settings, vector_set))


def _check_new(name: str, taken: Iterable[str]) -> None:
    """Raise InputError for a name that is taken, or that can't be a file's on every system."""
    check_name(_KIND, name)
    if name.startswith(".") or _UNSAFE & set(name):
        raise InputError(
            f"an adapter's name {name!r} becomes a file's: no dot at its start and none of "
            f"{' '.join(sorted(_UNSAFE))} is wanted"
        )
    if len(name.encode()) > _LONGEST or _RESERVED.fullmatch(name):
        raise InputError(
            f"an adapter's name {name!r} becomes a file's: at most {_LONGEST} bytes are wanted, "
            "and none of the names that Windows has for devices"
        )
    names = list(taken)
    check_free(_KIND, name, names)
    twin = next((each for each in names if each.casefold() == name.casefold()), None)
    if twin is not None:
        raise InputError(
            f"there is an adapter {twin!r} already, and some systems tell no case apart in the "
            f"names of files: use another name than {name!r}"
        )
