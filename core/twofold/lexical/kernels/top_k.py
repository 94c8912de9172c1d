"""Compiled loops over postings. They check no bounds: their arrays were checked when loaded.

Importing this module imports numba (half a second), so it is imported when first needed. Scores
are integers, in units of 1 / scale, so that their sum does not depend on order.
"""

import numpy as np
from numba import njit

_SHIFT = 13
WINDOW = 1 << _SHIFT
"""Documents whose scores are gathered at a time; their sums stay in the fastest caches."""
_WIDE = np.uint64(WINDOW)
_ONE = np.uint64(1)
_STREAMED = 32  # postings read one after the other in the time of searching a list for one document
_UNSEEN = -(np.int64(1) << np.int64(62))
_ENDLESS = np.int64(1) << np.int64(61)
# Places and slots are unsigned, since numba checks signed indices for being negative.


@njit(cache=True, nogil=True, inline="always")
def fixed(weight, part, scale):
    """Return a contribution as an integer; monotone in both factors."""
    return np.int64(weight * part * scale + 0.5)


@njit(cache=True, nogil=True)
def _before(score, place, other_score, other_place):
    """Whether a document ranks above another: higher score, then earlier id."""
    return score > other_score or (score == other_score and place < other_place)


@njit(cache=True, nogil=True)
def _sink(scores, docs, order, size, score, doc):
    """Put a document in place of a heap's root, and down to where it belongs."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and _before(
            scores[child], order[docs[child]], scores[child + 1], order[docs[child + 1]]
        ):
            child += 1
        if not _before(score, order[doc], scores[child], order[docs[child]]):
            break
        scores[at] = scores[child]
        docs[at] = docs[child]
        at = child
    scores[at] = score
    docs[at] = doc


@njit(cache=True, nogil=True)
def push(scores, docs, order, size, k, score, doc):
    """Offer a document to a heap whose root is its worst; return the heap's size."""
    if size < k:
        at = size
        scores[at] = score
        docs[at] = doc
        while at > 0:
            above = (at - 1) >> 1
            if not _before(scores[above], order[docs[above]], score, order[doc]):
                break
            scores[at] = scores[above]
            docs[at] = docs[above]
            at = above
        scores[at] = score
        docs[at] = doc
        return size + 1
    if not _before(score, order[doc], scores[0], order[docs[0]]):
        return size
    _sink(scores, docs, order, k, score, doc)
    return size


@njit(cache=True, nogil=True)
def sort(scores, docs, order, size):
    """Put a heap of documents into order, the best first."""
    for last in range(size - 1, 0, -1):
        score = scores[last]
        doc = docs[last]
        scores[last] = scores[0]
        docs[last] = docs[0]
        _sink(scores, docs, order, last, score, doc)


@njit(cache=True, nogil=True)
def _seek(post_doc, low, high, doc):
    """Return the first place in post_doc[low:high] that is not before ``doc``, by galloping."""
    if low >= high or np.int64(post_doc[low]) >= doc:
        return low
    step = _ONE
    while low + step < high and np.int64(post_doc[low + step]) < doc:
        low += step
        step += step
    high = min(high, low + step)
    low += _ONE
    while low < high:
        middle = (low + high) >> _ONE
        if np.int64(post_doc[middle]) < doc:
            low = middle + _ONE
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def lookup(high, low, wanted_high, wanted_low, post_ptr, lost, terms, frequencies):
    """Find hashed terms in a vocabulary ascending by (high, low).

    lost: by how much deleted documents lower each term's frequency, or nothing at all.

    Writes each term's number (-1 if it isn't here) to ``terms``, and adds its live document
    frequency to ``frequencies``.
    """
    for i in range(len(wanted_high)):
        first = 0
        last = len(high)
        while first < last:
            middle = (first + last) >> 1
            if high[middle] < wanted_high[i] or (
                high[middle] == wanted_high[i] and low[middle] < wanted_low[i]
            ):
                first = middle + 1
            else:
                last = middle
        terms[i] = -1
        if first < len(high) and high[first] == wanted_high[i] and low[first] == wanted_low[i]:
            terms[i] = first
            frequencies[i] += post_ptr[first + 1] - post_ptr[first]
            if len(lost) > 0:
                frequencies[i] -= lost[first]


