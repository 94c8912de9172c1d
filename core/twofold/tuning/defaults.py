"""The settings that need no saving: the library's own, and the one in use."""

from dataclasses import replace

from twofold.fusion import FUSIONS
from twofold.index import IndexView
from twofold.index.stored_setting import own_title_weight
from twofold.protocols import Setting
from twofold.retriever import DEPTH


def defaults(view: IndexView) -> Setting:
    """Return what searches of an index use while no saved setting is in use."""
    return Setting(FUSIONS["guarded"], DEPTH, None, own_title_weight(view.snapshot.settings))


def in_use(view: IndexView) -> Setting:
    """Return what searches use now."""
    if view.setting is None:
        return defaults(view)
    return replace(view.setting, title_weight=view.snapshot.settings.title_weight)
