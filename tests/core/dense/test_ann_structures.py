"""Structures over vectors on disk: built by writes, verified, left out where damaged."""

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest

from twofold import HashingEncoder, Index, Retriever
from twofold.dense import HNSW, IVF, Auto, Flat, OneBit
from twofold.errors import InputError, QueryError, RebuildWarning

DIM = 128


def clusters(count, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((30, DIM))
    out = centres[rng.integers(0, 30, count)] + 0.6 * rng.standard_normal((count, DIM))
    return out.astype(np.float32)


def passages(start, stop):
    return [
        {"id": f"{n:06}", "text": f"word{n % 50}", "metadata": {"n": n}} for n in range(start, stop)
    ]


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """26,000 vectors, which the default kind no longer scans."""
    path = tmp_path_factory.mktemp("structures") / "index"
    with Index.open(path, dim=DIM, metric="euclidean") as index:
        index.upsert(passages(0, 26_000), vectors=clusters(26_000))
        assert index.index_type == HNSW()
        index.reindex(Auto(bits_from=25_000))
        assert index.index_type == OneBit()
    return path


@pytest.fixture
def copy(large, tmp_path):
    path = tmp_path / "copy"
    subprocess.run(["cp", "-r", large, path], check=True)
    return path


def answers(index, queries, **options):
    retriever = Retriever(index, mode="dense", k=10, **options)
    return [(hits.ids, hits.scores.tobytes()) for hits in retriever.retrieve_many(vectors=queries)]


def test_the_default_is_exact_while_it_is_small(tmp_path):
    with Index.open(tmp_path / "i", dim=DIM) as index:
        assert index.index_type == Flat()
        index.upsert(passages(0, 12_000), vectors=clusters(12_000))
        assert index.index_type == Flat()
        assert not list(tmp_path.rglob("*.dense"))


def test_few_dimensions_are_too_few_bits(tmp_path):
    with Index.open(tmp_path / "i", dim=16) as index:
        index.reindex(Auto(bits_from=20_000))
        index.upsert(passages(0, 21_000), vectors=clusters(21_000)[:, :16])
        assert index.index_type == HNSW()
        assert index.recall(50).mean > 0.95


def test_an_answer_is_the_same_by_batch_by_one_and_after_reopening(large):
    queries = clusters(40, seed=1)
    with Index.open(large) as index:
        together = answers(index, queries)
        alone = [answers(index, query[None, :])[0] for query in queries]
        exact = answers(index, queries, exact=True)
    assert together == alone
    with Index.open(large) as index:
        assert answers(index, queries) == together
    shared = [len(set(a[0]) & set(b[0])) for a, b in zip(together, exact, strict=True)]
    assert np.mean(shared) > 9.5


def test_effort_and_exact_are_chosen_by_query(large):
    queries = clusters(60, seed=2)
    with Index.open(large) as index:
        index_kind = index.reindex(IVF(probes=1))
        assert index_kind == IVF(probes=1)
        means = [index.recall(queries=queries, effort=effort).mean for effort in (1.0, 4.0, 1e6)]
        assert means[0] < means[1] <= means[2] == 1.0
        retriever = Retriever(index, mode="dense", k=10)
        best = retriever.retrieve(vector=queries[0], exact=True)
        assert retriever.retrieve(vector=queries[0], effort=1e6).ids == best.ids
        for effort in (0, -1, math.inf, math.nan, "2", True):
            with pytest.raises(QueryError, match="effort must be"):
                retriever.retrieve(vector=queries[0], effort=effort)
        index.reindex(Auto(bits_from=25_000))


def test_filters_return_all_that_match(large):
    with Index.open(large) as index:
        retriever = Retriever(index, mode="dense", k=50)
        for low in (0, 10_000, 25_000, 25_980, 26_000):
            hits = retriever.retrieve(vector=clusters(1)[0], where={"n": {"$gte": low}})
            assert len(hits) == min(50, 26_000 - low)
            assert all(hit.passage.metadata["n"] >= low for hit in hits)
            exact = retriever.retrieve(
                vector=clusters(1)[0], where={"n": {"$gte": low}}, exact=True
            )
            assert len(set(hits.ids) & set(exact.ids)) >= 0.9 * len(exact)


def test_additions_updates_and_deletes_show_at_once(copy):
    queries = clusters(20, seed=3)
    with Index.open(copy) as index:
        index.upsert([{"id": "new", "text": "new"}], vectors=queries[:1])
        retriever = Retriever(index, mode="dense", k=3)
        assert retriever.retrieve(vector=queries[0])[0].id == "new"
        index.upsert([{"id": "new", "text": "new"}], vectors=queries[1:2])
        assert retriever.retrieve(vector=queries[1])[0].id == "new"
        assert retriever.retrieve(vector=queries[0])[0].id != "new"
        found = retriever.retrieve(vector=queries[2]).ids
        index.delete(found)
        assert not set(found) & set(retriever.retrieve(vector=queries[2]).ids)
        index.delete(where={"n": {"$lt": 20_000}})
        hits = Retriever(index, mode="dense", k=7000).retrieve(vector=queries[4])
        assert len(hits) == len(index)
        assert index.verify(deep=True).ok


def test_a_growing_index_builds_as_it_grows_and_stays_searchable(tmp_path):
    vectors, queries = clusters(60_000), clusters(20, seed=4)
    with Index.open(tmp_path / "i", dim=DIM) as index:
        for start in range(0, 60_000, 4000):
            index.upsert(passages(start, start + 4000), vectors=vectors[start : start + 4000])
            hits = Retriever(index, mode="dense").retrieve(vector=vectors[start + 17])
            assert hits[0].id == f"{start + 17:06}"
        with index.view() as view:
            assert view.snapshot.dense.tail <= 10_000
            assert 1 <= len(view.snapshot.dense.structures) <= 5
        assert index.recall(queries=queries).mean > 0.85  # no structure within the clusters
        assert index.verify().ok


def test_a_damaged_structure_is_left_out_and_built_anew_by_a_write(copy):
    queries = clusters(10, seed=5)
    file = next((copy / "segments").glob("*.dense"))
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 4
    file.write_bytes(data)
    with Index.open(copy) as index:
        with pytest.warns(RebuildWarning, match="scanned, which is exact but slower"):
            found = answers(index, queries)
        assert found == answers(index, queries, exact=True)
        assert "is not what was written" in index.verify().problems[0]
        index.upsert([{"id": "z", "text": "z"}], vectors=queries[:1])
        assert index.verify().ok
        assert index.index_type == OneBit()
    file = next((copy / "segments").glob("*.dense"))
    file.unlink()
    with Index.open(copy) as index:
        with pytest.warns(RebuildWarning, match="missing"):
            assert len(answers(index, queries)) == 10
        index.delete(["z"])
        assert index.verify().ok


def test_a_forked_child_searches_structures(large):
    code = """
import os, sys, numpy as np
from twofold import Index, Retriever
index = Index.open(sys.argv[1])
queries = np.random.default_rng(0).standard_normal((64, 128)).astype(np.float32)
wanted = [h.ids for h in Retriever(index, mode="dense").retrieve_many(vectors=queries)]
child = os.fork()
if child == 0:
    found = [h.ids for h in Retriever(index, mode="dense").retrieve_many(vectors=queries)]
    os._exit(0 if found == wanted else 3)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, "-c", code, large], timeout=60, env=environment)
    assert done.returncode == 0


def test_reindex_tells_what_it_chose_and_keeps_it(copy):
    with Index.open(copy) as index:
        assert index.reindex("hnsw:float16") == HNSW(codes="float16")
        assert index.recall(50).mean > 0.95
    with Index.open(copy) as index:
        assert index.index_type == HNSW(codes="float16")
        assert index.reindex("auto") == HNSW()
        assert index.reindex("flat") == Flat()
        assert not list(copy.rglob("*.dense"))
        for bad in ("hsnw", 3, HNSW):
            with pytest.raises(InputError, match="index.type"):
                index.reindex(bad)
        assert index.index_type == Flat()


def test_recall_is_measured_and_can_be_low(copy):
    with Index.open(copy) as index:
        index.reindex(OneBit(lists=64, probes=1, rescored=11))
        poor = index.recall(100, k=10)
        assert poor.low <= poor.mean <= poor.high
        assert (poor.queries, poor.k) == (100, 10)
        assert poor.mean < 0.95
        index.reindex(Flat())
        assert index.recall(100).mean == 1.0
        for bad in ({"sample": 0}, {"k": 0}, {"queries": []}):
            with pytest.raises(QueryError):
                index.recall(**bad)
    with Index.open(None, encoder=HashingEncoder()) as empty:
        with pytest.raises(QueryError, match="needs stored vectors"):
            empty.recall()


def test_the_command_line_builds_searches_and_measures(copy, tmp_path):
    def twofold(*arguments):
        command = [sys.executable, "-m", "twofold", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    done = twofold("reindex", copy, "hnsw", "--json")
    assert json.loads(done.stdout)["kind"] == {"kind": "hnsw", **json_fields(HNSW())}
    done = twofold("reindex", copy, "hsnw")
    assert done.returncode == 2
    assert "did you mean 'hnsw'" in done.stderr
    done = twofold("recall", copy, "--sample", 50, "--json")
    assert json.loads(done.stdout)["mean"] > 0.9


def json_fields(kind):
    return {name: getattr(kind, name) for name in kind.__slots__}


def test_a_damaged_small_structure_is_built_anew_too(tmp_path):
    path = tmp_path / "i"
    with Index.open(path, dim=DIM) as index:
        index.upsert(passages(0, 3000), vectors=clusters(3000))
        index.reindex(HNSW())
    file = next((path / "segments").glob("*.dense"))
    file.unlink()
    with Index.open(path) as index:
        with pytest.warns(RebuildWarning):
            index.upsert([{"id": "z", "text": "z"}], vectors=clusters(1, seed=9))
        assert index.index_type == HNSW()
        assert index.verify().ok


def test_a_structure_outlives_the_growth_of_the_first_block(tmp_path):
    with Index.open(tmp_path / "i", dim=DIM) as index:
        index.upsert(passages(0, 200), vectors=clusters(200))
        index.reindex(HNSW())
        index.upsert(passages(200, 210), vectors=clusters(10, seed=1))
        assert index.index_type == HNSW()


def test_a_tail_far_from_the_origin_is_scanned_with_certainty(tmp_path):
    vectors = (np.random.default_rng(0).standard_normal((14_000, 32)) + 1e4).astype(np.float32)
    with Index.open(tmp_path / "i", dim=32, metric="euclidean") as index:
        index.upsert(passages(0, 9000), vectors=vectors[:9000])
        index.reindex("flat:int8")
        index.upsert(passages(9000, 14_000), vectors=vectors[9000:])
        retriever = Retriever(index, mode="dense")
        for place in range(9000, 9020):
            query = vectors[place] + np.float32(0.01)
            assert retriever.retrieve(vector=query)[0].id == f"{place:06}"


def test_a_query_without_a_length_leaves_the_others_alone(tmp_path):
    with Index.open(tmp_path / "i", dim=64, metric="dot") as index:
        index.upsert(passages(0, 6000), vectors=clusters(6000)[:, :64])
        index.reindex(IVF(probes=1))
        queries = clusters(20, seed=8)[:, :64].copy()
        without = [answers(index, query[None, :])[0] for query in queries]
        queries[7] = 0
        together = answers(index, queries)
        assert [a for n, a in enumerate(together) if n != 7] == without[:7] + without[8:]
        assert len(together[7][0]) == 10


@pytest.mark.parametrize("effort", [0, -1, math.nan, math.inf, 1e308, "x", True, None])
def test_a_meaningless_effort_is_refused(copy, effort):
    with Index.open(copy) as index, pytest.raises(QueryError, match="effort must be"):
        index.recall(10, effort=effort)


def test_recall_by_lists_and_bad_numbers(copy):
    with Index.open(copy) as index:
        assert index.recall(queries=clusters(3).tolist()).queries == 3
        for bad in ({"sample": 1.5}, {"sample": "3"}, {"k": 2.5}, {"queries": [1.0, 2.0]}):
            with pytest.raises(QueryError):
                index.recall(**bad)


def test_an_unknown_kind_makes_no_index(tmp_path):
    (tmp_path / "c.jsonl").write_text('{"_id": "1", "text": "one"}\n')
    command = [sys.executable, "-m", "twofold", "index", "c.jsonl", "--to", "i", "--kind", "hsnw"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "did you mean 'hnsw'" in done.stderr
    assert not (tmp_path / "i").exists()
