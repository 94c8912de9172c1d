"""Settings of searches, saved with an index under names."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from twofold.backend import SearchProfile
from twofold.errors import InputError
from twofold.index.analyzer_binding import check_title_weight
from twofold.index.saved.names import check_free, check_known, check_name, free_name
from twofold.index.saved_records import (
    active_profile,
    profile_as_dict,
    profile_from_dict,
    saved_values,
    stored_adapters,
    default_title_weight,
)
from twofold.index.segment_types import LexicalSegmentType
from twofold.index.view import SnapshotProvider
from twofold.index.writing.commit import Change
from twofold.index.writing.writer import IndexWriter
from twofold.storage import Settings

DEFAULT = "default"
"""What the command line calls the library's defaults; no setting can have this name."""
_KIND = "setting"


class SearchProfiles(Mapping[str, SearchProfile]):
    """The saved settings of an index by name; one of them, or the defaults, is in use.

    Every change is one commit, seen by all readers from their next query on. Where titles weigh
    something else in a setting than in the postings, those are built anew when it is put to use, as
    by ``Index.reanalyze``, and again on the way back.
    """

    def __init__(
        self, writer: IndexWriter, generations: SnapshotProvider, check_open: Callable[[], None]
    ) -> None:
        self._writer = writer
        self._generations = generations
        self._check_open = check_open

    @property
    def active(self) -> str | None:
        """The name of the setting in use, None for the library's defaults."""
        return self._stored().active

    @property
    def in_use(self) -> SearchProfile | None:
        """The setting in use, None for the library's defaults."""
        return active_profile(self._stored())

    def new_name(self, wanted: str | None = None, *, stem: str = "tuned") -> str:
        """Return a name that no setting has: ``wanted``, or the first free of tuned, tuned-2 ...

        Raises InputError for a wanted name that is taken, or that no setting can have.
        """
        taken = saved_values(self._stored())
        if wanted is None:
            return free_name(stem, taken)
        check_name(_KIND, wanted, DEFAULT)
        check_free(_KIND, wanted, taken)
        return wanted

    def save(self, name: str, profile: SearchProfile, *, use: bool = False) -> None:
        """Save a setting, instead of any that had the name, and put it to use if wanted.

        Raises InputError for a name or a setting that can't be stored, IndexLockedError,
        ReadOnlyError.
        """
        check_name(_KIND, name, DEFAULT)
        values = _storable(profile)

        def saved(before: Settings) -> Settings:
            if profile.query_adapter is not None:
                check_known("adapter", profile.query_adapter, stored_adapters(before))
            after = replace(before, saved=json.dumps({**saved_values(before), name: values}))
            return _using(before, after, name) if use or before.active == name else after

        self._change(saved)

    def use(self, name: str | None) -> None:
        """Put a saved setting to use, or, by None, the library's defaults.

        Raises InputError for an unknown name, IndexLockedError, ReadOnlyError.
        """

        def used(before: Settings) -> Settings:
            if name is not None:
                check_known(_KIND, name, saved_values(before))
            return _using(before, before, name)

        self._change(used)

    def drop(self, name: str) -> None:
        """Forget a setting that is not in use.

        Raises InputError for an unknown name and for the one in use, IndexLockedError,
        ReadOnlyError.
        """

        def dropped(before: Settings) -> Settings:
            values = saved_values(before)
            check_known(_KIND, name, values)
            if name == before.active:
                raise InputError(
                    f"the setting {name!r} is in use: put another one to use first, or None for "
                    "the defaults"
                )
            del values[name]
            return replace(before, saved=json.dumps(values))

        self._change(dropped)

    def __getitem__(self, name: str) -> SearchProfile:
        return profile_from_dict(saved_values(self._stored())[name])

    def __iter__(self) -> Iterator[str]:
        return iter(saved_values(self._stored()))

    def __len__(self) -> int:
        return len(saved_values(self._stored()))

    def __repr__(self) -> str:
        return f"SavedSettings({', '.join(map(repr, self))}; active={self.active!r})"

    def _stored(self) -> Settings:
        self._check_open()
        with self._generations.view() as view:
            return view.snapshot.settings

    def _change(self, changed: Callable[[Settings], Settings]) -> None:
        """Commit what ``changed`` makes of the newest generation's settings, if it is anything."""
        self._check_open()
        self._writer.begin()
        with self._writer.turn:
            with self._generations.view() as view:
                snapshot = view.snapshot
            before = snapshot.settings
            after = changed(before)
            if after == before:
                return
            change = Change.of_nothing(after, snapshot.vector_set)
            kind = snapshot.segment_types.get("lexical")
            if isinstance(kind, LexicalSegmentType) and after.title_weight != before.title_weight:
                change = replace(change, reanalyzed=replace(kind, title_weight=after.title_weight))
            self._writer.commit(change)


def _using(before: Settings, after: Settings, name: str | None) -> Settings:
    """Return ``after`` with another setting in use, and with its weight of titles."""
    own = default_title_weight(before)
    after = replace(after, active=name, own_title_weight=own if name is not None else None)
    if after.analyzer is None:
        return after
    entering = active_profile(after)
    return replace(after, title_weight=entering.title_weight if entering is not None else own)


def _storable(profile: SearchProfile) -> dict[str, Any]:
    """Return a setting as JSON values; raise InputError for one that can't be had back."""
    if not isinstance(profile, SearchProfile):
        raise InputError(f"a Setting is wanted, not {type(profile).__name__}: {profile!r:.80}")
    depth = profile.depth
    if not isinstance(depth, int) or isinstance(depth, bool) or depth < 1:
        raise InputError(f"depth is {depth!r}: a whole number of at least 1 is wanted")
    check_title_weight(profile.title_weight)
    if not isinstance(profile.query_adapter, str | None):
        raise InputError(f"adapter is {profile.query_adapter!r:.80}: the name of a saved one is wanted")
    values = profile_as_dict(profile)
    try:
        same = profile_from_dict(json.loads(json.dumps(values))) == profile
    except (TypeError, ValueError):
        same = False
    if not same:
        raise InputError(f"{profile!r:.200} can't be stored: use the library's own parts")
    return values
