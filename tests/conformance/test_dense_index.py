"""One suite for every dense index and metric: scores against a plain oracle."""

import functools
import io
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oracles import nearness
from twofold import Metric
from twofold.dense import (
    HNSW,
    IVF,
    IVFPQ,
    AnnStructure,
    ApproximateIndex,
    Auto,
    Flat,
    OneBit,
    PassageVectors,
    VectorBlock,
    index_type_as_dict,
    index_type_from_dict,
    index_type_from_name,
)
from twofold.encoders import encoder_from_name
from twofold.errors import InputError, QueryError, VectorError
from twofold.validation import check_vectors

KINDS = [
    Auto(),
    Flat("float16"),
    Flat("int8"),
    HNSW(),
    HNSW(links=16, codes="float32"),
    HNSW(codes="float16"),
    IVF(),
    IVF(lists=8, probes=8, codes="float16"),
    IVF(lists=8, probes=4, codes="float32"),
    IVFPQ(),
    OneBit(),
]


class GrowingIndex:
    """An index that is built anew after each change, as one of a folder is by each write."""

    def __init__(self, kind, metric, dim):
        self.kind, self.metric, self.dim = kind, metric, dim
        self.blocks, self.structures = (), ()
        self.ids = {}
        self.change()

    def __getattr__(self, name):
        return getattr(self.index, name)

    def ids_of(self, rows):
        return [self.ids[row] for row in rows.tolist()]

    def change(self, *, compact=False):
        parts = self.kind, self.metric, self.dim, self.blocks
        self.index = ApproximateIndex(*parts, self.structures, self.ids_of)
        plans = self.index.plan_builds(compact=compact)
        if plans is not None:
            self.structures = tuple(self.index.build(plan) for plan in plans)
            self.index = ApproximateIndex(*parts, self.structures, self.ids_of)

    def add(self, rows, ids, vectors):
        stored = self.metric.prepare(check_vectors(vectors, self.dim, len(rows)))
        self.ids.update(zip(rows.tolist(), ids, strict=True))
        block = VectorBlock.from_vectors(self.metric, PassageVectors(rows, stored))
        self.blocks = (*self.blocks, block)
        self.change()

    def delete(self, rows):
        self.blocks = tuple(block.without(rows) for block in self.blocks)
        self.change()


IMPLEMENTATIONS = {
    "flat": functools.partial(GrowingIndex, Flat()),
    "approximate": functools.partial(GrowingIndex, OneBit()),
}


@pytest.fixture(params=IMPLEMENTATIONS)
def make(request):
    return IMPLEMENTATIONS[request.param]


@pytest.fixture(params=KINDS, ids=str)
def kind(request):
    return request.param


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
    assert len(found.keys) == len(wanted)
    # Rows may swap only where the oracle can't tell their scores apart.
    for row, (score, _) in zip(found.keys.tolist(), wanted, strict=True):
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
            assert alone.keys.tolist() == batch.keys.tolist()
            assert alone.scores.tobytes() == batch.scores.tobytes()
            check(alone, expected(metric, query, vectors, keep)[:10])
            assert alone.scores.tobytes() == index.scores(query, alone.keys).tobytes()


def test_hundreds_of_queries_at_once(make, metric):
    rng = np.random.default_rng(1)
    index = filled(make, metric, rng.standard_normal((1500, 8)).astype(np.float32))
    queries = rng.standard_normal((600, 8)).astype(np.float32)
    together = index.search(queries, 3)
    assert len(together) == 600
    for place in (0, 255, 256, 599):
        alone = index.search(queries[place : place + 1], 3)[0]
        assert alone.keys.tolist() == together[place].keys.tolist()
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
    grown = filled(
        IMPLEMENTATIONS["flat"], metric, vectors, ids, batch=data.draw(st.integers(1, 20))
    )
    grown.delete(np.array(sorted(set(range(count)) - set(keep)), np.int64))
    fresh = GrowingIndex(Flat(), metric, 4)
    order = data.draw(st.permutations(keep))
    fresh.add(np.arange(len(order)), [ids[row] for row in order], vectors[order])
    query = rng.integers(-2, 3, (1, 4)).astype(np.float32) + np.float32(0.5)
    k = data.draw(st.integers(1, 12))
    one, two = grown.search(query, k)[0], fresh.search(query, k)[0]
    assert [ids[row] for row in one.keys] == [ids[order[row]] for row in two.keys]
    assert one.scores.tobytes() == two.scores.tobytes()


