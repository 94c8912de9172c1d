"""Mean and deviation of a query's lexical scores over all passages, from its terms' postings."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from twofold.lexical.questions import Questions
from twofold.types import Moments, Scores

_ROUNDING = 1e-13
"""Part of the mean square below which there is no variance."""


def moments_of(questions: Questions, norms: Sequence[Scores]) -> Moments:
    """Return the moments of the first query's scores over all live passages.

    With S1 and S2 the sums of a term's parts and of their squares, the mean is sum w S1 / N and the
    variance sum w^2 (S2 / N - (S1 / N)^2), as if terms occurred independently. ``norms`` has, for
    each segment, what each document's parts are multiplied by, or nothing.
    """
    own = questions.of(0)
    weights = questions.weights[own]
    first, second = np.zeros(len(weights)), np.zeros(len(weights))
    live = sharing = 0
    shift = questions.shift(0)
    for at, each in enumerate(questions.collection.segments):
        live += len(each) if each.live is None else int(np.count_nonzero(each.live))
        segment = each.segment
        table = each.table(questions.scorer, questions.average)
        found: list[NDArray[np.uint32]] = [np.empty(0, np.uint32)]
        for place, term in enumerate(questions.local[at][own].tolist()):
            if term < 0:
                continue
            run = slice(int(segment.post_ptr[term]), int(segment.post_ptr[term + 1]))
            docs, codes = segment.post_doc[run], segment.post_code[run]
            if each.live is not None:
                alive = each.live[docs]
                docs, codes = docs[alive], codes[alive]
            parts = table[codes] * norms[at][docs] if len(norms[at]) else table[codes]
            first[place] += parts.sum()
            second[place] += parts @ parts
            found.append(docs)
        if shift:
            sharing += len(np.unique(np.concatenate(found)))
    if not live:
        return Moments(0.0, 0.0)
    means = weights * first / live
    mean = float(means.sum())
    squares = weights * weights * second / live
    variance = float((squares - means * means).sum())
    if variance <= _ROUNDING * float(squares.sum()):
        variance = 0.0
    # Some scoring functions give the same to every passage that shares a term, and 0 to others.
    share = sharing / live
    variance += shift * (1 - share) * (shift * share + 2 * mean)
    return Moments(mean + shift * share, math.sqrt(max(variance, 0.0)), exact=False)
