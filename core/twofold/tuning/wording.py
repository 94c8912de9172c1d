"""Settings in words."""

from dataclasses import fields, is_dataclass
from typing import Any

from twofold.fusion import NORMALIZERS, Guarded, ReciprocalRank, WeightedFusion
from twofold.lexical import BM25
from twofold.protocols import Setting

_NAMES = {each: name for name, each in NORMALIZERS.items()}


def fusion_in_words(fusion: WeightedFusion) -> str:
    """Return a fusion's rule and weight, such as ``WeightedSum(min-max), dense weight 0.50``."""
    bare = fusion.fusion if isinstance(fusion, Guarded) else fusion
    inner: Any = getattr(bare, "normalizer", None)
    name = type(bare).__name__
    if inner is not None:
        name += f"({_NAMES.get(inner, type(inner).__name__)})"
    if isinstance(bare, ReciprocalRank):
        name += f"({bare.rank_constant:g})"
    guard = ", guarded" if isinstance(fusion, Guarded) else ""
    return f"{name}, dense weight {fusion.dense_weight:.2f}{guard}"


def scorer_in_words(setting: Setting) -> str:
    """Return a setting's scoring function with its parameters."""
    scorer: Any = setting.scorer if setting.scorer is not None else BM25()
    if not is_dataclass(scorer):
        return repr(scorer)
    values = (f"{each.name} {getattr(scorer, each.name)}" for each in fields(scorer))
    return f"{type(scorer).__name__} {', '.join(values)}".strip()


def setting_in_words(setting: Setting) -> str:
    """Return a setting on one line."""
    return (
        f"{fusion_in_words(setting.fusion)}; depth {setting.depth}; {scorer_in_words(setting)}; "
        f"titles weigh {setting.title_weight}"
    )
