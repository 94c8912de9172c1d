"""Scores on a scale from 0 to 1, in the order that they have."""

from collections.abc import Callable

from twofold import Metric, ReciprocalRank, Retriever, WeightedSum
from twofold.fusion import Fusion, GuardedFusion, MinMax, Rank, TheoreticalMinMax


def relevance_of(retriever: Retriever) -> Callable[[float], float]:
    """Return what maps a retriever's scores into [0, 1]; it never turns an order.

    Cosine c becomes (1 + c) / 2, a Euclidean distance d 1 / (1 + d), a lexical score s s / (1 + s).
    Scores of fusions that lie in [0, 1], the default among them, stay what they are. What has no
    bounds, as dot products, becomes (1 + s / (1 + abs(s))) / 2.
    """
    with retriever.index.view() as view:
        metric, fusion = view.metric, retriever.rules(view).fusion
    if retriever.reranker is not None:
        return _bounded
    if retriever.mode == "lexical":
        return lambda score: max(score, 0.0) / (1 + max(score, 0.0))
    if retriever.mode == "dense" and metric is Metric.COSINE:
        return lambda score: (1 + score) / 2
    if retriever.mode == "dense" and metric is Metric.EUCLIDEAN:
        return lambda score: 1 / (1 - score)
    if retriever.mode == "hybrid" and _within_one(fusion):
        return lambda score: min(max(score, 0.0), 1.0)
    return _bounded


def _bounded(score: float) -> float:
    return (1 + score / (1 + abs(score))) / 2


def _within_one(fusion: Fusion) -> bool:
    """Whether a fusion gives scores from 0 to 1."""
    fusion = fusion.fusion if isinstance(fusion, GuardedFusion) else fusion
    if isinstance(fusion, WeightedSum):
        return isinstance(fusion.normalizer, TheoreticalMinMax | MinMax | Rank)
    return isinstance(fusion, ReciprocalRank)
