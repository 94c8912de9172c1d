"""A second engine for the seam: numpy and dictionaries, sharing no code with the local one."""

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import contextmanager

import numpy as np

import oracles
from twofold.backend import Capabilities, CompletedScores, CorpusInfo, Fetched
from twofold.filters import parse_filter
from twofold.filters.parser import And, Condition, Not, Or
from twofold.similarity import Metric
from twofold.types import LegHits, Moments, TermMatch, TermSpan
from twofold.validation import as_passage

FULL = Capabilities(("hybrid", "dense", "lexical"), statistics=True, explains=True)
BARE = Capabilities(FULL.modes, completes=False, max_k=40)


def split_words(text):
    return text.lower().split()


class DictBackend:
    """Passages in a dictionary; every search scores all of them in a loop."""

    def __init__(self, metric="cosine", capabilities=FULL):
        self.metric, self.capabilities = metric, capabilities
        self.stored = {}  # passage and vector, or None, by id
        self.generation = 0

    @contextmanager
    def session(self):
        yield DictSession(self)

    def upsert(self, passages, *, vectors=None):
        self.generation += 1
        for at, passage in enumerate(map(as_passage, passages)):
            vector = None if vectors is None else np.asarray(vectors[at], np.float32)
            self.stored[passage.id] = passage, vector

    def delete(self, ids=None, *, where=None):
        self.generation += 1
        return sum(self.stored.pop(one.id) is not None for one in self.get(ids, where=where))

    def get(self, ids=None, *, where=None):
        wanted = self.stored if ids is None else [one for one in ids if one in self.stored]
        found = [self.stored[one][0] for one in wanted]
        return [one for one in found if where is None or matches(parse_filter(where), one)]


class DictSession:
    """Keys are positions in this session's list of ids, in an order that means nothing."""

    leg_agreement = None

    def __init__(self, backend):
        self.backend = backend
        self.ids = sorted(backend.stored, reverse=True)
        self.passages = [backend.stored[one][0] for one in self.ids]
        self.vectors = [backend.stored[one][1] for one in self.ids]
        self.terms = {key: split_words(one.content) for key, one in enumerate(self.passages)}
        dims = [len(vector) for vector in self.vectors if vector is not None]
        metric = Metric(backend.metric) if dims else None
        self.corpus = CorpusInfo(
            backend.generation, len(self.ids), metric, dims[0] if dims else None
        )

    def search_dense(self, vectors, k, where, effort):
        return [self._best(self._dense(vector), k, where) for vector in vectors]

    def search_lexical(self, texts, k, where, scorer):
        assert scorer is None  # the capabilities say so
        return [self._best(self._lexical(text), k, where) for text in texts]

    def complete(self, wanted):
        assert self.backend.capabilities.completes
        completed = []
        for query in wanted:
            near = self._dense(query.vector) if query.vector is not None else {}
            words = self._lexical(query.text) if query.text is not None else {}
            dense = [near.get(key, np.nan) for key in query.dense_keys.tolist()]
            lexical = [words.get(key, 0.0) for key in query.lexical_keys.tolist()]
            completed.append(CompletedScores(np.array(dense), np.array(lexical)))
        return completed

    def fetch(self, keys=None, *, ids=None, texts=True, vectors=False):
        if keys is None:
            keys = np.array([self.ids.index(one) for one in ids if one in self.ids], np.int64)
        found = [self.vectors[key] for key in keys.tolist()]
        zero = np.zeros(self.corpus.dim or 0, np.float32)
        return Fetched(
            keys,
            [self.ids[key] for key in keys.tolist()],
            [self.passages[key] for key in keys.tolist()],
            np.array([zero if v is None else v for v in found]).reshape(len(keys), len(zero)),
            np.array([v is not None for v in found], np.bool_),
        )

    def matches(self, where, keys):
        return np.array([matches(where, self.passages[key]) for key in keys.tolist()], np.bool_)

    def dense_moments(self, vector):
        scores = list(self._dense(vector).values())
        return Moments(float(np.mean(scores)), float(np.std(scores)))

    def lexical_moments(self, text, scorer):
        scores = np.zeros(len(self.ids))
        for key, score in self._lexical(text).items():
            scores[key] = score
        return Moments(float(scores.mean()), float(scores.std()))

    def least_dense_score(self, vector):
        return -1.0 if self.backend.metric == "cosine" else min(self._dense(vector).values())

    def term_coverage(self, text):
        known, wanted = set().union(*self.terms.values()), set(split_words(text))
        return len(wanted & known) / len(wanted) if wanted else 1.0

    def list_keys(self, where=None):
        keys = np.arange(len(self.ids))
        return keys if where is None else keys[self.matches(where, keys)]

    def metadata_fields(self):
        return sorted({name for one in self.passages for name in one.metadata})

    def field_types(self, field):
        names = {bool: "booleans", str: "strings", int: "numbers", float: "numbers", list: "lists"}
        return frozenset(
            names.get(type(each.metadata[field]), "objects")
            for each in self.passages
            if field in each.metadata
        )

    def term_matches(self, text, keys, scorer):
        return [self._explain(split_words(text), key) for key in keys.tolist()]

    def term_spans(self, text, passages):
        wanted = set(split_words(text))
        words = [re.finditer(r"\S+", passage) for passage in passages]
        spans = [[TermSpan(w[0].lower(), w.start(), w.end()) for w in found] for found in words]
        return [[span for span in found if span.term in wanted] for found in spans]

    def _lexical(self, text):
        return oracles.lucene(self.terms, split_words(text))

    def _dense(self, vector):
        return {
            key: oracles.nearness(self.backend.metric, vector, stored)
            for key, stored in enumerate(self.vectors)
            if stored is not None
        }

    def _best(self, scores, k, where):
        kept = [key for key in scores if where is None or matches(where, self.passages[key])]
        kept.sort(key=lambda key: (-scores[key], self.ids[key]))
        kept = kept[: min(k, self.backend.capabilities.max_k or k)]
        return LegHits(np.array(kept, np.int64), np.array([scores[key] for key in kept], float))

    def _explain(self, query, key):
        counts, mean = Counter(self.terms[key]), np.mean([len(t) for t in self.terms.values()])
        out = []
        for term, times in Counter(query).items():
            if score := oracles.lucene(self.terms, [term] * times).get(key, 0.0):
                having = sum(term in terms for terms in self.terms.values())
                numbers = (score, len(self.terms[key]), float(mean), 1.0, 1.0 / times, score)
                out.append(TermMatch(term, times, counts[term], having, *numbers))
        return tuple(sorted(out, key=lambda match: -match.contribution))


