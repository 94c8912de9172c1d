"""Compiled loops that derive a segment's postings, bounds and id ranks from its forward index."""

import numpy as np

from twofold._compilation import njit


@njit()
def invert(fwd_ptr, fwd_term, fwd_code, terms):
    """Turn a forward index (document to terms) into postings (term to documents) by counting sort.

    Returns post_ptr (terms + 1), post_doc, which ascends within a term, and post_code.
    """
    post_ptr = np.zeros(terms + 1, np.int64)
    for p in range(len(fwd_term)):
        post_ptr[np.int64(fwd_term[p]) + 1] += 1
    for t in range(terms):
        post_ptr[t + 1] += post_ptr[t]
    free = post_ptr[:-1].copy()
    post_doc = np.empty(len(fwd_term), np.uint32)
    post_code = np.empty(len(fwd_term), fwd_code.dtype)
    for doc in range(len(fwd_ptr) - 1):
        for p in range(fwd_ptr[doc], fwd_ptr[doc + 1]):
            slot = free[np.int64(fwd_term[p])]
            free[np.int64(fwd_term[p])] = slot + 1
            post_doc[slot] = doc
            post_code[slot] = fwd_code[p]
    return post_ptr, post_doc, post_code


@njit()
def frontiers(post_ptr, post_code, pair_tf, pair_length, long):
    """Return the Pareto frontier of codes of each term with at least ``long`` postings.

    A pair dominates another if its frequency is as high and its length as short. So under any
    scoring function, a code of the frontier has the term's greatest weight. Pairs ascend by
    (frequency, length). Returns long_terms, bound_ptr (long terms + 1) and bound_code.
    """
    count = 0
    for t in range(len(post_ptr) - 1):
        if post_ptr[t + 1] - post_ptr[t] >= long:
            count += 1
    long_terms = np.empty(count, np.uint32)
    bound_ptr = np.zeros(count + 1, np.int64)
    # Pairs of equal frequency form a group; its first pair has the shortest length.
    group = np.zeros(len(pair_tf), np.int64)
    for code in range(1, len(pair_tf)):
        group[code] = group[code - 1] + (1 if pair_tf[code] != pair_tf[code - 1] else 0)
    groups = group[-1] + 1 if len(pair_tf) > 0 else 0
    shortest = np.full(groups, -1, np.int64)
    bound_code = np.empty(1024, post_code.dtype)
    used = 0
    place = 0
    for t in range(len(post_ptr) - 1):
        if post_ptr[t + 1] - post_ptr[t] < long:
            continue
        greatest = np.int64(0)
        for p in range(post_ptr[t], post_ptr[t + 1]):
            code = np.int64(post_code[p])
            g = group[code]
            greatest = max(greatest, g)
            if shortest[g] < 0 or code < shortest[g]:
                shortest[g] = code
        length = np.int64(1) << np.int64(40)
        for g in range(greatest, -1, -1):
            code = shortest[g]
            if code < 0:
                continue
            shortest[g] = -1
            if np.int64(pair_length[code]) < length:
                length = np.int64(pair_length[code])
                if used == len(bound_code):
                    grown = np.empty(2 * used, post_code.dtype)
                    grown[:used] = bound_code
                    bound_code = grown
                bound_code[used] = code
                used += 1
        long_terms[place] = t
        bound_ptr[place + 1] = used
        place += 1
    return long_terms, bound_ptr, bound_code[:used].copy()


@njit()
def _smaller(offsets, data, a, b):
    """Return whether string a sorts before string b by UTF-8 bytes, then by number."""
    i = offsets[a]
    j = offsets[b]
    while i < offsets[a + 1] and j < offsets[b + 1]:
        if data[i] != data[j]:
            return data[i] < data[j]
        i += 1
        j += 1
    left = offsets[a + 1] - i
    right = offsets[b + 1] - j
    return left < right or (left == right and a < b)


@njit()
def merge_ranks(offsets, data, sorted_numbers, run_ptr):
    """Return the rank of each string by merging sorted runs pairwise.

    sorted_numbers has the strings' numbers, sorted within each range that run_ptr (runs + 1) gives.
    """
    source = sorted_numbers.copy()
    target = np.empty_like(source)
    bounds = run_ptr.copy()
    while len(bounds) > 2:
        runs = len(bounds) - 1
        merged = np.empty((runs + 1) // 2 + 1, np.int64)
        merged[0] = 0
        for pair in range((runs + 1) // 2):
            i = bounds[2 * pair]
            middle = bounds[2 * pair + 1]
            end = bounds[2 * pair + 2] if 2 * pair + 2 <= runs else middle
            j = middle
            for at in range(i, end):
                if j >= end or (i < middle and _smaller(offsets, data, source[i], source[j])):
                    target[at] = source[i]
                    i += 1
                else:
                    target[at] = source[j]
                    j += 1
            merged[pair + 1] = end
        source, target = target, source
        bounds = merged
    ranks = np.empty(len(source), np.uint32)
    for at in range(len(source)):
        ranks[source[at]] = at
    return ranks
