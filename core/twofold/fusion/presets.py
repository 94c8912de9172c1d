"""Presets that reproduce the fusions of LangChain and LlamaIndex exactly."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from twofold.errors import InputError
from twofold.fusion.base import FusedScores, Fusion, LegScores
from twofold.fusion.rules import ReciprocalRank, reciprocal_ranks
from twofold.types import Scores
from twofold.validation import check_choice, check_number, did_you_mean

FusionMode = Literal["reciprocal_rerank", "relative_score", "dist_based_score", "simple"]
"""The modes of LlamaIndex's QueryFusionRetriever."""


@dataclass(frozen=True, slots=True)
class EnsembleFusion:
    """LangChain's EnsembleRetriever: weight / (c + rank), and 0 where a leg has no rank.

    Ranks start at 1. Equal scores keep the order of the joined lists of both legs, of which
    ``dense_first`` puts the dense one first.
    """

    dense_weight: float = 0.5
    c: float = 60.0
    dense_first: bool = False

    def __post_init__(self) -> None:
        check_number("dense_weight", self.dense_weight, 0, 1)
        check_number("c", self.c, 0)

    def fuse(self, dense: LegScores, lexical: LegScores) -> FusedScores:
        """Return reciprocal ranks, and sums rounded as in LangChain."""
        weight, c = self.dense_weight, self.c
        sums = reciprocal_ranks(dense, c, weight) + reciprocal_ranks(lexical, c, 1 - weight)
        order = _list_positions(dense, lexical, dense_first=self.dense_first)
        fused = ReciprocalRank(c, weight).fuse(dense, lexical)
        return replace(fused, precedence=order, sums=sums)

    def with_dense_weight(self, dense_weight: float) -> "EnsembleFusion":
        """Return the same fusion with another weight of the dense leg."""
        return replace(self, dense_weight=dense_weight)


@dataclass(frozen=True, slots=True)
class QueryFusion:
    """LlamaIndex's QueryFusionRetriever for one query and two retrievers.

    ``reciprocal_rerank`` sums unweighted reciprocal ranks, counted from 0, with constant 60.
    ``relative_score`` is the weighted min-max of each list, and ``dist_based_score`` the same
    between mean - 3 and mean + 3 population deviations. ``simple`` is the greater raw score. A leg
    that doesn't list a passage gives it 0.
    """

    mode: FusionMode = "reciprocal_rerank"
    dense_weight: float = 0.5
    dense_first: bool = True

    def __post_init__(self) -> None:
        check_number("dense_weight", self.dense_weight, 0, 1)
        check_choice("mode", self.mode, get_args(FusionMode))

    def fuse(self, dense: LegScores, lexical: LegScores) -> FusedScores:
        """Return each leg's values and weight, as ``mode`` defines them."""
        order = _list_positions(dense, lexical, dense_first=self.dense_first)
        weight = self.dense_weight
        if self.mode in ("relative_score", "dist_based_score"):
            return FusedScores(self._scale(dense), self._scale(lexical), weight, 1 - weight, order)
        if self.mode == "reciprocal_rerank":  # rank 1 counts as 0
            values = reciprocal_ranks(dense, 59), reciprocal_ranks(lexical, 59)
        else:
            of_dense, of_lexical = (
                np.where(leg.listed, leg.scores, -np.inf) for leg in (dense, lexical)
            )
            greater = of_dense >= of_lexical
            values = np.where(greater, of_dense, 0.0), np.where(greater, 0.0, of_lexical)
        return FusedScores(*values, 1, 1, order)

    def with_dense_weight(self, dense_weight: float) -> "QueryFusion":
        """Return the same fusion with another dense weight, or raise InputError if it has none."""
        if self.mode in ("reciprocal_rerank", "simple"):
            raise InputError(
                f"mode {self.mode!r} has no weights: use relative_score or dist_based_score, or "
                "another fusion"
            )
        return replace(self, dense_weight=dense_weight)

    def _scale(self, leg: LegScores) -> Scores:
        """Return a leg's scores scaled by the range of its list, 0 outside the list."""
        listed = leg.scores[leg.listed]
        scaled = np.zeros(len(leg.scores))
        if len(listed) == 0:
            return scaled
        low, high = float(listed.min()), float(listed.max())
        if self.mode == "dist_based_score":
            mean, deviation = _python_moments(listed.tolist())
            low, high = mean - 3 * deviation, mean + 3 * deviation
        if high == low:  # as in LlamaIndex, equal scores above 0 count fully
            scaled[leg.listed] = 1.0 if high > 0 else 0.0
        else:
            scaled[leg.listed] = (listed - low) / (high - low)
        return scaled


@dataclass(frozen=True, slots=True)
class Preset:
    """A fusion, and whether each leg retrieves only ``k`` candidates, as the other library does."""

    fusion: Fusion
    depth_is_k: bool = True


PRESETS: dict[str, Preset] = {
    "langchain": Preset(EnsembleFusion()),
    "llamaindex": Preset(QueryFusion()),
    "llamaindex-relative-score": Preset(QueryFusion("relative_score")),
    "llamaindex-dist-based-score": Preset(QueryFusion("dist_based_score")),
    "llamaindex-simple": Preset(QueryFusion("simple")),
}


def preset_from_name(name: str) -> Preset:
    """Return the preset called ``name``; raise InputError for an unknown name."""
    if not isinstance(name, str) or name not in PRESETS:
        hint = did_you_mean(name, PRESETS)
        raise InputError(f"unknown preset {name!r}: use one of {', '.join(PRESETS)}{hint}")
    return PRESETS[name]


def _python_moments(scores: Sequence[float]) -> tuple[float, float]:
    """Return mean and population deviation, summed in order as LlamaIndex does, unlike numpy."""
    mean = sum(scores) / len(scores)
    return mean, float((sum((score - mean) ** 2 for score in scores) / len(scores)) ** 0.5)


def _list_positions(
    dense: LegScores, lexical: LegScores, *, dense_first: bool
) -> NDArray[np.int64]:
    """Return each candidate's position when one list is appended to the other."""
    first, second = (dense, lexical) if dense_first else (lexical, dense)
    after = len(first.ranks) + second.ranks
    return np.where(first.listed, first.ranks, after)
