"""One suite for every dense index and metric: scores against a plain oracle."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oracles import nearness
from twofold import Metric
from twofold.dense import FlatIndex
from twofold.errors import QueryError, VectorError

IMPLEMENTATIONS = {"flat": FlatIndex}


@pytest.fixture(params=IMPLEMENTATIONS)
def make(request):
    return IMPLEMENTATIONS[request.param]


@pytest.fixture(params=list(Metric))
def metric(request):
    return request.param


def filled(make, metric, vectors, ids=None, batch=700):
    index = make(metric, vectors.shape[1])
    ids = ids if ids is not None else [f"{n:06}" for n in range(len(vectors))]
    for start in range(0, len(vectors), batch):
        some = vectors[start : start + batch]
        index.add(np.arange(start, start + len(some)), ids[start : start + batch], some)
    return index


def expected(metric, query, vectors, keep):
    scored = [(nearness(metric.value, query, vectors[row]), row) for row in keep]
    return sorted(scored, key=lambda pair: (-round(pair[0], 6), pair[1]))


def check(found, wanted):
    np.testing.assert_allclose(found.scores, [score for score, _ in wanted], atol=3e-6)
    assert len(found.rows) == len(wanted)
    # Rows may swap only where the oracle can't tell their scores apart.
    for row, (score, _) in zip(found.rows.tolist(), wanted, strict=True):
        near = [other for value, other in wanted if abs(value - score) < 3e-6]
        assert row in near or abs(found.scores[-1] - score) < 3e-6


@pytest.mark.parametrize("count", [5, 3000])
def test_scores_are_the_oracles(make, metric, count):
    rng = np.random.default_rng(count)
    vectors = rng.standard_normal((count, 32)).astype(np.float32) * rng.uniform(0.5, 2, (count, 1))
    vectors = vectors.astype(np.float32)
    index = filled(make, metric, vectors)
    dead = rng.choice(count, count // 5, replace=False)
    index.delete(dead)
    allowed = rng.random(count) < 0.6
    live = set(range(count)) - set(dead.tolist())
    for mask in (None, allowed):
        keep = [row for row in live if mask is None or mask[row]]
        assert np.isnan(index.scores(vectors[0], dead)).all()
        queries = rng.standard_normal((6, 32)).astype(np.float32)
        together = index.search(queries, 10, mask)
        for query, batch in zip(queries, together, strict=True):
            alone = index.search(query[None, :], 10, mask)[0]
            assert alone.rows.tolist() == batch.rows.tolist()
            assert alone.scores.tobytes() == batch.scores.tobytes()
            check(alone, expected(metric, query, vectors, keep)[:10])
            assert alone.scores.tobytes() == index.scores(query, alone.rows).tobytes()


def test_hundreds_of_queries_at_once(make, metric):
    rng = np.random.default_rng(1)
    index = filled(make, metric, rng.standard_normal((1500, 8)).astype(np.float32))
    queries = rng.standard_normal((600, 8)).astype(np.float32)
    together = index.search(queries, 3)
    assert len(together) == 600
    for place in (0, 255, 256, 599):
        alone = index.search(queries[place : place + 1], 3)[0]
        assert alone.rows.tolist() == together[place].rows.tolist()
        assert alone.scores.tobytes() == together[place].scores.tobytes()


@settings(deadline=None, max_examples=40)
@given(data=st.data())
@pytest.mark.parametrize("metric", list(Metric))
def test_bits_don_t_depend_on_history(metric, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    count = data.draw(st.integers(1, 60))
    # Few distinct values, so that equal scores and equal vectors are common.
    vectors = rng.integers(-2, 3, (count, 4)).astype(np.float32)
    vectors[(vectors == 0).all(axis=1)] = 1
    ids = [f"{(7 * n) % 100:02}" for n in range(count)]
    keep = sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1)))
    grown = filled(FlatIndex, metric, vectors, ids, batch=data.draw(st.integers(1, 20)))
    grown.delete(np.array(sorted(set(range(count)) - set(keep)), np.int64))
    fresh = FlatIndex(metric, 4)
    order = data.draw(st.permutations(keep))
    fresh.add(np.arange(len(order)), [ids[row] for row in order], vectors[order])
    query = rng.integers(-2, 3, (1, 4)).astype(np.float32) + np.float32(0.5)
    k = data.draw(st.integers(1, 12))
    one, two = grown.search(query, k)[0], fresh.search(query, k)[0]
    assert [ids[row] for row in one.rows] == [ids[order[row]] for row in two.rows]
    assert one.scores.tobytes() == two.scores.tobytes()


def test_ties_go_to_the_smaller_id_beyond_what_faiss_fetches(make, metric):
    vectors = np.ones((3000, 8), np.float32)
    ids = [f"{(1301 * n) % 3000:04}" for n in range(3000)]
    index = filled(make, metric, vectors, ids)
    for queries in (vectors[:1], vectors[:5]):
        for found in index.search(queries, 5):
            assert [ids[row] for row in found.rows] == ["0000", "0001", "0002", "0003", "0004"]


def test_near_ties_below_float32_are_ordered_exactly(make):
    # Scores differ by 1e-9, which float32 can't see.
    vectors = np.zeros((2000, 2), np.float32)
    vectors[:, 0] = 1
    vectors[:, 1] = np.linspace(1e-4, 1e-3, 2000, dtype=np.float32)
    index = filled(make, Metric.DOT, vectors)
    query = np.array([[1, 1e-3]], np.float32)
    assert index.search(query, 3)[0].rows.tolist() == [1999, 1998, 1997]


@pytest.mark.parametrize("scale", [1e-25, 1e-15, 1e15, 1e25])
def test_lengths_beyond_float32_products_are_searched_exactly(make, metric, scale):
    rng = np.random.default_rng(0)
    vectors = (rng.standard_normal((3000, 16)) * scale).astype(np.float32)
    index = filled(make, metric, vectors)
    query = (rng.standard_normal(16) * scale).astype(np.float32)
    scored = [(nearness(metric.value, query, each), -row) for row, each in enumerate(vectors)]
    wanted = [-row for _, row in sorted(scored, reverse=True)[:5]]
    assert index.search(query[None, :], 5)[0].rows.tolist() == wanted


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(make, metric, value):
    index = make(metric, 3)
    bad = np.array([[1, 2, 3], [1, value, 3]], np.float32)
    with pytest.raises(VectorError, match="vector 1 has a value that is NaN or infinite"):
        index.add(np.arange(2), ["a", "b"], bad)
    assert index.parts == ()
    index.add(np.arange(1), ["a"], bad[:1])
    with pytest.raises(QueryError, match="NaN or infinite"):
        index.search(bad[1:], 1)


def test_other_misfits_are_refused(make):
    index = make(Metric.COSINE, 3)
    for bad, words in [
        (np.ones((1, 4), np.float32), r"shape \(1, 4\): \(1, 3\)"),
        (np.ones(3, np.float32), r"shape \(3,\)"),
        (np.ones((1, 3), np.int64), "int64: floats are wanted"),
        (np.zeros((1, 3), np.float32), "zero length"),
        (np.full((1, 3), 1e300), "infinite as float32"),
    ]:
        with pytest.raises(VectorError, match=words):
            index.add(np.arange(1), ["a"], bad)
    with pytest.raises(QueryError, match="zero length"):
        index.search(np.zeros((1, 3), np.float32), 1)


def test_any_float_layout_is_taken(make, metric):
    rng = np.random.default_rng(0)
    wide = rng.standard_normal((50, 6))
    plain = filled(make, metric, wide[:, ::2].astype(np.float32))
    strided = filled(make, metric, wide[:, ::2])
    query = rng.standard_normal((1, 3)).astype(np.float32)
    one, two = plain.search(query, 9)[0], strided.search(query.astype(np.float64), 9)[0]
    assert one.rows.tolist() == two.rows.tolist()
    assert one.scores.tobytes() == two.scores.tobytes()


def test_rows_without_a_vector_score_nan(make, metric):
    index = filled(make, metric, np.ones((3, 2), np.float32))
    scores = index.scores(np.ones(2, np.float32), np.array([1, 7], np.int64))
    assert np.isfinite(scores[0])
    assert np.isnan(scores[1])
    assert make(metric, 2).search(np.ones((2, 2), np.float32), 3)[1].rows.tolist() == []