@njit(cache=True, nogil=True)
def _highest_part(term, post_ptr, post_code, long_terms, bound_ptr, bound_code, table):
    """Return the greatest part that a posting of the term has: from its frontier if it has one."""
    start = post_ptr[term]
    end = post_ptr[term + 1]
    place = np.searchsorted(long_terms, term)
    best = 0.0
    if place < len(long_terms) and long_terms[place] == term:
        for p in range(bound_ptr[place], bound_ptr[place + 1]):
            best = max(best, table[bound_code[p]])
    else:
        for p in range(start, end):
            best = max(best, table[post_code[p]])
    return best


@njit(cache=True, nogil=True)
def top(
    query_ptr,
    query_term,
    query_weight,
    scales,
    post_ptr,
    post_doc,
    post_code,
    long_terms,
    bound_ptr,
    bound_code,
    table,
    order,
    allowed,
    floors,
    wanted,
    all_scores,
    all_docs,
    sizes,
):
    """Find the best documents of one segment for many queries, exactly.

    query_ptr (queries + 1): each query's range in query_term (local numbers, -1 for terms that
    aren't here) and query_weight. scales: what a query's scores are multiplied by. table: the
    part of each code. order: each document's place among the ids. allowed: one flag a document,
    or none at all. floors: the score that a query's documents must reach, raised where as many
    as are wanted reach more.

    Writes scores and docs (queries, k), best first, and how many each query has to sizes.

    Windowed MaxScore: Turtle and Flood, Query Evaluation: Strategies and Optimizations (1995), in
    windows of documents as Lucene's bulk scorer. Terms stand in order of their bounds; the first
    ones, whose bounds together don't reach the k-th best score so far, bring no documents: they
    are added, one after the other, to those that others bring and that are still within reach. A
    document that could tie is scored, for its id decides. Where a weight is negative, nothing
    bounds, and all are scored.
    """
    queries = len(query_ptr) - 1
    k = all_scores.shape[1]
    width = min(WINDOW, len(order))
    sums = np.full(width, _UNSEEN, np.int64)
    # One more than fits: a slot is written before it is known whether it counts.
    seen = np.empty(width + 1, np.uint64)
    near = np.empty(width + 1, np.uint64)
    most = 0
    for q in range(queries):
        most = max(most, query_ptr[q + 1] - query_ptr[q])
    term = np.empty(most, np.int64)
    weight = np.empty(most, np.float64)
    bound = np.empty(most, np.int64)
    share = np.empty(most, np.int64)  # postings that a window has on average
    reach = np.zeros(most + 1, np.int64)
    at = np.empty(most, np.uint64)
    end = np.empty(most, np.uint64)
    for q in range(queries):
        terms = 0
        bounded = True
        scale = scales[q]
        for p in range(query_ptr[q], query_ptr[q + 1]):
            if query_term[p] < 0:
                continue
            bounded = bounded and query_weight[p] >= 0.0
            part = _highest_part(
                query_term[p], post_ptr, post_code, long_terms, bound_ptr, bound_code, table
            )
            here = fixed(query_weight[p], part, scale)
            place = terms
            while place > 0 and bound[place - 1] > here:
                term[place] = term[place - 1]
                weight[place] = weight[place - 1]
                bound[place] = bound[place - 1]
                place -= 1
            term[place] = query_term[p]
            weight[place] = query_weight[p]
            bound[place] = here
            terms += 1
        for t in range(terms):
            at[t] = post_ptr[term[t]]
            end[t] = post_ptr[term[t] + 1]
            share[t] = (post_ptr[term[t] + 1] - post_ptr[term[t]]) * WINDOW // len(order)
            reach[t + 1] = reach[t] + bound[t] if bounded else _ENDLESS
        scores = all_scores[q]
        docs = all_docs[q]
        size = 0
        floor = floors[q]
        first = 0  # terms before it bring no documents
        while True:
            while first < terms and reach[first + 1] < floor:
                first += 1
            base = np.int64(_ENDLESS)
            for t in range(first, terms):
                if at[t] < end[t]:
                    base = min(base, np.int64(post_doc[at[t]]))
            if base == _ENDLESS:
                break
            base = (base >> _SHIFT) << _SHIFT
            start = np.uint64(base)
            many = 0
            for t in range(first, terms):
                heavy = weight[t]
                stop = end[t]
                p = at[t]
                while p < stop:
                    slot = np.uint64(post_doc[p]) - start
                    if slot >= _WIDE:
                        break
                    part = fixed(heavy, table[post_code[p]], scale)
                    before = sums[slot]
                    fresh = before == _UNSEEN
                    seen[many] = slot
                    many += fresh
                    sums[slot] = part if fresh else before + part
                    p += _ONE
                at[t] = p
            need = floor - reach[first]
            few = 0
            for i in range(many):
                near[few] = seen[i]
                few += sums[seen[i]] >= need
            if len(allowed) > 0:
                kept = 0
                for i in range(few):
                    near[kept] = near[i]
                    kept += allowed[start + near[i]]
                few = kept
            for t in range(first - 1, -1, -1):
                if few == 0:
                    break
                heavy = weight[t]
                stop = end[t]
                p = _seek(post_doc, at[t], stop, base)
                if share[t] < few * _STREAMED:
                    while p < stop:
                        slot = np.uint64(post_doc[p]) - start
                        if slot >= _WIDE:
                            break
                        before = sums[slot]
                        part = fixed(heavy, table[post_code[p]], scale)
                        sums[slot] = before if before == _UNSEEN else before + part
                        p += _ONE
                    at[t] = p
                else:
                    stop = _seek(post_doc, p, stop, base + WINDOW)
                    at[t] = stop
                    for i in range(few):
                        doc = start + near[i]
                        low = p
                        high = stop
                        while low < high:
                            middle = (low + high) >> _ONE
                            if np.uint64(post_doc[middle]) < doc:
                                low = middle + _ONE
                            else:
                                high = middle
                        if low < stop and np.uint64(post_doc[low]) == doc:
                            sums[near[i]] += fixed(heavy, table[post_code[low]], scale)
                need = floor - reach[t]
                kept = 0
                for i in range(few):
                    slot = near[i]
                    near[kept] = slot
                    kept += sums[slot] >= need
                few = kept
            for i in range(few):
                score = sums[near[i]]
                if score >= floor:
                    doc = np.int64(start + near[i])
                    size = push(scores, docs, order, size, k, score, doc)
                    if size == wanted:
                        floor = max(floor, scores[0])
            for i in range(many):
                sums[seen[i]] = _UNSEEN
        sort(scores, docs, order, size)
        floors[q] = floor
        sizes[q] = size


