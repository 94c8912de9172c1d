"""Fusions by name, for the command line, and as JSON values, for what an index stores."""

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

import numpy as np

from twofold.errors import InputError
from twofold.fusion.base import Fusion, WeightedFusion
from twofold.fusion.guard import GuardedFusion
from twofold.fusion.normalizers import (
    L2,
    DistributionBased,
    MinMax,
    Normalizer,
    Rank,
    TheoreticalMinMax,
    ZScore,
)
from twofold.fusion.rules import CombMNZ, LogOdds, ReciprocalRank, WeightedSum

NORMALIZERS: dict[str, Normalizer] = {
    "theoretical-min-max": TheoreticalMinMax(),
    "min-max": MinMax(),
    "z-score": ZScore(),
    "z-score-candidates": ZScore("candidates"),
    "distribution-based": DistributionBased(),
    "l2": L2(),
    "rank": Rank(),
}
"""The normalisers by name, each of which also names a weighted sum."""
FUSIONS: dict[str, WeightedFusion] = {
    "guarded": GuardedFusion(),
    **{name: WeightedSum(each) for name, each in NORMALIZERS.items()},
    "rrf": ReciprocalRank(),
    "combmnz": CombMNZ(),
    "log-odds": LogOdds(),
}
"""The fusions by the names that the command line uses; ``guarded`` is the default."""
_KINDS: dict[str, type[Any]] = {
    each.__name__: each for each in (WeightedSum, CombMNZ, LogOdds, ReciprocalRank, GuardedFusion)
}
_PARTS: dict[str, type[Any]] = {type(each).__name__: type(each) for each in NORMALIZERS.values()}


def fusion_from_name(name: str, dense_weight: float | None = None) -> WeightedFusion:
    """Return a fusion by its name, with another weight if one is given.

    Raises InputError for an unknown name or a weight outside 0 to 1.
    """
    if name not in FUSIONS:
        near = get_close_matches(name, FUSIONS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(f"unknown fusion {name!r}: use one of {', '.join(FUSIONS)}{hint}")
    fusion = FUSIONS[name]
    return fusion if dense_weight is None else fusion.reweighted(dense_weight)


def fusion_as_dict(fusion: Fusion) -> dict[str, Any]:
    """Return one of the library's weighted fusions as JSON values.

    Raises InputError for one of the user's own, or with parts of the user's own, which can't be
    made again from values.
    """
    if type(fusion) not in _KINDS.values():
        raise InputError(
            f"{fusion!r:.80} can't be stored: use one of {', '.join(_KINDS)} of twofold.fusion"
        )
    return _as_dict(fusion)


def fusion_from_dict(values: Mapping[str, Any]) -> WeightedFusion:
    """Return the fusion that ``fusion_as_dict`` gave.

    Raises KeyError or TypeError for what this version of the library doesn't know.
    """
    fusion: WeightedFusion = _made(values)
    return fusion


def _as_dict(value: Any) -> dict[str, Any]:
    own = {field.name: getattr(value, field.name) for field in fields(value)}
    return {"name": type(value).__name__, **{name: _plain(each) for name, each in own.items()}}


def _plain(value: Any) -> Any:
    if type(value) in _KINDS.values() or type(value) in _PARTS.values():
        return _as_dict(value)
    plain = value.item() if isinstance(value, np.generic) else value
    if not isinstance(plain, str | int | float):
        raise InputError(
            f"{value!r:.80} can't be stored: use normalisers and fusions of twofold.fusion"
        )
    return plain


def _made(values: Mapping[str, Any]) -> Any:
    own = {
        name: _made(each) if isinstance(each, Mapping) else each for name, each in values.items()
    }
    return {**_KINDS, **_PARTS}[own.pop("name")](**own)
