"""Looks up fusions by name and converts them to and from JSON values for storage."""

from collections.abc import Mapping
from dataclasses import fields
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
from twofold.validation import did_you_mean

NORMALIZERS: dict[str, Normalizer] = {
    "theoretical-min-max": TheoreticalMinMax(),
    "min-max": MinMax(),
    "z-score": ZScore(),
    "z-score-candidates": ZScore("candidates"),
    "distribution-based": DistributionBased(),
    "l2": L2(),
    "rank": Rank(),
}
"""The normalizers by name. In `FUSIONS`, each name is a weighted sum with it."""
FUSIONS: dict[str, WeightedFusion] = {
    "guarded": GuardedFusion(),
    **{name: WeightedSum(normalizer) for name, normalizer in NORMALIZERS.items()},
    "rrf": ReciprocalRank(),
    "combmnz": CombMNZ(),
    "log-odds": LogOdds(),
}
"""The fusions by their names on the command line. ``guarded`` is the default."""
_FUSION_TYPES: dict[str, type[Any]] = {
    cls.__name__: cls for cls in (WeightedSum, CombMNZ, LogOdds, ReciprocalRank, GuardedFusion)
}
_STORED_TYPES = _FUSION_TYPES | {
    type(normalizer).__name__: type(normalizer) for normalizer in NORMALIZERS.values()
}


def fusion_from_name(name: str, dense_weight: float | None = None) -> WeightedFusion:
    """Return the fusion called ``name``, optionally with another dense weight.

    Raises:
        InputError: The name is unknown, or the weight is not between 0 and 1.
    """
    if name not in FUSIONS:
        hint = did_you_mean(name, FUSIONS)
        raise InputError(f"unknown fusion {name!r}: use one of {', '.join(FUSIONS)}{hint}")
    fusion = FUSIONS[name]
    return fusion if dense_weight is None else fusion.with_dense_weight(dense_weight)


def fusion_as_dict(fusion: Fusion) -> dict[str, Any]:
    """Return one of the library's weighted fusions as JSON values.

    Raises:
        InputError: The fusion or a part of it is not defined by twofold.
    """
    if type(fusion) not in _FUSION_TYPES.values():
        names = ", ".join(_FUSION_TYPES)
        raise InputError(f"{fusion!r:.80} can't be stored: use one of {names} of twofold.fusion")
    stored: dict[str, Any] = _as_json(fusion)
    return stored


def fusion_from_dict(values: Mapping[str, Any]) -> WeightedFusion:
    """Return the fusion that ``fusion_as_dict`` converted.

    Raises:
        KeyError: The fusion is unknown to this version.
        TypeError: A field is unknown to this version.
    """
    arguments: dict[str, Any] = {
        name: fusion_from_dict(value) if isinstance(value, Mapping) else value
        for name, value in values.items()
    }
    fusion: WeightedFusion = _STORED_TYPES[arguments.pop("name")](**arguments)
    return fusion


def _as_json(value: Any) -> Any:
    """Return a fusion, a normalizer or the value of one of their fields for storage."""
    if type(value) in _STORED_TYPES.values():
        names = [field.name for field in fields(value) if field.init]
        stored = {name: _as_json(getattr(value, name)) for name in names}
        return {"name": type(value).__name__, **stored}
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, str | int | float):
        return plain
    raise InputError(
        f"{value!r:.80} can't be stored: use normalizers and fusions of twofold.fusion"
    )
