"""Whatever happened before, an index equals a fresh one of the same live passages."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from oracles import lucene, matches
from twofold import Index, Retriever
from twofold.dense import (
    HNSW,
    IVF,
    IVFPQ,
    Auto,
    Flat,
    OneBit,
    approximate,
    faiss_index,
    flat,
    index_types,
    resolve_index_type,
    vector_block,
)
from twofold.lexical import LanguageAnalyzer

WORDS = ["ant", "bee", "cow", "dog", "eel", "fox"]
ids = st.integers(0, 40).map(lambda n: f"p{n:02}")
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join)
years = st.integers(2000, 2004)


class History(RuleBasedStateMachine):
    """Random calls against a dictionary."""

    @initialize()
    def begin(self):
        self.folder = Path(tempfile.mkdtemp())
        self.index = Index.open(self.folder / "index", encoder="hashing")
        self.live = {}

    @rule(batch=st.dictionaries(ids, st.tuples(texts, years), min_size=1, max_size=12))
    def upsert(self, batch):
        result = self.index.upsert(
            {"id": key, "text": text, "metadata": {"year": year}}
            for key, (text, year) in batch.items()
        )
        assert result.added == len(batch.keys() - self.live.keys())
        assert result.unchanged == sum(self.live.get(key) == pair for key, pair in batch.items())
        self.live |= batch

    @rule(gone=st.sets(ids, max_size=15))
    def delete(self, gone):
        assert self.index.delete(sorted(gone)) == len(gone & self.live.keys())
        for key in gone & self.live.keys():
            del self.live[key]

    @rule(year=years)
    def delete_where(self, year):
        where = {"year": {"$lt": year}, "$not": {"year": 2002}}
        wanted = [key for key, pair in self.live.items() if matches(where, {"year": pair[1]})]
        assert self.index.delete(where=where) == len(wanted)
        for key in wanted:
            del self.live[key]

    @rule()
    def reopen(self):
        self.index.close()
        self.index = Index.open(self.folder / "index")

    @rule(query=texts, year=years)
    def search(self, query, year):
        where = {"year": {"$gte": year}}
        analyzer = LanguageAnalyzer()
        terms = {key: analyzer.passage_terms(text) for key, (text, _) in self.live.items()}
        wanted = lucene(terms, analyzer.query_terms(query))
        wanted = {key: s for key, s in wanted.items() if self.live[key][1] >= year}
        hits = Retriever(self.index, mode="lexical", k=50).retrieve(query, where=where)
        assert set(hits.ids) == wanted.keys()
        np.testing.assert_allclose(hits.scores, [wanted[each] for each in hits.ids], atol=1e-9)

    exact = False

    @rule(query=texts)
    def equals_a_fresh_index(self, query):
        with Index.open(None, encoder="hashing") as fresh:
            fresh.upsert({"id": key, "text": text} for key, (text, _) in sorted(self.live.items()))
            for mode in ("lexical", "dense", "hybrid"):
                one = Retriever(self.index, mode=mode, k=7, exact=self.exact).retrieve(query)
                two = Retriever(fresh, mode=mode, k=7).retrieve(query)
                assert one.ids == two.ids
                assert one.scores.tobytes() == two.scores.tobytes()

    @invariant()
    def holds_what_it_was_given(self):
        assert len(self.index) == len(self.live)

    @rule()
    def verify(self):
        assert self.index.verify(deep=True).problems == ()

    def teardown(self):
        stored = {each.id: (each.text, each.metadata["year"]) for each in self.index}
        assert stored == self.live
        self.index.close()
        shutil.rmtree(self.folder)


class ScannedHistory(History):
    """The same with a dense leg that leaves even a handful of vectors to FAISS."""

    small = (
        (flat, {"DIRECT_ROWS": 1, "SPARE_CANDIDATES": 1, "MAX_OVERFETCH": 4, "PARALLEL_ROWS": 8}),
        (vector_block, {"CHUNK_ROWS": 5}),
    )

    def __init__(self):
        super().__init__()
        self.before = [{name: vars(module)[name] for name in small} for module, small in self.small]
        for module, small in self.small:
            vars(module).update(small)

    def teardown(self):
        for (module, _), before in zip(self.small, self.before, strict=True):
            vars(module).update(before)
        super().teardown()


class StructuredHistory(ScannedHistory):
    """The same with structures over a handful of vectors, which propose all of them.

    All are candidates, because which of many equal vectors a structure proposes is up to FAISS.
    An HNSW graph with few links may still leave out equal vectors that its links don't reach, so
    that one's searches are compared with ``exact=True``.
    """

    small = (
        (approximate, {"MAX_TAIL": 4, "SCAN_FACTOR": 0}),
        (faiss_index, {"_BATCH_ROWS": 3}),
        (index_types, {"SPARE_CANDIDATES": 64}),
    )

    @initialize()
    def begin(self):
        super().begin()
        self.reindex(OneBit())

    @rule(
        kind=st.sampled_from(
            [
                OneBit(),
                OneBit(lists=2, probes=2),
                HNSW(links=4),
                HNSW(codes="float32"),
                IVF(lists=2, probes=2),
                IVF(lists=1, codes="float16"),
                IVFPQ(lists=2, probes=2),
                Flat("int8"),
                Flat(),
                Auto(graph_from=10, bits_from=20),
            ]
        )
    )
    def reindex(self, kind):
        self.exact = isinstance(kind, HNSW) and kind.links < 32
        found = self.index.reindex(kind)
        chosen = resolve_index_type(kind, len(self.live), 256)
        assert found == (chosen if self.live else Flat())


TestHistory = History.TestCase
TestScannedHistory = ScannedHistory.TestCase
TestStructuredHistory = StructuredHistory.TestCase
for each in (TestHistory, TestScannedHistory, TestStructuredHistory):
    each.settings = settings(
        max_examples=25,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def test_garbage_is_collected(tmp_path):
    """Rewriting the same passages over and over doesn't grow the index without bound."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((300, 16)).astype(np.float32)
    with Index.open(tmp_path / "i", dim=16) as index:
        for turn in range(30):
            index.upsert(
                [{"id": f"{n}", "text": f"turn{turn} word{n}"} for n in range(300)],
                vectors=vectors,
            )
        assert index.verify(deep=True).ok
        with index.view() as view:
            assert len(view.snapshot.dense.rows) <= 300 * 2 + 1024 + 300
            assert len(view.snapshot.dead) <= 300 * 8
        hits = Retriever(index, k=3).retrieve("word7 turn29", vector=vectors[7])
        assert hits[0].id == "7"
        assert len(Retriever(index, mode="lexical").retrieve("turn5")) == 0
    sizes = sum(p.stat().st_size for p in (tmp_path / "i").rglob("*") if p.is_file())
    assert sizes < 2_000_000
