"""Names under which things are saved with an index."""

from collections.abc import Container, Iterable
from difflib import get_close_matches
from itertools import count

from twofold.errors import InputError

_LONGEST = 100


def check_name(kind: str, name: str, reserved: str | None = None) -> None:
    """Raise InputError for what can't be the name of a ``kind``, such as ``"setting"``."""
    text = isinstance(name, str)
    if not text or not name.isprintable() or name != name.strip() or not 0 < len(name) <= _LONGEST:
        raise InputError(
            f"the name of {_article(kind)} {kind} is {name!r:.120}: 1 to {_LONGEST} printable "
            "characters are wanted, without blanks around them"
        )
    if name == reserved:
        raise InputError(f"the name {name!r} is that of the library's defaults: use another one")


def check_known(kind: str, name: str, names: Iterable[str]) -> None:
    """Raise InputError for a name that is not among the names of what is saved."""
    saved = list(names)
    if name in saved:
        return
    known = f"saved are {', '.join(map(repr, saved))}" if saved else "none is saved"
    near = get_close_matches(str(name), saved, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise InputError(f"there is no {kind} {name!r}: {known}{hint}")


def check_free(kind: str, name: str, taken: Container[str]) -> None:
    """Raise InputError for a name that is taken: what is saved is never overwritten unasked."""
    if name in taken:
        raise InputError(
            f"there is {_article(kind)} {kind} {name!r} already, and it is kept: use another name, "
            "or drop it first"
        )


def free_name(stem: str, taken: Iterable[str]) -> str:
    """Return the first of ``stem``, ``stem-2``, ``stem-3`` ... that isn't taken in any case."""
    names = {each.casefold() for each in taken}
    if stem not in names:
        return stem
    return next(name for number in count(2) if (name := f"{stem}-{number}") not in names)


def _article(kind: str) -> str:
    return "an" if kind[0] in "aeiou" else "a"
