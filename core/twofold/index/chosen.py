"""Which passages a call means: by id, by filter, or by both."""

from collections.abc import Iterable

import numpy as np

from twofold.catalog import StoredPassage
from twofold.errors import InputError
from twofold.index.view import IndexView
from twofold.types import Where


def checked_ids(ids: Iterable[str]) -> list[str]:
    """Return ids as a list; raise InputError for what can't be one."""
    if isinstance(ids, str):
        raise InputError(f"ids is a list of ids, not the string {ids!r}")
    wanted = list(ids)
    for each in wanted:
        if not isinstance(each, str) or any("\ud800" <= char <= "\udfff" for char in each):
            raise InputError(f"an id is a string of text, not {each!r:.80}")
    return wanted


def wanted_ids(verb: str, ids: Iterable[str] | None, where: Where | None) -> list[str] | None:
    """Return ids, None for all; raise InputError where neither says which are meant."""
    if ids is None and where is None:
        raise InputError(f"{verb} takes ids=, where= or both; to {verb} all, where={{}}")
    return checked_ids(ids) if ids is not None else None


def chosen_passages(
    view: IndexView, ids: list[str] | None, where: Where | None
) -> tuple[StoredPassage, ...]:
    """Return the passages of these ids that a filter lets through; None for all ids."""
    allowed = view.allowed(where)
    if ids is not None:
        found = view.reader.by_id(ids).values()
        return tuple(each for each in found if allowed is None or allowed[each.row])
    assert allowed is not None  # one of the two is given
    rows = np.flatnonzero(allowed).tolist()
    return tuple(StoredPassage(*each) for each in view.reader.by_row(rows))