@njit(cache=True, nogil=True)
def merge(scores, docs, sizes, k):
    """Merge what several segments found: scores and docs (segments, queries, k), best first.

    Returns, for each query, scores, segments and docs of the best, how many they are, and
    whether documents of different segments tie among them. Those that tie with the k-th follow
    it, as far as their segment listed them.
    """
    segments, queries, width = scores.shape
    room = segments * width
    out_scores = np.empty((queries, room), np.int64)
    out_segments = np.empty((queries, room), np.int64)
    out_docs = np.empty((queries, room), np.int64)
    counts = np.zeros(queries, np.int64)
    unclear = np.zeros(queries, np.bool_)
    at = np.empty(segments, np.int64)
    for q in range(queries):
        at[:] = 0
        count = 0
        while count < room:
            best = -1
            for s in range(segments):
                if at[s] < sizes[s, q] and (
                    best < 0 or scores[s, q, at[s]] > scores[best, q, at[best]]
                ):
                    best = s
            if best < 0:
                break
            score = scores[best, q, at[best]]
            if count >= k and score < out_scores[q, count - 1]:
                break
            if count > 0 and score == out_scores[q, count - 1]:
                unclear[q] = unclear[q] or best != out_segments[q, count - 1]
            out_scores[q, count] = score
            out_segments[q, count] = best
            out_docs[q, count] = docs[best, q, at[best]]
            at[best] += 1
            count += 1
        counts[q] = count
    return out_scores, out_segments, out_docs, counts, unclear
