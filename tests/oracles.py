"""Plain and slow answers, sharing no code with the library."""

import math
import statistics
from collections import Counter

import numpy as np


def lucene(documents, query, k1=1.2, b=0.75):
    """Score {key: terms} for a list of query terms; only documents that share a term."""
    filled = {key: terms for key, terms in documents.items() if terms}
    if not filled:
        return {}
    average = sum(map(len, filled.values())) / len(filled)
    frequency = Counter(term for terms in filled.values() for term in set(terms))
    scores = {}
    for key, terms in filled.items():
        counts, score = Counter(terms), 0.0
        for term, times in Counter(query).items():
            if counts[term]:
                n = frequency[term]
                idf = math.log(1 + (len(filled) - n + 0.5) / (n + 0.5))
                norm = k1 * (1 - b + b * len(terms) / average)
                score += times * idf * counts[term] / (counts[term] + norm)
        if any(counts[term] for term in query):
            scores[key] = score
    return scores


def okapi(documents, query, k1=1.5, b=0.75, epsilon=0.25):
    """Score as the Okapi formula of rank-bm25's readme does, in plain loops."""
    if not any(documents.values()):
        return {}
    average = sum(map(len, documents.values())) / len(documents)
    frequency = Counter(term for terms in documents.values() for term in set(terms))
    idf = {t: math.log(len(documents) - n + 0.5) - math.log(n + 0.5) for t, n in frequency.items()}
    floor = epsilon * sum(idf.values()) / len(idf)
    scores = {}
    for key, terms in documents.items():
        counts, score = Counter(terms), 0.0
        for term in query:
            if term in idf:
                weight = idf[term] if idf[term] >= 0 else floor
                norm = k1 * (1 - b + b * len(terms) / average)
                score += weight * counts[term] * (k1 + 1) / (counts[term] + norm)
        if any(counts[term] for term in query):
            scores[key] = score
    return scores


def nearness(metric, query, vector):
    """Score one pair of vectors in float64."""
    q, v = np.asarray(query, float), np.asarray(vector, float)
    if metric == "dot":
        return float(q @ v)
    if metric == "cosine":
        return float(q @ v / math.sqrt(q @ q) / math.sqrt(v @ v))
    return -math.sqrt(float(((q - v) ** 2).sum()))


def ranking(found):
    """Order {passage: score} as trec_eval does: by single-precision score, then the later id."""
    return sorted(found, key=lambda each: (np.float32(found[each]), each), reverse=True)


def effectiveness(measure, grades, found):
    """Measure {passage: score} by {passage: grade}: nDCG@k, P@k, R@k, AP or RR."""
    name, _, cutoff = measure.partition("@")
    ranked = ranking(found)[: int(cutoff) if cutoff else None]
    relevant = {each for each, grade in grades.items() if grade > 0}
    hits = [each in relevant for each in ranked]
    if name == "P":
        return sum(hits) / int(cutoff)
    if not relevant:
        return 0.0
    if name == "R":
        return sum(hits) / len(relevant)
    if name == "RR":
        return 1 / (hits.index(True) + 1) if any(hits) else 0.0
    if name == "AP":
        at_hits = [sum(hits[: at + 1]) / (at + 1) for at, hit in enumerate(hits) if hit]
        return sum(at_hits) / len(relevant)
    gains = [max(0, grades.get(each, 0)) for each in ranked]
    ideal = sorted((max(0, grade) for grade in grades.values()), reverse=True)[: int(cutoff)]
    best = sum(gain / math.log2(at + 2) for at, gain in enumerate(ideal))
    return sum(gain / math.log2(at + 2) for at, gain in enumerate(gains)) / best


def normalized(name, scores, lowest=0.0, moments=(0.0, 0.0)):
    """Bring scores to a common scale as the papers and other systems word it, one by one."""
    n, top, bottom = len(scores), max(scores), min(scores)
    mean, deviation = moments if name == "z-score" else (statistics.fmean(scores), 0.0)
    length = math.sqrt(math.fsum(each * each for each in scores))
    if name == "z-score-candidates":
        deviation = statistics.pstdev(scores)
    if name == "distribution-based":
        deviation = statistics.stdev(scores)
    low, high = mean - 3 * deviation, mean + 3 * deviation
    rules = {
        "theoretical-min-max": lambda s: (s - lowest) / (top - lowest),
        "min-max": lambda s: (s - bottom) / (top - bottom),
        "z-score": lambda s: (s - mean) / deviation,
        "z-score-candidates": lambda s: (s - mean) / deviation,
        "distribution-based": lambda s: (s - low) / (high - low),
        "l2": lambda s: s / length,
        "rank": lambda s: (n - sum(other > s for other in scores)) / n,
    }
    return [rules[name](each) for each in scores]


def matches(where, metadata):
    """Evaluate a filter on one passage's metadata, as the documentation words it."""
    return all(_clause(name, value, metadata) for name, value in where.items())


_MISSING = object()


def _clause(name, value, metadata):
    if name == "$and":
        return all(matches(each, metadata) for each in value)
    if name == "$or":
        return any(matches(each, metadata) for each in value)
    if name == "$not":
        return not matches(value, metadata)
    if not isinstance(value, dict):
        value = {"$eq": value}
    stored = metadata.get(name, _MISSING)
    return all(
        _holds(operator, operand, stored, metadata, name) for operator, operand in value.items()
    )


def _kind(value):
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "list" if isinstance(value, list) else "object"


def _same(a, b):
    if a is _MISSING or _kind(a) != _kind(b):
        return False
    if isinstance(a, list):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def _holds(operator, operand, stored, metadata, name):
    if operator == "$ne":
        return not _same(stored, operand)
    if operator == "$nin":
        return not any(_same(stored, each) for each in operand)
    if operator == "$not":
        return not _clause(name, operand, metadata)
    if operator == "$exists":
        return (stored is not _MISSING) == operand
    if operator == "$empty":
        return (stored is _MISSING or stored in (None, "", [])) == operand
    if stored is _MISSING:
        return False
    if operator == "$eq":
        return _same(stored, operand)
    if operator == "$in":
        return any(_same(stored, each) for each in operand)
    if operator in ("$gt", "$gte", "$lt", "$lte"):
        if _kind(stored) != _kind(operand) or _kind(stored) not in ("number", "string"):
            return False
        return {
            "$gt": stored > operand,
            "$gte": stored >= operand,
            "$lt": stored < operand,
            "$lte": stored <= operand,
        }[operator]
    if operator == "$text":
        return isinstance(stored, str) and operand in stored
    if operator == "$itext":
        return isinstance(stored, str) and operand.casefold() in stored.casefold()
    if not isinstance(stored, list):
        return False
    if operator == "$contains":
        return any(_same(each, operand) for each in stored)
    if operator == "$any":
        return any(_same(each, wanted) for each in stored for wanted in operand)
    return all(any(_same(each, wanted) for each in stored) for wanted in operand)


def ndcg(ids, grades, k=10):
    """nDCG@k of passage ids in their order, as its definition reads, for grades by id."""
    gains = [grades.get(each, 0) / math.log2(rank + 1) for rank, each in enumerate(ids[:k], 1)]
    best = sorted(grades.values(), reverse=True)[:k]
    ideal = sum(grade / math.log2(rank + 1) for rank, grade in enumerate(best, 1))
    return sum(gains) / ideal if ideal else 0.0