def matches(where, passage):
    """Whether a passage matches a parsed filter."""
    match where:
        case Not(part):
            return not matches(part, passage)
        case And(parts):
            return all(matches(part, passage) for part in parts)
        case Or(parts):
            return any(matches(part, passage) for part in parts)
        case Condition(field, operator, wanted):
            value = passage.id if field == "$id" else passage.metadata.get(field)
            return compare(operator.value, value, wanted)


def same(left, right):
    numbers = [isinstance(one, int | float) and not isinstance(one, bool) for one in (left, right)]
    return left == right and (all(numbers) or type(left) is type(right))


def compare(operator, value, wanted):
    elements = value if isinstance(value, Sequence) and not isinstance(value, str) else ()
    if operator in ("$gt", "$gte", "$lt", "$lte"):
        kinds = str if isinstance(wanted, str) else (int, float)
        order = {"$gt": "__gt__", "$gte": "__ge__", "$lt": "__lt__", "$lte": "__le__"}[operator]
        right = isinstance(value, kinds) and not isinstance(value, bool)
        return right and bool(getattr(value, order)(wanted))
    return {
        "$eq": lambda: same(value, wanted),
        "$in": lambda: any(same(value, one) for one in wanted),
        "$exists": lambda: (value is not None) == wanted,
        "$empty": lambda: (value in (None, "", [], {})) == wanted,
        "$contains": lambda: any(same(one, wanted) for one in elements),
        "$any": lambda: any(same(a, b) for a in elements for b in wanted),
        "$all": lambda: all(any(same(a, b) for a in elements) for b in wanted),
        "$text": lambda: isinstance(value, str) and wanted in value,
        "$itext": lambda: isinstance(value, str) and wanted.lower() in value.lower(),
    }[operator]()
