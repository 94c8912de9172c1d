"""Search profiles saved with an index."""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from twofold.backend import SearchProfile
from twofold.errors import InputError
from twofold.index.analyzer_binding import check_title_weight
from twofold.index.saved.collection import (
    SavedCollection,
    check_free,
    check_known,
    check_name,
)
from twofold.index.saved.store import SavedChange
from twofold.index.saved_records import (
    active_profile,
    adapter_records,
    default_title_weight,
    profile_as_dict,
    profile_from_dict,
    profile_records,
)
from twofold.storage import IndexSettings, VectorSetRecord
from twofold.validation import check_integer

DEFAULT = "default"
"""The command line's name for the library's defaults; no profile can have this name."""


class SearchProfiles(SavedCollection[SearchProfile]):
    """The saved profiles of an index by name. One of them may be active.

    Every change is one commit, which readers see from their next query on. If the
    title weight of a profile isn't the one that the postings were built with, ``use`` rebuilds
    them, as ``Index.reanalyze`` does.
    """

    _stem = "tuned"

    @property
    def active(self) -> str | None:
        """The name of the active profile, None for the library's defaults."""
        return self._store.read().active_profile

    def save(self, name: str, profile: SearchProfile, *, use: bool = False) -> None:
        """Save a profile, replacing any of that name, and activate it if ``use``.

        Raises:
            InputError: The name is not valid, or the profile can't be stored.
        """
        check_name("profile", name, DEFAULT)
        values = _to_storable(profile)

        def update(before: IndexSettings, _: VectorSetRecord | None) -> SavedChange:
            if profile.query_adapter is not None:
                check_known("query adapter", profile.query_adapter, adapter_records(before))
            saved = json.dumps({**profile_records(before), name: values})
            after = replace(before, profiles=saved)
            if use or before.active_profile == name:
                after = _activate(after, name, default_title_weight(before))
            return SavedChange(after)

        self._store.change(update)

    def use(self, name: str | None) -> None:
        """Activate a saved profile, or the library's defaults if None.

        Raises:
            InputError: There is no profile of that name.
        """

        def update(before: IndexSettings, _: VectorSetRecord | None) -> SavedChange:
            if name is not None:
                check_known("profile", name, profile_records(before))
            return SavedChange(_activate(before, name, default_title_weight(before)))

        self._store.change(update)

    def drop(self, name: str) -> None:
        """Delete a profile that is not active.

        Raises:
            InputError: There is no profile of that name, or it is active.
        """

        def update(before: IndexSettings, _: VectorSetRecord | None) -> SavedChange:
            records = profile_records(before)
            check_known("profile", name, records)
            if name == before.active_profile:
                raise InputError(
                    f"profile {name!r} is active: first call profiles.use(another), or "
                    "profiles.use(None) for the defaults"
                )
            del records[name]
            return SavedChange(replace(before, profiles=json.dumps(records)))

        self._store.change(update)

    def __getitem__(self, name: str) -> SearchProfile:
        return profile_from_dict(self._records()[name])

    def __repr__(self) -> str:
        return f"SearchProfiles({', '.join(map(repr, self))}; active={self.active!r})"

    def _check_new(self, name: str, taken: Iterable[str]) -> None:
        check_name("profile", name, DEFAULT)
        check_free("profile", name, taken)

    def _records(self) -> dict[str, Any]:
        return profile_records(self._store.read())


def _activate(settings: IndexSettings, name: str | None, default_weight: int) -> IndexSettings:
    """Return the settings with the profile ``name`` active, and the title weight it needs."""
    kept_weight = default_weight if name is not None else None
    after = replace(settings, active_profile=name, default_title_weight=kept_weight)
    if after.analyzer is None:
        return after
    profile = active_profile(after)
    weight = profile.title_weight if profile is not None else default_weight
    return replace(after, title_weight=weight)


def _to_storable(profile: SearchProfile) -> dict[str, Any]:
    """Return a profile as JSON values; raise InputError unless they can be read back."""
    if not isinstance(profile, SearchProfile):
        raise InputError(
            f"profile must be a SearchProfile, got {type(profile).__name__}: {profile!r:.80}"
        )
    check_integer("depth", profile.depth)
    check_title_weight(profile.title_weight)
    if not isinstance(profile.query_adapter, str | None):
        raise InputError(
            "query_adapter must be the name of a saved query adapter or None, got "
            f"{profile.query_adapter!r:.80}"
        )
    values = profile_as_dict(profile)
    try:
        same = profile_from_dict(json.loads(json.dumps(values))) == profile
    except (TypeError, ValueError):
        same = False
    if not same:
        raise InputError(
            f"{profile!r:.200} can't be stored: use fusions and scorers of the library"
        )
    return values