def test_ties_go_to_the_smaller_id_beyond_what_faiss_fetches(make, metric):
    vectors = np.ones((3000, 8), np.float32)
    ids = [f"{(1301 * n) % 3000:04}" for n in range(3000)]
    index = filled(make, metric, vectors, ids)
    for queries in (vectors[:1], vectors[:5]):
        for found in index.search(queries, 5):
            assert [ids[row] for row in found.keys] == ["0000", "0001", "0002", "0003", "0004"]


def test_near_ties_below_float32_are_ordered_exactly(make):
    # Scores differ by 1e-9, which float32 can't see.
    vectors = np.zeros((2000, 2), np.float32)
    vectors[:, 0] = 1
    vectors[:, 1] = np.linspace(1e-4, 1e-3, 2000, dtype=np.float32)
    index = filled(make, Metric.DOT, vectors)
    query = np.array([[1, 1e-3]], np.float32)
    assert index.search(query, 3)[0].keys.tolist() == [1999, 1998, 1997]


@pytest.mark.parametrize("scale", [1e-25, 1e-15, 1e15, 1e25])
def test_lengths_beyond_float32_products_are_searched_exactly(make, metric, scale):
    rng = np.random.default_rng(0)
    vectors = (rng.standard_normal((3000, 16)) * scale).astype(np.float32)
    index = filled(make, metric, vectors)
    query = (rng.standard_normal(16) * scale).astype(np.float32)
    scored = [(nearness(metric.value, query, each), -row) for row, each in enumerate(vectors)]
    wanted = [-row for _, row in sorted(scored, reverse=True)[:5]]
    assert index.search(query[None, :], 5)[0].keys.tolist() == wanted


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(make, metric, value):
    index = make(metric, 3)
    bad = np.array([[1, 2, 3], [1, value, 3]], np.float32)
    with pytest.raises(VectorError, match="vector 1 has a value that is NaN or infinite"):
        index.add(np.arange(2), ["a", "b"], bad)
    assert index.blocks == ()
    index.add(np.arange(1), ["a"], bad[:1])
    with pytest.raises(QueryError, match="NaN or infinite"):
        index.search(bad[1:], 1)


def test_other_misfits_are_refused(make):
    index = make(Metric.COSINE, 3)
    for bad, words in [
        (np.ones((1, 4), np.float32), r"shape \(1, 3\), got \(1, 4\)"),
        (np.ones(3, np.float32), r"got \(3,\)"),
        (np.ones((1, 3), np.int64), "floats, best float32, got int64"),
        (np.zeros((1, 3), np.float32), "length zero"),
        (np.full((1, 3), 1e300), "infinite as float32"),
    ]:
        with pytest.raises(VectorError, match=words):
            index.add(np.arange(1), ["a"], bad)
    with pytest.raises(QueryError, match="length zero"):
        index.search(np.zeros((1, 3), np.float32), 1)


def test_any_float_layout_is_taken(make, metric):
    rng = np.random.default_rng(0)
    wide = rng.standard_normal((50, 6))
    plain = filled(make, metric, wide[:, ::2].astype(np.float32))
    strided = filled(make, metric, wide[:, ::2])
    query = rng.standard_normal((1, 3)).astype(np.float32)
    one, two = plain.search(query, 9)[0], strided.search(query.astype(np.float64), 9)[0]
    assert one.keys.tolist() == two.keys.tolist()
    assert one.scores.tobytes() == two.scores.tobytes()


