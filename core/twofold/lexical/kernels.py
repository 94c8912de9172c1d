"""Compiled loops over postings. They check no bounds: their arrays were checked when loaded.

Importing this module imports numba (half a second), so it is imported when first needed.
Scores are fixed-point integers in units of 2**-40, so that their sum does not depend on order.
"""

import numpy as np
from numba import njit

SCALE = float(1 << 40)
WINDOW = 8192


@njit(cache=True, nogil=True)
def _before(score, place, other_score, other_place):
    """Whether a document ranks above another: higher score, then earlier id."""
    return score > other_score or (score == other_score and place < other_place)


@njit(cache=True, nogil=True)
def _sift_down(scores, docs, order, size):
    """Restore a heap whose root is its worst document after the root was replaced."""
    at = 0
    while True:
        worst = at
        for child in (2 * at + 1, 2 * at + 2):
            if child < size and _before(
                scores[worst], order[docs[worst]], scores[child], order[docs[child]]
            ):
                worst = child
        if worst == at:
            return
        scores[at], scores[worst] = scores[worst], scores[at]
        docs[at], docs[worst] = docs[worst], docs[at]
        at = worst


@njit(cache=True, nogil=True)
def _sift_up(scores, docs, order, at):
    """Restore the heap after a document was put at its end."""
    while at > 0:
        above = (at - 1) // 2
        if not _before(scores[above], order[docs[above]], scores[at], order[docs[at]]):
            return
        scores[at], scores[above] = scores[above], scores[at]
        docs[at], docs[above] = docs[above], docs[at]
        at = above


@njit(cache=True, nogil=True)
def top(starts, ends, weights, post_doc, post_code, table, order, allowed, k, floor):
    """Return the best k documents of one segment as (fixed-point scores, docs), unsorted.

    starts, ends: each query term's range in post_doc and post_code; weights: its idf times its
    count in the query; table: the term-frequency part of each code; order: each document's place
    among the ids; allowed: one flag a document, or empty for all; floor: the least score that
    matters. Scores are gathered in windows of documents that fit the cache, so no work is done
    where no term occurs.
    """
    terms = len(starts)
    at = starts.copy()
    sums = np.zeros(WINDOW, np.int64)
    seen = np.zeros(WINDOW, np.bool_)
    touched = np.empty(WINDOW, np.int64)
    best_scores = np.empty(k, np.int64)
    best_docs = np.empty(k, np.int64)
    size = 0
    while True:
        first = np.int64(-1)
        for t in range(terms):
            if at[t] < ends[t] and (first < 0 or np.int64(post_doc[at[t]]) < first):
                first = np.int64(post_doc[at[t]])
        if first < 0:
            break
        base = first
        limit = base + WINDOW
        count = 0
        for t in range(terms):
            weight = weights[t]
            p = at[t]
            while p < ends[t] and np.int64(post_doc[p]) < limit:
                slot = np.int64(post_doc[p]) - base
                if not seen[slot]:
                    seen[slot] = True
                    touched[count] = slot
                    count += 1
                sums[slot] += np.int64(weight * table[post_code[p]] * SCALE + 0.5)
                p += 1
            at[t] = p
        for i in range(count):
            slot = touched[i]
            score = sums[slot]
            sums[slot] = 0
            seen[slot] = False
            doc = base + slot
            if score < floor or (size == k and score < best_scores[0]):
                continue
            if len(allowed) > 0 and not allowed[doc]:
                continue
            if size < k:
                best_scores[size] = score
                best_docs[size] = doc
                size += 1
                _sift_up(best_scores, best_docs, order, size - 1)
            elif _before(score, order[doc], best_scores[0], order[best_docs[0]]):
                best_scores[0] = score
                best_docs[0] = doc
                _sift_down(best_scores, best_docs, order, size)
    return best_scores[:size], best_docs[:size]


@njit(cache=True, nogil=True)
def term_scores(docs, terms, weights, fwd_ptr, fwd_term, fwd_code, table):
    """Return what each term adds to each document, fixed-point int64 (docs, terms).

    docs and terms are local numbers, a term -1 where the segment lacks it.
    """
    out = np.zeros((len(docs), len(terms)), np.int64)
    for i in range(len(docs)):
        for j in range(len(terms)):
            p = find(fwd_term, fwd_ptr[docs[i]], fwd_ptr[docs[i] + 1], terms[j])
            if p >= 0:
                out[i, j] = np.int64(weights[j] * table[fwd_code[p]] * SCALE + 0.5)
    return out


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
def invert(fwd_ptr, fwd_term, terms):
    """Turn the forward index (document to terms) into postings (term to documents).

    Returns post_ptr (terms + 1), post_doc (postings) ascending within a term, and for each
    posting its place in the forward index. One counting sort.
    """
    post_ptr = np.zeros(terms + 1, np.int64)
    for p in range(len(fwd_term)):
        post_ptr[np.int64(fwd_term[p]) + 1] += 1
    for t in range(terms):
        post_ptr[t + 1] += post_ptr[t]
    free = post_ptr[:-1].copy()
    post_doc = np.empty(len(fwd_term), np.uint32)
    source = np.empty(len(fwd_term), np.int64)
    for doc in range(len(fwd_ptr) - 1):
        for p in range(fwd_ptr[doc], fwd_ptr[doc + 1]):
            slot = free[np.int64(fwd_term[p])]
            free[np.int64(fwd_term[p])] = slot + 1
            post_doc[slot] = doc
            source[slot] = p
    return post_ptr, post_doc, source
