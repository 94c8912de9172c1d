"""Combines the dense and the lexical score of each candidate into one.

A fusion takes the `LegScores` of both legs, which hold every candidate's score in both, and returns
`FusedScores`: normalized scores and weights, whose products sum to the fused score. The default,
`GuardedFusion`, lowers the weight of an unreliable leg. `PRESETS` fuse as other libraries do.

`fusion_as_dict` and `fusion_from_dict` store a fusion as JSON, by its class's name.
"""

from twofold.fusion.base import FusedScores, Fusion, LegScores, WeightedFusion
from twofold.fusion.guard import DENSE_DOUBT, LEXICAL_DOUBT, GuardedFusion, is_depth_invariant
from twofold.fusion.normalizers import (
    L2,
    DistributionBased,
    MinMax,
    Normalizer,
    Rank,
    TheoreticalMinMax,
    ZScore,
)
from twofold.fusion.presets import PRESETS, EnsembleFusion, Preset, QueryFusion, preset_from_name
from twofold.fusion.registry import (
    FUSIONS,
    NORMALIZERS,
    fusion_as_dict,
    fusion_from_dict,
    fusion_from_name,
)
from twofold.fusion.rules import CombMNZ, LogOdds, ReciprocalRank, WeightedSum

__all__ = [
    "DENSE_DOUBT",
    "FUSIONS",
    "L2",
    "LEXICAL_DOUBT",
    "NORMALIZERS",
    "PRESETS",
    "CombMNZ",
    "DistributionBased",
    "EnsembleFusion",
    "FusedScores",
    "Fusion",
    "GuardedFusion",
    "LegScores",
    "LogOdds",
    "MinMax",
    "Normalizer",
    "Preset",
    "QueryFusion",
    "Rank",
    "ReciprocalRank",
    "TheoreticalMinMax",
    "WeightedFusion",
    "WeightedSum",
    "ZScore",
    "fusion_as_dict",
    "fusion_from_dict",
    "fusion_from_name",
    "is_depth_invariant",
    "preset_from_name",
]
