"""Named objects saved with an index: checks of names, and the mapping that holds the objects."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import Any, ClassVar, TypeVar

from twofold.errors import InputError
from twofold.index.saved.store import SettingsStore
from twofold.validation import did_you_mean

_MAX_LENGTH = 100
Saved = TypeVar("Saved")


class SavedCollection(Mapping[str, Saved]):
    """A read-only mapping of names to objects saved with an index, in its newest generation."""

    _stem: ClassVar[str]

    def __init__(self, store: SettingsStore) -> None:
        self._store = store

    def new_name(self, wanted: str | None = None, *, stem: str | None = None) -> str:
        """Return an unused name: ``wanted``, or the first free of ``stem``, ``stem``-2, ...

        Raises:
            InputError: ``wanted`` is taken or not a valid name.
        """
        taken = self._records()
        if wanted is None:
            return free_name(stem if stem is not None else self._stem, taken)
        self._check_new(wanted, taken)
        return wanted

    @abstractmethod
    def _check_new(self, name: str, taken: Iterable[str]) -> None:
        """Raise InputError if a name is taken or not valid."""

    @abstractmethod
    def _records(self) -> dict[str, Any]:
        """Return the stored records by name."""

    def __iter__(self) -> Iterator[str]:
        return iter(self._records())

    def __len__(self) -> int:
        return len(self._records())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self))})"


def check_name(kind: str, name: str, reserved: str | None = None) -> None:
    """Raise InputError unless ``name`` can name a ``kind``, such as ``"profile"``."""
    usable = isinstance(name, str) and name.isprintable() and name == name.strip()
    if not usable or not 0 < len(name) <= _MAX_LENGTH:
        raise InputError(
            f"the name of a {kind} must have 1 to {_MAX_LENGTH} printable characters and no blank "
            f"at either end, got {name!r:.120}"
        )
    if name == reserved:
        raise InputError(f"{name!r} is the name of the library's defaults: use another name")


def check_known(kind: str, name: str, names: Iterable[str]) -> None:
    """Raise InputError unless ``name`` is one of the saved ``names``."""
    saved = list(names)
    if name not in saved:
        known = f"saved are {', '.join(map(repr, saved))}" if saved else "none is saved"
        raise InputError(f"there is no {kind} {name!r}: {known}{did_you_mean(name, saved)}")


def check_free(kind: str, name: str, taken: Iterable[str]) -> None:
    """Raise InputError if ``name`` is one of the ``taken`` names."""
    if name in taken:
        raise InputError(f"there is already a {kind} {name!r}: use another name, or drop it first")


def free_name(stem: str, taken: Iterable[str]) -> str:
    """Return the first of ``stem``, ``stem-2``, ... that is not taken, ignoring case."""
    names = {name.casefold() for name in taken}
    if stem not in names:
        return stem
    return next(name for number in count(2) if (name := f"{stem}-{number}") not in names)