def test_rows_without_a_vector_score_nan(make, metric):
    index = filled(make, metric, np.ones((3, 2), np.float32))
    scores = index.scores(np.ones(2, np.float32), np.array([1, 7], np.int64))
    assert np.isfinite(scores[0])
    assert np.isnan(scores[1])
    assert make(metric, 2).search(np.ones((2, 2), np.float32), 3)[1].keys.tolist() == []


def near_ones(rng, count, dim=48):
    """Vectors in clusters, of lengths from a half to two."""
    centres = rng.standard_normal((20, dim))
    vectors = centres[rng.integers(0, 20, count)] + 0.7 * rng.standard_normal((count, dim))
    return (vectors * rng.uniform(0.5, 2, (count, 1))).astype(np.float32)


def test_structures_propose_and_stored_vectors_decide(kind, metric):
    rng = np.random.default_rng(3)
    vectors = near_ones(rng, 6000)
    index = GrowingIndex(kind, metric, vectors.shape[1])
    ids = [f"{n:06}" for n in range(6000)]
    index.add(np.arange(5000), ids[:5000], vectors[:5000])
    index.change(compact=True)
    assert len(index.structures) == (0 if kind == Auto() else 1)
    index.add(np.arange(5000, 6000), ids[5000:], vectors[5000:])  # a tail
    dead = rng.choice(6000, 900, replace=False)
    index.delete(dead)
    queries = near_ones(rng, 12)
    live = np.setdiff1d(np.arange(6000), dead)
    for share in (None, 0.9, 0.3, 0.002):
        mask = None if share is None else rng.random(6000) < share
        keep = [row for row in live.tolist() if mask is None or mask[row]]
        found = 0
        for query, hits in zip(queries, index.search(queries, 10, mask), strict=True):
            assert len(hits.keys) == min(10, len(keep))
            assert set(hits.keys.tolist()) <= set(keep)
            scores = [nearness(metric.value, query, vectors[row]) for row in hits.keys.tolist()]
            np.testing.assert_allclose(hits.scores, scores, atol=3e-6)
            assert (np.diff(hits.scores) <= 0).all()
            best = {row for _, row in expected(metric, query, vectors, keep)[:10]}
            found += len(best & set(hits.keys.tolist())) / len(best)
            exact = index.search(query[None, :], 10, mask, math.inf)[0]
            check(exact, expected(metric, query, vectors, keep)[:10])
        assert found / len(queries) > 0.9


def test_a_batch_is_its_queries(kind, metric):
    rng = np.random.default_rng(4)
    index = filled(functools.partial(GrowingIndex, kind), metric, near_ones(rng, 4000))
    index.change(compact=True)
    queries = near_ones(rng, 70)
    for query, together in zip(queries, index.search(queries, 5), strict=True):
        alone = index.search(query[None, :], 5)[0]
        assert alone.keys.tolist() == together.keys.tolist()
        assert alone.scores.tobytes() == together.scores.tobytes()


def test_more_effort_finds_no_less(kind):
    rng = np.random.default_rng(5)
    vectors = rng.standard_normal((8000, 64)).astype(np.float32)  # the hardest: no clusters
    index = filled(functools.partial(GrowingIndex, kind), Metric.EUCLIDEAN, vectors)
    index.change(compact=True)
    queries = rng.standard_normal((30, 64)).astype(np.float32)
    best = [set(hits.keys.tolist()) for hits in index.search(queries, 10, effort=math.inf)]

    def recall(effort):
        found = index.search(queries, 10, effort=effort)
        return np.mean([len(b & set(f.keys.tolist())) for b, f in zip(best, found, strict=True)])

    assert recall(0.3) <= recall(1.0) + 0.1
    assert recall(1.0) <= recall(30.0) + 1e-9
    assert recall(30.0) > 9.9


def test_a_structure_reads_back_as_it_was_written(kind, metric):
    rng = np.random.default_rng(6)
    vectors = near_ones(rng, 3000)
    index = filled(functools.partial(GrowingIndex, kind), metric, vectors)
    index.change(compact=True)
    for structure in index.structures:
        file = io.BytesIO()
        structure.write(file)
        again = AnnStructure.read(file.getvalue())
        assert again.index_type == structure.index_type
        assert again.rows.tolist() == structure.rows.tolist()
        queries = metric.prepare(near_ones(rng, 9))
        one, two = (each.propose(queries, 10, 1.0, None) for each in (structure, again))
        assert one.tolist() == two.tolist()


