import hashlib
import math

import numpy as np
import pytest
from tests.oracles import nearness

from twofold import BM25, HashingEncoder, Index
from twofold.dense import HNSW, VectorMoments
from twofold.errors import QueryError
from twofold.index import dense_leg
from twofold.lexical import BM25L, BM25Plus, LanguageAnalyzer, OkapiBM25, PostingsIndex, TfIdf
from twofold.similarity import Metric

METRICS = ["dot", "cosine", "euclidean"]


class Noise(HashingEncoder):
    """Vectors that have nothing to do with the words, the same for the same text."""

    @property
    def identity(self):
        return None

    def encode_passages(self, texts):
        seeds = [hashlib.sha256(text.encode()).digest()[:8] for text in texts]
        rngs = [np.random.default_rng(int.from_bytes(seed, "little")) for seed in seeds]
        return np.array([rng.standard_normal(256) for rng in rngs], np.float32).reshape(-1, 256)


def dense_oracle(metric, query, vectors):
    scores = np.array([nearness(metric, query, each) for each in vectors])
    return scores.mean(), scores.std()


def close(moments, mean, deviation, metric):
    """Compare; under Euclidean as near as the delta method is at 24 dimensions."""
    if metric != "euclidean":
        # Cosines are of vectors as float32 keeps them at unit length.
        assert moments.mean == pytest.approx(mean, rel=1e-6, abs=1e-7)
        assert moments.deviation == pytest.approx(deviation, rel=1e-6, abs=1e-7)
    else:
        assert moments.mean == pytest.approx(mean, rel=0.002)
        assert moments.deviation == pytest.approx(deviation, rel=0.1)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_dense_moments_are_those_of_all_live_scores_after_any_history(tmp_path, metric, kind):
    rng = np.random.default_rng(5)
    live = {}
    with Index.open(tmp_path / "i", dim=24, metric=metric) as index:
        if kind == "hnsw":
            index.reindex(HNSW(links=4))
        for turn in range(8):
            keys = [f"{n}" for n in rng.choice(300, 60, replace=False)]
            vectors = (rng.standard_normal((60, 24)) + 0.5).astype(np.float32)
            index.upsert([{"id": key, "text": f"word {turn}"} for key in keys], vectors=vectors)
            live.update(zip(keys, vectors, strict=True))
            gone = [key for key in list(live) if rng.random() < 0.15]
            index.delete(gone)
            for key in gone:
                del live[key]
            query = rng.standard_normal(24).astype(np.float32) * 3
            with index.view() as view:
                if turn != 3:  # one generation that nobody asks
                    close(
                        view.dense_moments(query),
                        *dense_oracle(metric, query, live.values()),
                        metric,
                    )
        assert len(live) > 100
        index.delete(list(live)[5:])
        rest = list(live.values())[:5]
        with index.view() as view:
            found, wanted = view.dense_moments(query), dense_oracle(metric, query, rest)
            if metric != "euclidean":
                close(found, *wanted, metric)
        index.delete(where={})
        with index.view() as view:
            none = view.dense_moments(query)
            assert (none.mean, none.deviation) == (0.0, 0.0)
            with pytest.raises(QueryError, match="shape"):
                view.dense_moments(query[:5])


