"""The signals of one search from which a calibration tells how likely its answer is right."""

import numpy as np

from twofold.backend import Keys
from twofold.calibration import SIGNAL_DEPTH
from twofold.retriever.candidates import LegResults
from twofold.types import LegHits, Scores


def measure_signals(lists: LegResults, selected: Keys) -> Scores:
    """Return the `SIGNALS` (n,) of one search.

    Args:
        lists: The hits of each leg.
        selected: The keys of the fused hits, best first.
    """
    dense = lists.get("dense", LegHits.empty())
    lexical = lists.get("lexical", LegHits.empty())
    first = int(selected[0]) if len(selected) else -1
    best, second = dense.keys[:SIGNAL_DEPTH], lexical.keys[:SIGNAL_DEPTH]
    return np.array(
        [
            *_describe_scores(dense.scores, relative=False),
            *_describe_scores(lexical.scores, relative=True),
            len(np.intersect1d(best, second)) / SIGNAL_DEPTH,
            _inverse_rank(dense, first),
            _inverse_rank(lexical, first),
        ]
    )


def _describe_scores(scores: Scores, *, relative: bool) -> tuple[float, float, float]:
    """Return the best score, its margin over the second, and its lift over the mean of 10."""
    if not len(scores):
        return 0.0, 0.0, 0.0
    top = float(scores[0])
    margin = top - float(scores[1]) if len(scores) > 1 else abs(top)
    lift = top - float(scores[:SIGNAL_DEPTH].mean())
    if not relative:
        return top, margin, lift
    size = max(abs(top), 1e-9)
    return float(np.log1p(max(top, 0.0))), margin / size, lift / size


def _inverse_rank(hits: LegHits, key: int) -> float:
    found = np.flatnonzero(hits.keys[:SIGNAL_DEPTH] == key)
    return 1.0 / (int(found[0]) + 1) if len(found) else 0.0
