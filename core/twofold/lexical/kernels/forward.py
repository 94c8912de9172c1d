"""Compiled loops over the forward index, which has each document's terms. They check no bounds.

Import it on first use only: it imports numba. Scores are integers, as in ``top_k``. ``forward`` is
(fwd_ptr, fwd_term, fwd_code), ``table`` the weight per code, ``norms`` a factor per document or ().
"""

import numpy as np

from twofold._compilation import njit
from twofold.lexical.kernels.top_k import fixed, push, sort

_LINE = 16  # terms of a document in one cache line


@njit()
def find(fwd_term, low, high, term):
    """Return the position of ``term`` in the ascending fwd_term[low:high], or -1.

    Also finds rows in a segment's rows.
    """
    end = high
    while low < high:
        middle = (low + high) >> 1
        if np.int64(fwd_term[middle]) < term:
            low = middle + 1
        else:
            high = middle
    if low < end and np.int64(fwd_term[low]) == term:
        return low
    return np.int64(-1)


@njit()
def _score_of(doc, terms, weights, scale, forward, table, norms):
    """Return the score of a document, and whether it has any of the terms."""
    fwd_ptr, fwd_term, fwd_code = forward
    norm = norms[doc] if len(norms) > 0 else 1.0
    score = np.int64(0)
    found = False
    for j in range(len(terms)):
        p = find(fwd_term, fwd_ptr[doc], fwd_ptr[doc + 1], terms[j])
        if p >= 0:
            score += fixed(weights[j], table[fwd_code[p]] * norm, scale)
            found = True
    return score, found


@njit()
def top_of(docs, terms, weights, scale, forward, table, norms, order, k):
    """Return the scores and numbers of the best k of ``docs`` that have a term, best first."""
    best_scores = np.empty(k, np.int64)
    best_docs = np.empty(k, np.int64)
    size = 0
    for i in range(len(docs)):
        doc = docs[i]
        score, found = _score_of(doc, terms, weights, scale, forward, table, norms)
        if found:
            size = push(best_scores, best_docs, order, size, k, score, doc)
    sort(best_scores, best_docs, order, size)
    return best_scores[:size], best_docs[:size]


@njit()
def doc_scores(
    rows, segment_rows, live, terms, weights, scale, shift, forward, table, norms, scores
):
    """Write score + shift of each row's document, if it has one of the terms, to ``scores``.

    ``live`` flags the segment's documents, or is empty for all. Terms are local numbers, -1 if the
    segment lacks them. The return value keeps the compiler from removing the prefetch loop.
    """
    fwd_ptr, fwd_term, _ = forward
    docs = np.empty(len(rows), np.int64)
    # Binary searches wait for memory one after the other; independent reads overlap.
    touched = np.uint32(0)
    for i in range(len(rows)):
        doc = find(segment_rows, np.int64(0), np.int64(len(segment_rows)), rows[i])
        if doc >= 0 and len(live) > 0 and not live[doc]:
            doc = np.int64(-1)
        docs[i] = doc
        if doc >= 0:
            for p in range(fwd_ptr[doc], fwd_ptr[doc + 1], _LINE):
                touched |= fwd_term[p]
    for i in range(len(docs)):
        doc = docs[i]
        if doc < 0:
            continue
        score, found = _score_of(doc, terms, weights, scale, forward, table, norms)
        if found:
            scores[i] = score / scale + shift
    return touched


@njit()
def term_scores(docs, terms, weights, scale, forward, table, norms):
    """Return what each term adds to each document, int64 (docs, terms), and its code or -1.

    docs and terms are local numbers; a term is -1 where the segment lacks it.
    """
    fwd_ptr, fwd_term, fwd_code = forward
    out = np.zeros((len(docs), len(terms)), np.int64)
    codes = np.full((len(docs), len(terms)), -1, np.int64)
    for i in range(len(docs)):
        norm = norms[docs[i]] if len(norms) > 0 else 1.0
        for j in range(len(terms)):
            p = find(fwd_term, fwd_ptr[docs[i]], fwd_ptr[docs[i] + 1], terms[j])
            if p >= 0:
                out[i, j] = fixed(weights[j], table[fwd_code[p]] * norm, scale)
                codes[i, j] = fwd_code[p]
    return out, codes


@njit()
def vector_lengths(forward, table, idf):
    """Return the Euclidean length of each document's vector of weight * idf."""
    fwd_ptr, fwd_term, fwd_code = forward
    out = np.zeros(len(fwd_ptr) - 1, np.float64)
    for doc in range(len(out)):
        total = 0.0
        for p in range(fwd_ptr[doc], fwd_ptr[doc + 1]):
            value = table[fwd_code[p]] * idf[np.int64(fwd_term[p])]
            total += value * value
        out[doc] = np.sqrt(total)
    return out