def test_lengths_of_queries_matter_as_they_do_in_scores(tmp_path):
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((80, 12)).astype(np.float32)
    query = rng.standard_normal(12).astype(np.float32)
    for metric, factor in (("cosine", 1.0), ("dot", 7.0)):
        with Index.open(tmp_path / metric, dim=12, metric=metric) as index:
            index.upsert([f"text {n}" for n in range(80)], vectors=vectors)
            with index.view() as view:
                one, seven = view.dense_moments(query), view.dense_moments(7 * query)
        assert seven.mean == pytest.approx(factor * one.mean, rel=1e-6)
        assert seven.deviation == pytest.approx(factor * one.deviation, rel=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_moments_of_vectors_that_are_all_far_off_or_all_equal(metric):
    rng = np.random.default_rng(2)
    far = (1e4 + rng.standard_normal((500, 8))).astype(np.float32)
    query = rng.standard_normal(8).astype(np.float32)
    moments = VectorMoments.from_vectors(Metric(metric), far).scores(query)
    scores = np.array([nearness(metric, query, each) for each in far])
    assert moments.mean == pytest.approx(scores.mean(), rel=1e-9)
    assert moments.deviation == pytest.approx(scores.std(), rel=1e-3)
    same = np.repeat(far[:1], 500, axis=0)
    equal = VectorMoments.from_vectors(Metric(metric), same).scores(query)
    assert equal.deviation == 0
    assert equal.mean == pytest.approx(scores[0], rel=1e-9)


def test_a_deleted_outlier_leaves_no_trace(tmp_path):
    vectors = np.random.default_rng(3).standard_normal((100, 8)).astype(np.float32)
    vectors[4] *= 1e12
    with Index.open(tmp_path / "i", dim=8, metric="dot") as index:
        index.upsert([{"id": f"{n}", "text": "text"} for n in range(100)], vectors=vectors)
        with index.view() as view:
            assert view.dense_moments(vectors[0]).deviation > 1e9
        index.delete(["4"])
        with index.view() as view:
            found = view.dense_moments(vectors[0])
        close(found, *dense_oracle("dot", vectors[0], np.delete(vectors, 4, axis=0)), "dot")


def test_above_its_limit_a_sample_stands_for_all(tmp_path, monkeypatch):
    monkeypatch.setattr(dense_leg, "SAMPLED", 400)
    vectors = (np.random.default_rng(4).standard_normal((600, 8)) + 1).astype(np.float32)
    with Index.open(tmp_path / "i", dim=8, metric="dot") as index:
        index.upsert([f"text {n}" for n in range(600)], vectors=vectors)
        with index.view() as view:
            found = view.dense_moments(vectors[0])
            assert found == view.dense_moments(vectors[0])
        mean, deviation = dense_oracle("dot", vectors[0], vectors)
        assert found.mean != pytest.approx(mean, rel=1e-9)
        assert found.mean == pytest.approx(mean, abs=0.2 * deviation)
        assert found.deviation == pytest.approx(deviation, rel=0.2)


SCORERS = [BM25(), BM25(k1=0.9, b=0.4), BM25L(), BM25Plus(), OkapiBM25(), TfIdf()]


@pytest.mark.parametrize("scorer", SCORERS, ids=lambda each: type(each).__name__)
def test_lexical_moments_follow_from_each_terms_scores_of_all_passages(abstracts, claims, scorer):
    texts = [each["text"] for each in abstracts[:400]] + ["", "?!"]
    rows = np.arange(len(texts))
    postings = PostingsIndex(LanguageAnalyzer())
    for start in range(0, len(texts), 150):
        some = rows[start : start + 150]
        postings.add(some, [f"{row}" for row in some], [texts[row] for row in some])
    gone = np.arange(0, 400, 7)
    postings.delete(gone)
    live = np.setdiff1d(rows, gone)
    exact = 0
    for claim in [*claims[:20], "cell", "zzzz", ""]:
        found = postings.moments(claim, scorer)
        scores = postings.scores(claim, live, scorer)
        assert found.mean == pytest.approx(scores.mean(), rel=1e-7, abs=1e-9)
        terms = set(postings.analyzer.query_terms(claim))
        if len(terms) <= 1:
            assert found.deviation == pytest.approx(scores.std(), rel=1e-5, abs=1e-9)
            exact += scores.std() > 0
        if not scorer.missing_term_weight and not scorer.cosine:
            # Of plain sums, the variances of the terms' own scores are what is added.
            own = [term_scores(postings, claim, live, scorer, term) for term in terms]
            variance = sum(each.var() for each in own)
            assert found.deviation == pytest.approx(math.sqrt(variance), rel=1e-6, abs=1e-9)
    assert exact == 1


def term_scores(postings, query, rows, scorer, term):
    """What one term adds to the score of each row, as the explanation of that row says."""
    matches = [postings.term_matches(query, int(row), scorer) for row in rows]
    return np.array([sum(m.contribution for m in each if m.term == term) for each in matches])


def test_known_is_the_share_of_distinct_terms_that_live_passages_have():
    postings = PostingsIndex(LanguageAnalyzer())
    postings.add(np.arange(2), ["a", "b"], ["green apples", "blue plums"])
    assert postings.term_coverage("green apples and blue plums") == 1.0
    assert postings.term_coverage("green green green tractors") == 0.5
    assert postings.term_coverage("tractors") == 0.0
    assert postings.term_coverage("") == postings.term_coverage("?!") == 1.0
    assert postings.search("blue apples", 5).keys.tolist() == [0, 1]
    assert postings.term_coverage("blue apples") == 1.0
    postings.delete(np.array([1]))
    assert postings.term_coverage("blue apples") == 0.5
    assert postings.term_coverage("blue") == 0.0


def test_qualities_of_a_view(library):
    with library.view() as view:
        assert view.term_coverage("cells zzzzqqqq") == 0.5
        assert view.leg_agreement == library.agreement
        claim = "cells in the blood"
        rows = view.snapshot.dense.live_rows
        scores = view.scope.lexical_scores(claim, rows)
        assert view.lexical_moments(claim).mean == pytest.approx(scores.mean(), rel=1e-9)


def passages(abstracts, count, start=0):
    return [
        {"id": each["_id"], "title": each["title"], "text": each["text"]}
        for each in abstracts[start : start + count]
    ]


def test_agreement_tells_an_encoder_that_knows_words_from_one_that_does_not(tmp_path, abstracts):
    found = {}
    for name, encoder in (("words", HashingEncoder()), ("noise", Noise())):
        with Index.open(tmp_path / name, encoder=encoder) as index:
            assert index.agreement is None
            index.upsert(passages(abstracts, 400))
            found[name] = index.agreement
            assert index.verify(deep=True).ok
    assert 0.05 < found["noise"] < 0.4 < 0.5 < found["words"] < 1


@pytest.mark.slow
def test_agreement_of_a_real_model_is_beyond_doubt(tmp_path, abstracts):
    with Index.open(tmp_path / "i", encoder="all-MiniLM-L6-v2") as index:
        index.upsert(passages(abstracts, 300))
        assert index.agreement > 0.7


def test_agreement_is_kept_and_measured_again_when_the_number_doubles(tmp_path, abstracts):
    path = tmp_path / "i"
    with Index.open(path, encoder="hashing") as index:
        index.upsert(passages(abstracts, 40))
        assert index.agreement is None
        index.upsert(passages(abstracts, 80, 40))
        first = index.agreement
        assert first is not None
        with index.view() as view:
            before = view.corpus.generation
            assert view.snapshot.settings.agreement_passages == 120
        index.upsert(passages(abstracts, 30, 120))
        with index.view() as view:
            assert (
                view.corpus.generation == before + 1
            )  # a commit for the passages, none to measure
            assert view.leg_agreement == first
    with Index.open(path, read_only=True) as index:
        assert index.agreement == first
    with Index.open(path) as index:
        index.upsert(passages(abstracts, 200, 150))
        with index.view() as view:
            assert view.snapshot.settings.agreement_passages == 350
        assert index.agreement not in (None, first)
        index.delete([each["_id"] for each in abstracts[60:350]])
        index.upsert(passages(abstracts, 1, 400))
        with index.view() as view:
            assert view.snapshot.settings.agreement_passages == 61


def test_another_encoder_is_measured_anew(tmp_path, abstracts):
    with Index.open(tmp_path / "i", encoder="hashing") as index:
        index.upsert(passages(abstracts, 200))
        words = index.agreement
        index.reencode(Noise())
        noise = index.agreement
        assert noise < 0.4 < 0.5 < words
        index.reanalyze("german")
        assert index.agreement == noise  # it is of the vectors


def test_callers_vectors_ask_for_themselves(tmp_path, abstracts):
    given = passages(abstracts, 200)
    vectors = HashingEncoder().encode_passages([each["text"] for each in given])
    with (
        Index.open(tmp_path / "good", dim=256) as good,
        Index.open(tmp_path / "bad", dim=256) as bad,
    ):
        good.upsert(given, vectors=vectors)
        bad.upsert(given, vectors=Noise().encode_passages([each["text"] for each in given]))
        assert bad.agreement < 0.1 < 0.4 < good.agreement


@pytest.mark.parametrize("legs", [{"encoder": None}, {"encoder": "hashing", "analyzer": None}])
def test_one_leg_has_nothing_to_agree_with(tmp_path, abstracts, legs):
    with Index.open(tmp_path / "i", **legs) as index:
        index.upsert(passages(abstracts, 100))
        assert index.agreement is None
        with index.view() as view:
            assert view.leg_agreement is None


def test_where_no_words_are_shared_it_is_tried_once(tmp_path):
    with Index.open(tmp_path / "i", encoder="hashing") as index:
        index.upsert([f"word{n}" for n in range(60)])
        assert index.agreement is None
        with index.view() as view:
            before = view.corpus.generation
            assert view.snapshot.settings.agreement_passages == 60
        index.upsert(["one more"])
        with index.view() as view:
            assert view.corpus.generation == before + 1


def test_an_encoder_that_fails_to_ask_loses_nothing(tmp_path, abstracts):
    class Mute(HashingEncoder):
        def encode_queries(self, texts):
            raise RuntimeError("no queries today")

    path = tmp_path / "i"
    with Index.open(path, encoder=Mute()) as index:
        with pytest.raises(RuntimeError, match="no queries today"):
            index.upsert(passages(abstracts, 100))
        assert len(index) == 100
    with Index.open(path, encoder=HashingEncoder()) as index:
        assert index.agreement is None
        assert index.upsert(passages(abstracts, 1)).unchanged == 1
        assert index.agreement > 0.5
