"""Compiled loops over postings. They check no bounds: arrays are checked when they are loaded.

Import this module on first use only, because importing numba takes half a second. Scores are
integers in units of 1 / scale, so that their sum doesn't depend on the order of addition.
"""

import numpy as np

from twofold._compilation import njit

_SHIFT = 13
WINDOW = 1 << _SHIFT
"""Documents whose scores are summed at a time, so that the sums stay in the fastest caches."""
_WIDE = np.uint64(WINDOW)
_ONE = np.uint64(1)
_STREAMED = 32  # postings read in sequence in the time of one binary search
_UNSEEN = -(np.int64(1) << np.int64(62))
_ENDLESS = np.int64(1) << np.int64(61)
# Positions and slots are unsigned, because numba checks signed indices for negative values.


@njit(inline="always")
def fixed(weight, part, scale):
    """Return weight * part * scale, rounded to an integer; monotonic in weight and part."""
    return np.int64(weight * part * scale + 0.5)


@njit()
def _before(score, rank, other_score, other_rank):
    """Return whether a document ranks above another: by score, then by id."""
    return score > other_score or (score == other_score and rank < other_rank)


@njit()
def _sink(scores, docs, order, size, score, doc):
    """Replace a heap's root by a document and restore the heap."""
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


@njit()
def push(scores, docs, order, size, k, score, doc):
    """Push onto a heap of at most k, and return its size; ``order`` breaks ties.

    The lowest score is at the root.
    """
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


@njit()
def sort(scores, docs, order, size):
    """Sort a heap of documents, best first."""
    for last in range(size - 1, 0, -1):
        score = scores[last]
        doc = docs[last]
        scores[last] = scores[0]
        docs[last] = docs[0]
        _sink(scores, docs, order, last, score, doc)


@njit()
def _seek(post_doc, low, high, doc):
    """Return the first position in post_doc[low:high] that is not before ``doc``, by galloping."""
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


@njit()
def lookup(high, low, query_high, query_low, post_ptr, deleted, terms, frequencies):
    """Find hashed terms in a vocabulary ascending by (high, low).

    Writes each term's number, or -1, to ``terms`` and adds its live document frequency to
    ``frequencies``. ``deleted``: frequencies among deleted documents, or empty.
    """
    for i in range(len(query_high)):
        first = 0
        last = len(high)
        while first < last:
            middle = (first + last) >> 1
            if high[middle] < query_high[i] or (
                high[middle] == query_high[i] and low[middle] < query_low[i]
            ):
                first = middle + 1
            else:
                last = middle
        terms[i] = -1
        if first < len(high) and high[first] == query_high[i] and low[first] == query_low[i]:
            terms[i] = first
            frequencies[i] += post_ptr[first + 1] - post_ptr[first]
            if len(deleted) > 0:
                frequencies[i] -= deleted[first]


@njit()
def _max_weight(term, postings, bounds, table):
    """Return the greatest weight of a term's postings, from its frontier if it has one."""
    post_ptr, _, post_code = postings
    long_terms, bound_ptr, bound_code = bounds
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


@njit()
def top(queries, postings, bounds, table, order, allowed, floors, wanted, found):
    """Find the best documents of one segment for many queries, exactly.

    Windowed MaxScore: Turtle and Flood, Query Evaluation: Strategies and Optimizations (1995), in
    windows of documents as in Lucene's bulk scorer. Terms are sorted by their bounds. The first
    terms, whose bounds together stay below the k-th best score so far, add no candidates. They are
    scored, one by one, for candidates that can still reach that score. Documents that could tie are
    scored, because ids decide. Negative weights have no bounds, so all are scored.

    ``queries`` has each query's range of local terms (-1 where the segment lacks the term) and
    weights, and the factor of its scores. ``table`` has the weight of each code, ``order`` the rank
    of each document by id, ``allowed`` a flag per document, or nothing for all. ``floors`` has the
    score that a query's documents must reach, and is raised to the ``wanted``-th best. ``found`` is
    the output: scores and docs (queries, k), best first, and their number.
    """
    query_ptr, query_term, query_weight, scales = queries
    post_ptr, post_doc, post_code = postings
    all_scores, all_docs, sizes = found
    k = all_scores.shape[1]
    width = min(WINDOW, len(order))
    sums = np.full(width, _UNSEEN, np.int64)
    # One slot more, because a slot is written before it is known whether it counts.
    seen = np.empty(width + 1, np.uint64)
    reachable = np.empty(width + 1, np.uint64)
    most = 0
    for q in range(len(scales)):
        most = max(most, query_ptr[q + 1] - query_ptr[q])
    term = np.empty(most, np.int64)
    weight = np.empty(most, np.float64)
    bound = np.empty(most, np.int64)
    share = np.empty(most, np.int64)  # postings that a window has on average
    reach = np.zeros(most + 1, np.int64)
    at = np.empty(most, np.uint64)
    end = np.empty(most, np.uint64)
    for q in range(len(scales)):
        terms = 0
        bounded = True
        scale = scales[q]
        for p in range(query_ptr[q], query_ptr[q + 1]):
            if query_term[p] < 0:
                continue
            bounded = bounded and query_weight[p] >= 0.0
            part = _max_weight(query_term[p], postings, bounds, table)
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
        first = 0  # terms before this one bring no documents
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
                reachable[few] = seen[i]
                few += sums[seen[i]] >= need
            if len(allowed) > 0:
                kept = 0
                for i in range(few):
                    reachable[kept] = reachable[i]
                    kept += allowed[start + reachable[i]]
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
                        doc = start + reachable[i]
                        low = p
                        high = stop
                        while low < high:
                            middle = (low + high) >> _ONE
                            if np.uint64(post_doc[middle]) < doc:
                                low = middle + _ONE
                            else:
                                high = middle
                        if low < stop and np.uint64(post_doc[low]) == doc:
                            sums[reachable[i]] += fixed(heavy, table[post_code[low]], scale)
                need = floor - reach[t]
                kept = 0
                for i in range(few):
                    slot = reachable[i]
                    reachable[kept] = slot
                    kept += sums[slot] >= need
                few = kept
            for i in range(few):
                score = sums[reachable[i]]
                if score >= floor:
                    doc = np.int64(start + reachable[i])
                    size = push(scores, docs, order, size, k, score, doc)
                    if size == wanted:
                        floor = max(floor, scores[0])
            for i in range(many):
                sums[seen[i]] = _UNSEEN
        sort(scores, docs, order, size)
        floors[q] = floor
        sizes[q] = size


@njit()
def merge(scores, docs, sizes, k):
    """Merge the best hits of several segments: scores and docs (segments, queries, k), best first.

    Returns, for each query, the scores, segments and docs of the best, their number, and whether
    documents of different segments tie. Listed documents that tie with the k-th follow it.
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
