"""The postings engine: pruned search equals exhaustive scoring, through any history."""

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from oracles import lucene
from twofold.lexical import (
    BM25,
    BM25Plus,
    FunctionAnalyzer,
    LiveSegment,
    OkapiBM25,
    PostingsIndex,
    PostingsSegment,
    RobertsonBM25,
    TfIdf,
)
from twofold.storage import pack_arrays, unpack_arrays

splitting = FunctionAnalyzer(str.split, "tests:split")
WORDS = ["ant", "bee", "cow", "dog", "eel", "fox", "the"]


class Collection:
    """Random short texts in several segments, some of them deleted, and plain integer scores."""

    def __init__(self, passages, seed):
        rng = np.random.default_rng(seed)
        self.lengths = rng.integers(1, 14, passages)
        words = np.minimum(rng.zipf(1.25, self.lengths.sum()), 3000) - 1
        ends = np.cumsum(self.lengths)
        self.documents = np.split(words, ends[:-1])
        self.ids = [f"{number:06}" for number in rng.permutation(passages)]
        self.index = PostingsIndex(splitting)
        cuts = [0, passages // 2, passages * 3 // 4, passages - 5, passages]
        for low, high in pairwise(cuts):
            texts = [" ".join(map(str, each)) for each in self.documents[low:high]]
            self.index.add(np.arange(low, high), self.ids[low:high], texts)
        self.dead = rng.choice(passages, passages // 20, replace=False)
        self.index.delete(self.dead)
        self.live = np.ones(passages, bool)
        self.live[self.dead] = False
        rows = np.repeat(np.arange(passages), self.lengths)
        keys, self.tf = np.unique(words * passages + rows, return_counts=True)
        self.term, self.row = np.divmod(keys, passages)
        keep = self.live[self.row]
        self.term, self.row, self.tf = self.term[keep], self.row[keep], self.tf[keep]
        self.starts = np.searchsorted(self.term, np.arange(3001))
        self.place = np.empty(passages, int)
        self.place[np.argsort(self.ids)] = np.arange(passages)

    def exhaustive(self, terms, k, allowed):
        """Lucene's BM25 of every passage, as integers; ties by id."""
        count, average = self.live.sum(), self.lengths[self.live].mean()
        scores = np.full(len(self.lengths), -1, np.int64)
        for term in terms:
            some = slice(self.starts[term], self.starts[term + 1])
            rows, tf = self.row[some], self.tf[some]
            idf = np.log(1 + (count - len(rows) + 0.5) / (len(rows) + 0.5))
            part = tf / (tf + 1.2 * (0.25 + 0.75 * self.lengths[rows] / average))
            scores[rows] = np.maximum(scores[rows], 0) + np.rint(idf * part * 2.0**40).astype(int)
        found = np.flatnonzero((scores >= 0) & allowed)
        return found[np.lexsort((self.place[found], -scores[found]))][:k]


def pruned_equals_exhaustive(queries, seed):
    rng = random.Random(seed)
    collection = Collection(40_000, seed)
    words = collection.term.tolist()  # as often as they occur
    batch = [list(set(rng.choices(words, k=rng.randint(1, 7)))) for _ in range(queries)]
    masks = [np.ones(40_000, bool), np.random.default_rng(seed).random(40_000) < 0.3]
    rare = np.zeros(40_000, bool)
    rare[::911] = True
    for allowed in [*masks, rare]:
        asked = batch if allowed is masks[0] else batch[: queries // 4]
        texts = [" ".join(map(str, terms)) for terms in asked]
        found = collection.index.search_many(texts, 10, None if allowed.all() else allowed)
        matched = 0
        for terms, hits in zip(asked, found, strict=True):
            wanted = collection.exhaustive(terms, 10, allowed)
            assert hits.keys.tolist() == wanted.tolist()
            matched += len(wanted)
        assert matched > 5 * len(asked)


def test_pruned_search_is_exact():
    pruned_equals_exhaustive(800, 1)


@pytest.mark.slow
def test_pruned_search_is_exact_on_ten_thousand_queries():
    pruned_equals_exhaustive(10_000, 2)


@pytest.mark.parametrize(
    "scorer", [BM25(0.9, 0.4), RobertsonBM25(), BM25Plus(), OkapiBM25(), TfIdf()], ids=str
)
def test_a_small_k_finds_the_beginning_of_a_large_one(scorer):
    collection = Collection(20_000, 3)
    rng = random.Random(4)
    for _ in range(60):
        query = " ".join(str(rng.randint(0, 60)) for _ in range(4))
        every = collection.index.search(query, 20_000, scorer=scorer)
        assert len(every.keys) > 100
        for k in (1, 10, 100):
            some = collection.index.search(query, k, scorer=scorer)
            assert some.keys.tolist() == every.keys[:k].tolist()
            assert some.scores.tolist() == every.scores[:k].tolist()
    many = collection.index.search_many(["1 2", "zzz", "5", ""], 7, scorer=scorer)
    assert [len(each.keys) for each in many] == [7, 0, 7, 0]
    alone = collection.index.search("1 2", 7, scorer=scorer)
    assert many[0].keys.tolist() == alone.keys.tolist()


def test_a_rare_term_beside_a_frequent_one():
    index = PostingsIndex(splitting)
    texts = ["common"] * 50_000
    texts[12_345] += " rare"
    index.add(np.arange(50_000), [f"{n:05}" for n in range(50_000)], texts)
    found = index.search("common rare", 3)
    assert found.keys.tolist() == [12_345, 0, 1]
    allowed = np.zeros(50_000, bool)
    allowed[[7, 49_999]] = True
    assert index.search("common rare", 3, allowed).keys.tolist() == [7, 49_999]


class Postings(RuleBasedStateMachine):
    """Random changes to an index of postings, against a dictionary."""

    texts = st.lists(st.sampled_from(WORDS), max_size=7).map(" ".join)

    @initialize()
    def begin(self):
        self.index = PostingsIndex(splitting)
        self.live = {}
        self.names = {}
        self.snapshots = []

    @rule(batch=st.lists(texts, min_size=1, max_size=6))
    def add(self, batch):
        start = len(self.names)
        rows = np.arange(start, start + len(batch))
        names = [f"id{(31 * row) % 997:03}" for row in rows.tolist()]
        self.index.add(rows, names, batch)
        self.live |= dict(zip(rows.tolist(), batch, strict=True))
        self.names |= dict(zip(rows.tolist(), names, strict=True))

    @rule(gone=st.sets(st.integers(0, 60), max_size=8))
    def delete(self, gone):
        self.index.delete(np.array(sorted(gone), np.int64))
        self.live = {row: text for row, text in self.live.items() if row not in gone}

    @rule()
    def merge(self):
        self.index.merge()
        assert len(self.index.segments) <= 1

    @rule()
    def snapshot(self):
        frozen = PostingsIndex(splitting, segments=self.index.segments)
        self.snapshots = [*self.snapshots[-2:], (frozen, dict(self.live))]

    @rule()
    def reopen(self):
        dead = np.array(sorted(self.names.keys() - self.live.keys()), np.int64)
        stored = [pack_arrays(each.segment.arrays()) for each in self.index.segments]
        segments = [
            LiveSegment.from_segment(PostingsSegment.from_arrays(unpack_arrays(data)), dead)
            for data in stored
        ]
        self.index = PostingsIndex(splitting, segments=segments)

    @rule(query=texts, k=st.integers(1, 9), every=st.integers(1, 4))
    def search(self, query, k, every):
        allowed = np.arange(len(self.names)) % every == 0
        self.check(self.index, self.live, query, k, None if every == 1 else allowed, every)
        for frozen, live in self.snapshots:
            self.check(frozen, live, query, k, None if every == 1 else allowed, every)

    def check(self, index, live, query, k, allowed, every):
        scores = lucene({row: text.split() for row, text in live.items()}, query.split())
        wanted = sorted(
            (-round(score, 9), self.names[row], row)
            for row, score in scores.items()
            if row % every == 0
        )[:k]
        found = index.search(query, k, allowed)
        assert found.keys.tolist() == [row for _, _, row in wanted]
        np.testing.assert_allclose(found.scores, [-score for score, _, _ in wanted], atol=1e-8)

    @invariant()
    def statistics_are_those_of_the_live(self):
        filled = [text.split() for text in self.live.values() if text]
        segments = self.index.segments
        assert sum(each.passages for each in segments) == len(filled)
        assert sum(each.length for each in segments) == sum(map(len, filled))

    @rule(query=texts)
    def equals_a_fresh_index(self, query):
        fresh = PostingsIndex(splitting)
        rows = sorted(self.live)
        if rows:
            fresh.add(
                np.array(rows), [self.names[row] for row in rows], [self.live[row] for row in rows]
            )
        for scorer in (BM25(), OkapiBM25(), TfIdf()):
            ours = self.index.search(query, 50, scorer=scorer)
            anew = fresh.search(query, 50, scorer=scorer)
            assert ours.keys.tolist() == anew.keys.tolist()
            assert ours.scores.tolist() == anew.scores.tolist()


Postings.TestCase.settings = settings(deadline=None, max_examples=40, stateful_step_count=25)
TestPostings = Postings.TestCase


def test_nothing_wanted_is_nothing_found():
    index = PostingsIndex(splitting)
    assert index.search_many(["a", "b"], 5)[1].keys.tolist() == []
    index.add(np.arange(2), ["x", "y"], ["a", "b"])
    assert index.search("a", 0).keys.tolist() == []