def test_structures_follow_growth_and_shrinkage():
    rng = np.random.default_rng(7)
    index = GrowingIndex(OneBit(), Metric.COSINE, 16)
    for start in range(0, 100_000, 5000):
        some = rng.standard_normal((5000, 16)).astype(np.float32)
        rows = np.arange(start, start + 5000)
        index.add(rows, [f"{row:06}" for row in rows], some)
        tail = start + 5000 - sum(len(each.rows) for each in index.structures)
        assert 0 <= tail <= 10_000
    assert 1 < len(index.structures) < 6
    index.change(compact=True)
    assert [len(each.rows) for each in index.structures] == [100_000]
    assert index.plan_builds() is None
    index.delete(np.arange(0, 60_000))
    assert [len(each.rows) for each in index.structures] == [40_000]
    index.delete(np.arange(0, 100_000))
    assert index.structures == ()
    assert len(index.search(np.ones((1, 16), np.float32), 5)[0].keys) == 0


@pytest.mark.parametrize(
    ("make_kind", "words"),
    [
        (lambda: HNSW(links=1), "HNSW.links must be an integer from 2 to 512, got 1"),
        (lambda: HNSW(links=2**31), "from 2 to 512, got 2147483648"),
        (lambda: HNSW(build_effort=2**40), "from 1 to 16,777,216, got"),
        (lambda: HNSW(search_effort=0), "search_effort must be an integer from 1 to .*, got 0"),
        (lambda: IVF(probes=True), "probes must be an integer .* got True"),
        (lambda: IVF(lists=2.5), "lists must be an integer .* got 2.5"),
        (lambda: OneBit(rescored=0), "rescored must be an integer .* got 0"),
        (lambda: Flat("float8"), "codes must be one of 'float32', 'float16', 'int8', got 'float8'"),
        (lambda: index_type_from_name("hsnw"), "did you mean 'hnsw'"),
        (lambda: index_type_from_name("one-bit:int8"), "unknown index type 'one-bit:int8'"),
        (lambda: index_type_from_name("hnsw:int9"), "codes must be one of .* got 'int9'"),
    ],
)
def test_kinds_that_can_t_be_are_refused(make_kind, words):
    with pytest.raises(InputError, match=words):
        make_kind()


def test_kinds_keep_their_form_as_json():
    for kind in KINDS:
        assert index_type_from_dict(json.loads(json.dumps(index_type_as_dict(kind)))) == kind
    assert index_type_from_name("hnsw:float16") == HNSW(codes="float16")


@pytest.fixture(scope="module")
def real(abstracts, claims):
    """Titles and claims by a real model, of lengths that a dot product tells apart."""
    model = encoder_from_name("all-MiniLM-L6-v2")
    titles = model.encode_passages([each["title"] for each in abstracts])
    return titles * np.linspace(0.6, 1.6, len(titles), dtype=np.float32)[:, None], (
        model.encode_queries(claims[:25])
    )


def test_real_vectors(kind, metric, real):
    vectors, queries = real
    index = filled(functools.partial(GrowingIndex, kind), metric, vectors)
    index.delete(np.arange(0, 1000, 9))
    index.change(compact=True)
    allowed = np.arange(1000) % 4 != 1
    for mask in (None, allowed):
        keep = [n for n in range(1000) if n % 9 and (mask is None or mask[n])]
        found = []
        for query, hits in zip(queries, index.search(queries, 10, mask), strict=True):
            best = expected(metric, query, vectors, keep)[:10]
            scores = [nearness(metric.value, query, vectors[row]) for row in hits.keys.tolist()]
            np.testing.assert_allclose(hits.scores, scores, atol=3e-6)
            found.append(len({row for _, row in best} & set(hits.keys.tolist())))
        assert np.mean(found) > (7 if isinstance(kind, IVF | IVFPQ) else 9.5)
