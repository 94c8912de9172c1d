"""A setting of searches as the catalog keeps it: JSON, and which one is in use."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from twofold.catalog import Settings
from twofold.errors import InputError, UnsupportedStorageError
from twofold.fusion import fusion_as_dict, fusion_of
from twofold.lexical import scorer_as_dict, scorer_of
from twofold.protocols import Setting


def setting_as_dict(setting: Setting) -> dict[str, Any]:
    """Return a setting as JSON values.

    Raises InputError for a fusion or a scoring function that isn't the library's.
    """
    scorer = setting.scorer
    return {
        "fusion": fusion_as_dict(setting.fusion),
        "depth": int(setting.depth),
        "scorer": scorer_as_dict(scorer) if scorer is not None else None,
        "title_weight": setting.title_weight,
        **({"adapter": setting.adapter} if setting.adapter is not None else {}),
    }


def setting_of(values: Mapping[str, Any]) -> Setting:
    """Return the setting that ``setting_as_dict`` gave.

    Raises UnsupportedStorageError for what only another version of the library can have written.
    """
    try:
        scorer = values["scorer"]
        return Setting(
            fusion_of(values["fusion"]),
            values["depth"],
            scorer_of(scorer) if scorer is not None else None,
            values["title_weight"],
            values.get("adapter"),
        )
    except (KeyError, TypeError, InputError) as error:
        raise UnsupportedStorageError(
            f"a saved setting is not of this version of twofold ({error}): use the version that "
            "saved it, or drop it"
        ) from error


def saved_values(settings: Settings) -> dict[str, Any]:
    """Return all saved settings as JSON values, by name."""
    values: dict[str, Any] = json.loads(settings.saved)
    return values


def setting_in_use(settings: Settings) -> Setting | None:
    """Return the setting that searches use, None for the library's defaults."""
    return None if settings.active is None else _decoded(settings.saved, settings.active)


def own_title_weight(settings: Settings) -> int:
    """Return what titles weigh without any saved setting.

    A weight that was changed by hand while a setting was in use is the user's own, too.
    """
    used, own = setting_in_use(settings), settings.own_title_weight
    if own is None or used is None or used.title_weight != settings.title_weight:
        return settings.title_weight
    return own


@lru_cache(maxsize=64)
def _decoded(saved: str, name: str) -> Setting:
    """Return one setting; every query asks."""
    return setting_of(json.loads(saved)[name])
