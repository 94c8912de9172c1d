"""Presets: what LangChain and LlamaIndex compute, so that moving over changes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from twofold.errors import InputError
from twofold.fusion.base import Fused, Fusion, LegScores
from twofold.types import Mask, Scores
from twofold.validation import check_number

FusionMode = Literal["reciprocal_rerank", "relative_score", "dist_based_score", "simple"]
"""The modes of LlamaIndex's QueryFusionRetriever."""


@dataclass(frozen=True, slots=True)
class EnsembleFusion:
    """LangChain's EnsembleRetriever: weight / (c + rank), ranks from 1, 0 where not listed.

    Equal scores stay in the order of the lists, those of the dense leg first where ``dense_first``.
    """

    dense_weight: float = 0.5
    c: float = 60.0
    dense_first: bool = False

    def __post_init__(self) -> None:
        check_number("dense_weight", self.dense_weight, 0, 1)
        check_number("c", self.c, 0)

    def fuse(self, dense: LegScores, lexical: LegScores) -> Fused:
        """Return reciprocal ranks; the weights are divided as there, so that ties are the same."""
        weight, c = self.dense_weight, self.c
        return Fused(
            _reciprocal(dense, c, 1),
            _reciprocal(lexical, c, 1),
            weight,
            1 - weight,
            _listing(dense, lexical, dense_first=self.dense_first),
            sums=_reciprocal(dense, c, 1, weight) + _reciprocal(lexical, c, 1, 1 - weight),
        )

    def reweighted(self, dense_weight: float) -> "EnsembleFusion":
        """Return the same rule with another share of the dense leg."""
        return replace(self, dense_weight=dense_weight)


@dataclass(frozen=True, slots=True)
class QueryFusion:
    """LlamaIndex's QueryFusionRetriever over one query and two retrievers.

    ``mode`` as there: reciprocal ranks counted from 0 with the constant 60 and no weights;
    min-max, or mean plus or minus three population deviations, of each list, times the weights; or,
    ``simple``, the greater raw score. A leg that doesn't list a passage gives 0.
    """

    mode: FusionMode = "reciprocal_rerank"
    dense_weight: float = 0.5
    dense_first: bool = True

    def __post_init__(self) -> None:
        check_number("dense_weight", self.dense_weight, 0, 1)
        if self.mode not in get_args(FusionMode):
            raise InputError(f"mode is {self.mode!r}: use one of {', '.join(get_args(FusionMode))}")

    def fuse(self, dense: LegScores, lexical: LegScores) -> Fused:
        """Return what each list gives."""
        order = _listing(dense, lexical, dense_first=self.dense_first)
        if self.mode == "reciprocal_rerank":
            return Fused(_reciprocal(dense, 60, 0), _reciprocal(lexical, 60, 0), 1, 1, order)
        if self.mode == "simple":
            own, other = _listed(dense, -np.inf), _listed(lexical, -np.inf)
            greater = own >= other
            return Fused(np.where(greater, own, 0.0), np.where(greater, 0.0, other), 1, 1, order)
        weight = self.dense_weight
        return Fused(self._scaled(dense), self._scaled(lexical), weight, 1 - weight, order)

    def reweighted(self, dense_weight: float) -> "QueryFusion":
        """Return the same rule with another share of the dense leg.

        Raises InputError for a mode without weights.
        """
        if self.mode in ("reciprocal_rerank", "simple"):
            raise InputError(
                f"mode {self.mode!r} has no weights: use relative_score or dist_based_score, or "
                "another fusion"
            )
        return replace(self, dense_weight=dense_weight)

    def _scaled(self, leg: LegScores) -> Scores:
        """Return a list's scores between 0 and 1 by its own range."""
        own = leg.scores[leg.listed]
        scaled = np.zeros(len(leg.scores))
        if len(own) == 0:
            return scaled
        low, high = float(own.min()), float(own.max())
        if self.mode == "dist_based_score":
            mean, deviation = _plain_moments(own.tolist())
            low, high = mean - 3 * deviation, mean + 3 * deviation
        if high == low:  # as there, a list of equal scores counts fully if they are above 0
            scaled[leg.listed] = 1.0 if high > 0 else 0.0
        else:
            scaled[leg.listed] = (own - low) / (high - low)
        return scaled


@dataclass(frozen=True, slots=True)
class Preset:
    """A fusion, and whether each leg brings just ``k`` candidates, as the library has it."""

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
    """Return a preset; raise InputError for an unknown name."""
    if name not in PRESETS:
        near = get_close_matches(str(name), PRESETS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(f"unknown preset {name!r}: use one of {', '.join(PRESETS)}{hint}")
    return PRESETS[name]


def _reciprocal(leg: LegScores, constant: float, first: int, weight: float = 1.0) -> Scores:
    """Return weight / (constant + rank), the best passage being rank ``first``; 0 if not listed."""
    values = np.zeros(len(leg.ranks))
    values[leg.listed] = weight / (constant + (leg.ranks[leg.listed] - 1 + first))
    return values


def _plain_moments(scores: Sequence[float]) -> tuple[float, float]:
    """Return mean and population deviation, summed as there: numpy's order rounds otherwise."""
    mean = sum(scores) / len(scores)
    return mean, float((sum((each - mean) ** 2 for each in scores) / len(scores)) ** 0.5)


def _listed(leg: LegScores, missing: float) -> Scores:
    listed: Mask = leg.listed
    scores: Scores = np.where(listed, leg.scores, missing)
    return scores


def _listing(dense: LegScores, lexical: LegScores, *, dense_first: bool) -> NDArray[np.int64]:
    """Return each candidate's place in one list after the other."""
    first, second = (dense, lexical) if dense_first else (lexical, dense)
    after = len(first.ranks) + second.ranks
    return np.where(first.listed, first.ranks, after)
