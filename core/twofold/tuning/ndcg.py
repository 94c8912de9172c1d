"""nDCG of many queries at once, from the fused scores of all their candidates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twofold.types import Rows, Scores


@dataclass(frozen=True, slots=True)
class Relevant:
    """The relevant candidates of all queries, one after the other, and what is found at best.

    ``queries`` and ``places`` (r,) say where each stands in arrays (queries, candidates),
    ``grades`` (r,) are above 0, and ``ideal`` (queries,) is the discounted gain of the best order
    of all passages judged relevant, candidates or not.
    """

    queries: NDArray[np.int64]
    places: NDArray[np.int64]
    grades: Scores
    ideal: Scores

    @classmethod
    def among(cls, rows: Rows, judged: Sequence[Mapping[int, int]], k: int) -> "Relevant":
        """Find them among rows (queries, candidates) by the grades above 0 of each query."""
        found: list[tuple[int, int, int]] = []
        for query, grades in enumerate(judged):
            places = np.flatnonzero(np.isin(rows[query], [each for each in grades if each >= 0]))
            found += [(query, place, grades[int(rows[query, place])]) for place in places.tolist()]
        columns = np.array(found, np.int64).reshape(-1, 3)
        ideal = np.array([_ideal_gain(list(grades.values()), k) for grades in judged])
        return cls(columns[:, 0], columns[:, 1], columns[:, 2].astype(np.float64), ideal)


def ndcg(scores: Scores, relevant: Relevant, k: int) -> Scores:
    """Return nDCG@k (queries,) of scores (queries, candidates), equal ones in their order.

    Gains are grades, discounted by log2(rank + 1), as trec_eval has it: Jarvelin and Kekalainen,
    Cumulated Gain-Based Evaluation of IR Techniques (TOIS 20, 2002). Only the ranks of relevant
    candidates are found, which is quicker than sorting. 0 for a query without anything relevant.
    """
    rows = scores[relevant.queries]
    own = rows[np.arange(len(rows)), relevant.places][:, None]
    before = np.arange(scores.shape[1]) < relevant.places[:, None]
    ranks = 1 + (rows > own).sum(axis=1) + ((rows == own) & before).sum(axis=1)
    gains = np.where(ranks <= k, relevant.grades / np.log2(ranks + 1), 0.0)
    totals = np.bincount(relevant.queries, gains, minlength=len(scores))
    return np.divide(totals, relevant.ideal, out=np.zeros(len(scores)), where=relevant.ideal > 0)


def _ideal_gain(grades: Sequence[int], k: int) -> float:
    """Return the discounted cumulative gain of the best order of grades, cut at ``k``."""
    best = np.sort(np.array(grades, np.float64))[::-1][:k]
    return float((best / np.log2(np.arange(2, len(best) + 2))).sum())
