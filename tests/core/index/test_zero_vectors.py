"""Vectors of length zero, which have no cosine: words find their passages, with a warning."""

import numpy as np
import pytest

from twofold import Index, Retriever
from twofold.errors import DegradedWarning, QueryError

TEXTS = ["red apple", "green pear", "blue plum", "a red plum"]
PASSAGES = [{"id": str(n), "text": text} for n, text in enumerate(TEXTS)]


class Flaky:
    """Encodes a text by its colours; a text without one has the zero vector."""

    def encode_queries(self, texts):
        colours = [[float(colour in text) for colour in ("red", "green")] for text in texts]
        return np.array(colours, np.float32).reshape(-1, 2)

    def encode_passages(self, texts):
        # The canaries have no colour, but a vector.
        known = [text in TEXTS for text in texts]
        return self.encode_queries(texts) + np.array([[not is_known] for is_known in known])


@pytest.fixture
def index():
    with Index.open(None, encoder=Flaky(), metric="cosine") as opened:
        with pytest.warns(DegradedWarning, match="1 passages have a vector of length zero"):
            result = opened.upsert(PASSAGES)
        assert (result.added, result.zero_vectors, result.empty) == (4, 1, 0)
        yield opened


def test_a_passage_with_a_zero_vector_is_found_by_words(index):
    assert index.verify(deep=True).ok
    assert index.verify().vectors == 3
    assert Retriever(index, mode="hybrid").retrieve("red plum").ids[0] == "3"
    assert set(Retriever(index, mode="hybrid").retrieve("red plum").ids) == {"0", "1", "2", "3"}
    assert set(Retriever(index, mode="dense").retrieve("red").ids) == {"0", "1", "3"}
    assert Retriever(index, mode="dense").retrieve("red").why_not("2").stored
    assert index.upsert(PASSAGES).unchanged == 4


@pytest.mark.parametrize("mode", ["hybrid", "dense"])
def test_a_zero_query_vector_asks_the_words_alone(index, mode):
    retriever = Retriever(index, mode=mode)
    hits = retriever.retrieve("plum")
    words = Retriever(index, mode="lexical").retrieve("plum")
    assert "the query's vector has length zero" in hits.warnings[0]
    expected = words if mode == "hybrid" else []
    assert hits.ids == [hit.id for hit in expected]
    assert hits.scores.tolist() == [hit.score for hit in expected]
    assert hits.legs_used == (("lexical",) if mode == "hybrid" else ())
    assert hits.why_not("1").stored
    with pytest.raises(QueryError, match="length zero"):
        Retriever(index, mode=mode, strict=True).retrieve("plum")


@pytest.mark.parametrize("options", [{}, {"diversity": 0.5}, {"min_score": 0.1}, {"k": 1}])
def test_zero_query_vectors_among_others_change_no_answer(index, options):
    retriever = Retriever(index, **options)
    queries = ["plum", "red", " ", "pear", "green plum"]
    for query, hits in zip(queries, retriever.retrieve_many(queries), strict=True):
        alone = retriever.retrieve(query)
        assert hits.ids == alone.ids
        assert hits.scores.tolist() == alone.scores.tolist()
        assert hits.warnings == alone.warnings
        assert str(hits.explain())


def test_a_zero_vector_alone_finds_nothing_with_a_warning(index):
    hits = Retriever(index).retrieve(vector=np.zeros(2))
    assert (list(hits), hits.legs_used) == ([], ())
    assert any("length zero" in warning for warning in hits.warnings)
    many = Retriever(index).retrieve_many(vectors=[[0, 0], [1.0, 0]])
    assert (len(many[0]), many[1].ids[0]) == (0, "0")


@pytest.mark.parametrize("vector", [[0, 0], [1e-60, -1e-60], [2.0**-150, 0.0]])
def test_a_query_vector_that_is_zero_in_float32_asks_the_words(index, vector):
    hits = Retriever(index).retrieve("plum", vector=np.array(vector))
    assert set(hits.ids) == {"2", "3"}
    assert "length zero" in hits.warnings[0]


@pytest.mark.parametrize("vector", [[], [0.0], [0.0] * 3])
def test_a_zero_vector_of_other_dimensions_is_refused(index, vector):
    for query in ("plum", None):
        with pytest.raises(QueryError, match="must have shape"):
            Retriever(index).retrieve(query, vector=vector)


@pytest.mark.parametrize("zeros", [[0], [3], [0, 1, 2], [0, 1, 2, 3]])
def test_callers_may_pass_zero_vectors(tmp_path, zeros):
    vectors = np.ones((4, 3), np.float32)
    vectors[zeros] = 0
    with Index.open(tmp_path / "i", dim="first", metric="cosine") as index:
        with pytest.warns(DegradedWarning, match=f"{len(zeros)} passages have a vector of"):
            assert index.upsert(PASSAGES, vectors=vectors).zero_vectors == len(zeros)
        assert index.upsert(PASSAGES, vectors=vectors).unchanged == 4
        assert index.verify(deep=True).ok
        assert [hit.id for hit in Retriever(index, mode="lexical").retrieve("apple")] == ["0"]
        replaced = index.upsert(PASSAGES, vectors=np.ones((4, 3), np.float32))
        assert (replaced.updated, replaced.zero_vectors) == (len(zeros), 0)
        found = Retriever(index, mode="dense").retrieve(vector=np.ones(3, np.float32))
        assert len(found) == 4


def test_zero_vectors_stay_under_dot_and_euclidean():
    for metric in ("dot", "euclidean"):
        with Index.open(None, dim=2, metric=metric) as index:
            assert index.upsert(PASSAGES, vectors=np.zeros((4, 2), np.float32)).zero_vectors == 0
            assert len(Retriever(index, mode="dense").retrieve(vector=np.zeros(2))) == 4


def test_reencoding_leaves_zero_vectors_out():
    with Index.open(None, encoder="hashing") as index:
        index.upsert(PASSAGES)
        assert index.reencode(Flaky(), metric="cosine") == 4
        assert index.verify(deep=True).ok
        assert index.verify().vectors == 3
        index.reencode("hashing")
        assert index.verify().vectors == 4


def test_reencoding_passes_batches_of_zero_vectors_alone():
    texts = [f"plum {n}" for n in range(600)] + ["red apple"]
    with Index.open(None, encoder="hashing") as index:
        index.upsert(texts)

        class Sparse(Flaky):
            def encode_passages(self, given):
                zero = [text.startswith("plum") for text in given]
                return self.encode_queries(given) + ~np.array(zero)[:, None]

        assert index.reencode(Sparse(), metric="cosine") == 601
        assert index.verify(deep=True).ok
        assert index.verify().vectors == 1
