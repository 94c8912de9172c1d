"""Keeping what was learned: an adapter and its setting, saved with the index under one name."""

from dataclasses import replace

from twofold.errors import InputError
from twofold.index import Index
from twofold.index.names import free_name
from twofold.training.trained import Trained


def new_name(index: Index) -> str:
    """Return the first of trained, trained-2 ... that neither an adapter nor a setting has."""
    return free_name("trained", {*index.adapters, *index.settings})


def keep(index: Index, trained: Trained, *, name: str | None = None, use: bool = True) -> str:
    """Save an adapter with its setting, and put both to use; return the name that both have.

    ``name`` is the first free of trained, trained-2 ... if left out. To go back:
    ``index.settings.use(...)`` with the name of before, or None for the library's defaults, or
    delete the adapter's file. Raises InputError for a name that is taken, and where there is
    nothing to keep, IndexLockedError, ReadOnlyError.
    """
    if trained.adapter is None or trained.setting is None:
        raise InputError(f"there is no adapter to keep: {trained.reason}")
    with index.view() as view:
        now = view.snapshot.vector_set
    if now is None or now.number != trained.vector_set:
        raise InputError(
            "the index has other vectors than those that the adapter was learned beside: it was "
            "encoded anew since; train again"
        )
    if name is None:
        name = new_name(index)
    # What is taken is refused before anything is written.
    index.settings.new_name(name)
    index.adapters.new_name(name)
    index.adapters.save(name, trained.adapter)
    index.settings.save(name, replace(trained.setting, adapter=name), use=use)
    return name
