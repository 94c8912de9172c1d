"""Compiled loops over documents' own terms, the forward index. They check no bounds.

Importing this module imports numba, so it is imported when first needed. Scores are integers, as in
``kernels``.
"""

import numpy as np
from numba import njit

from twofold.lexical.kernels.top_k import fixed, push, sort

_LINE = 16  # terms of a document in one line of a cache


@njit(cache=True, nogil=True)
def find(fwd_term, low, high, term):
    """Return the place of ``term`` in the ascending fwd_term[low:high], or -1."""
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


@njit(cache=True, nogil=True)
def _score_of(doc, terms, weights, scale, fwd_ptr, fwd_term, fwd_code, table, norms):
    """Return a document's score by its own terms, and whether it has one of them."""
    norm = norms[doc] if len(norms) > 0 else 1.0
    score = np.int64(0)
    found = False
    for j in range(len(terms)):
        p = find(fwd_term, fwd_ptr[doc], fwd_ptr[doc + 1], terms[j])
        if p >= 0:
            score += fixed(weights[j], table[fwd_code[p]] * norm, scale)
            found = True
    return score, found


@njit(cache=True, nogil=True)
def top_of(docs, terms, weights, scale, fwd_ptr, fwd_term, fwd_code, table, norms, order, k):
    """Return the best k of these documents that have a term, by their own terms.

    norms: a factor for each document, or none at all. Returns (scores, docs), best first.
    """
    best_scores = np.empty(k, np.int64)
    best_docs = np.empty(k, np.int64)
    size = 0
    for i in range(len(docs)):
        doc = docs[i]
        score, found = _score_of(
            doc, terms, weights, scale, fwd_ptr, fwd_term, fwd_code, table, norms
        )
        if found:
            size = push(best_scores, best_docs, order, size, k, score, doc)
    sort(best_scores, best_docs, order, size)
    return best_scores[:size], best_docs[:size]


@njit(cache=True, nogil=True)
def doc_scores(
    docs, terms, weights, scale, shift, fwd_ptr, fwd_term, fwd_code, table, norms, scores
):
    """Write the score of each document that has one of the terms to ``scores``.

    docs and terms are local numbers, -1 for what the segment lacks; norms as in top_of. shift is
    added to each. What is returned says nothing.
    """
    # Searches wait for memory one after the other; reads on which nothing depends don't wait.
    touched = np.uint32(0)
    for i in range(len(docs)):
        if docs[i] >= 0:
            for p in range(fwd_ptr[docs[i]], fwd_ptr[docs[i] + 1], _LINE):
                touched |= fwd_term[p]
    for i in range(len(docs)):
        doc = docs[i]
        if doc < 0:
            continue
        score, found = _score_of(
            doc, terms, weights, scale, fwd_ptr, fwd_term, fwd_code, table, norms
        )
        if found:
            scores[i] = score / scale + shift
    return touched


@njit(cache=True, nogil=True)
def term_scores(docs, terms, weights, scale, fwd_ptr, fwd_term, fwd_code, table, norms):
    """Return what each term adds to each document, int64 (docs, terms), and its code or -1.

    docs and terms are local numbers, a term -1 where the segment lacks it.
    """
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


@njit(cache=True, nogil=True)
def vector_lengths(fwd_ptr, fwd_term, fwd_code, table, idf):
    """Return the Euclidean length of each document's vector of part * idf."""
    out = np.zeros(len(fwd_ptr) - 1, np.float64)
    for doc in range(len(out)):
        total = 0.0
        for p in range(fwd_ptr[doc], fwd_ptr[doc + 1]):
            each = table[fwd_code[p]] * idf[np.int64(fwd_term[p])]
            total += each * each
        out[doc] = np.sqrt(total)
    return out
