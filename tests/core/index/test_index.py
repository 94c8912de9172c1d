"""What an index promises to a caller, one call after the other."""

import numpy as np
import pytest

from twofold import HashingEncoder, Index, Metric, Passage, Retriever
from twofold.errors import (
    DegradedWarning,
    EncoderMismatchError,
    FilterError,
    InputError,
    PassageError,
    QueryError,
    VectorError,
)
from twofold.integrations import create_filled_index


class CountingEncoder(HashingEncoder):
    """Counts the passages that it encodes, canaries left out."""

    def __init__(self):
        self.encoded = []

    def encode_passages(self, texts):
        self.encoded += [text for text in texts if "lazy dog" not in text]
        return super().encode_passages(texts)

    def encode_queries(self, texts):
        return super().encode_passages(texts)


def canary_free(encoder):
    return [text for text in encoder.encoded if not text.startswith(("Plants", "Order", "Die"))]


def test_passages_come_back_as_they_were_given(index):
    metadata = {"a": [1, 2.5, "x", None, True], "b": {"c": "\u00fc"}, "big": 2**70}
    given = Passage(id="p1", title="T", text="some text", metadata=metadata)
    result = index.upsert([given, {"id": "p2", "text": "more", "metadata": None}, "just text"])
    assert (result.added, result.updated, result.unchanged) == (3, 0, 0)
    assert index.get(["p1"]) == [given]
    assert index.get(["missing", "p2", "p1"]) == [Passage(id="p2", text="more"), given]
    assert index.get([result.ids[2]])[0].text == "just text"
    assert len(index) == 3
    assert [each.id for each in index] == list(result.ids)
    assert "p1" in index
    assert "p3" not in index


def test_plain_texts_get_the_same_ids_again_and_repeats_share_one(index):
    first = index.upsert(["one", "two", "one"])
    assert first.ids[0] == first.ids[2] != first.ids[1]
    assert (first.added, first.unchanged, len(index)) == (2, 1, 2)
    again = index.upsert(["one", "two", "one"])
    assert again.ids == first.ids
    assert again.unchanged == 3


def test_an_update_replaces_and_a_delete_removes_in_both_legs(index):
    index.upsert([{"id": "a", "text": "red apple"}, {"id": "b", "text": "green pear"}])
    assert index.upsert([{"id": "a", "text": "blue plum"}]).updated == 1
    for mode in index.modes:
        retriever = Retriever(index, mode=mode)
        assert "red apple" not in [hit.passage.text for hit in retriever.retrieve("red apple")]
        assert retriever.retrieve("blue plum")[0].id == "a"
    assert index.delete(["a", "unknown", "a"]) == 1
    for mode in index.modes:
        assert [hit.id for hit in Retriever(index, mode=mode).retrieve("plum pear")] == ["b"]
    assert index.verify(deep=True).ok


def test_delete_by_filter_and_by_both(index):
    index.upsert({"id": f"{n}", "text": f"t{n}", "metadata": {"n": n}} for n in range(10))
    assert index.delete(where={"n": {"$lt": 3}}) == 3
    assert index.delete(["3", "9"], where={"n": {"$lt": 5}}) == 1
    assert index.delete(where={"n": 99}) == 0
    assert sorted(each.id for each in index) == ["4", "5", "6", "7", "8", "9"]
    assert index.count({"n": {"$gte": 8}}) == 2
    with pytest.raises(InputError, match="ids=, where= or both"):
        index.delete()
    with pytest.raises(InputError, match="list of ids, got str"):
        index.delete("4")


def test_unchanged_text_is_never_encoded_twice(tmp_path):
    encoder = CountingEncoder()
    with Index.open(tmp_path / "i", encoder=encoder) as index:
        index.upsert(
            [{"id": "a", "text": "one"}, {"id": "b", "text": "two"}, {"id": "c", "text": "one"}]
        )
        assert sorted(canary_free(encoder)) == ["one", "two"]
        index.upsert(
            [{"id": "a", "text": "one", "metadata": {"new": 1}}, {"id": "d", "text": "two"}]
        )
        index.upsert([{"id": "a", "text": "one", "metadata": {"new": 1}}])
        assert sorted(canary_free(encoder)) == ["one", "two"]
        assert index.count({"new": 1}) == 1
        hits = Retriever(index, mode="dense", k=4).retrieve("one")
        assert hits.scores[0] == hits.scores[1] == pytest.approx(1)
        assert hits.ids[:2] == ["a", "c"]


def test_everything_is_there_after_reopening(tmp_path):
    path = tmp_path / "i"
    with Index.open(path, encoder="hashing", metric="cosine") as index:
        index.upsert({"id": f"{n}", "text": f"word{n} common"} for n in range(50))
        index.delete(["7"])
        before = [(h.id, h.score) for h in Retriever(index).retrieve("word3 common")]
    with Index.open(path) as index:
        assert len(index) == 49
        assert index.metric is Metric.COSINE
        assert [(h.id, h.score) for h in Retriever(index).retrieve("word3 common")] == before
        index.upsert(["more"])
        assert len(index) == 50


def test_generators_commit_batch_by_batch_and_run_again(tmp_path):
    encoder = CountingEncoder()

    def stream(fail):
        for n in range(700):
            if fail and n == 600:
                raise RuntimeError("stopped")
            yield {"id": f"{n}", "text": f"text {n}"}

    with Index.open(tmp_path / "i", encoder=encoder) as index:
        with pytest.raises(RuntimeError, match="stopped"):
            index.upsert(stream(fail=True))
        assert len(index) == 512
        seen = []
        result = index.upsert(stream(fail=False), progress=seen.append)
        assert (result.added, result.unchanged) == (188, 512)
        assert seen[-1] == 700
        assert len(canary_free(encoder)) == 700


BAD = [
    ([{"id": "a", "text": "x"}, {"id": "a", "text": "y"}], PassageError, "'a' is given twice"),
    ([{"id": "a"}], PassageError, "'a' has no 'text'"),
    ([{"id": "a", "text": 3}], PassageError, "text must be a string, got int"),
    ([{"id": 1, "text": "x"}], PassageError, "id must be a string, got int"),
    ([{"id": "a", "txt": "x"}], PassageError, "unknown field 'txt'.*did you mean 'text'"),
    ([{"id": "a", "text": "x", "metadata": {"d": object()}}], PassageError, "stored as JSON"),
    ([{"id": "a", "text": "x", "metadata": {"d": float("nan")}}], PassageError, "stored as JSON"),
    ([{"id": "a", "text": "x", "metadata": {1: 2}}], PassageError, "keys must be strings"),
    ([{"id": "a", "text": "x", "metadata": [1]}], PassageError, "metadata must be a dict"),
    (
        [{"id": "a", "text": "half \ud800 pair"}],
        PassageError,
        "half a surrogate pair at character 5",
    ),
    ([{"id": "\ud800", "text": "x"}], PassageError, "half a surrogate"),
    ([{"id": "a", "text": "x" * 10_000_001}], PassageError, "10,000,001"),
    ([3], PassageError, "got int"),
    ("one text", PassageError, "put it into a list"),
]


@pytest.mark.parametrize(("passages", "error", "words"), BAD)
def test_bad_passages_leave_the_index_as_it_was(index, passages, error, words):
    index.upsert([{"id": "old", "text": "old text"}])
    with index.view() as view:
        before = view.corpus.generation
    good = [{"id": f"{n}", "text": f"good {n}"} for n in range(2000)]
    with pytest.raises(error, match=words):
        index.upsert(good + passages if isinstance(passages, list) else passages)
    with index.view() as view:
        assert view.corpus.generation == before
    assert [each.id for each in index] == ["old"]


@pytest.mark.parametrize(
    ("vectors", "words"),
    [
        (np.full((2, 4), np.nan, np.float32), "vector 0, of passage 'a', has a value that is NaN"),
        (np.ones((2, 5), np.float32), r"must have shape \(2, 4\), got \(2, 5\)"),
        (np.ones((3, 4), np.float32), r"must have shape \(2, 4\), got \(3, 4\)"),
        (np.ones((2, 4), np.int32), "vectors must be floats"),
        ([[1.0, 0, 0, 0], None], "vector 1 is None: pass a vector for every passage"),
        ([[1.0, 0, 0, 0], [1.0]], "vectors must be an array of floats"),
        ([[1.0, 0, 0, 0], [1.0, 0, 0, np.inf]], "vector 1, of passage 'b', has a value that is"),
        ([["a"] * 4, ["b"] * 4], "vectors must be an array of floats, got <U1"),
        (object(), "vectors must be an array of floats, got object"),
        (np.ones(4, np.float32), r"got \(4,\)"),
        (None, "no encoder, and 2 texts have no stored vector"),
    ],
)
def test_bad_vectors_leave_the_index_as_it_was(tmp_path, vectors, words):
    with Index.open(tmp_path / "i", dim=4) as index:
        index.upsert([{"id": "old", "text": "old"}], vectors=np.ones((1, 4), np.float32))
        with pytest.raises(VectorError, match=words):
            index.upsert([{"id": "a", "text": "x"}, {"id": "b", "text": "y"}], vectors=vectors)
        assert [each.id for each in index] == ["old"]


def test_callers_vectors(tmp_path):
    vectors = np.eye(4, dtype=np.float32)
    with Index.open(tmp_path / "i", dim=4, metric="dot") as index:
        index.upsert([{"id": f"{n}", "text": f"t{n}"} for n in range(4)], vectors=vectors)
        hits = Retriever(index).retrieve(vector=vectors[2])
        assert hits[0].id == "2"
        assert hits.legs_used == ("dense",)
        assert "not searched" in hits.warnings[0]
        with pytest.raises(QueryError, match="no encoder: pass"):
            Retriever(index).retrieve("t1")
        assert Retriever(index).retrieve("t1", vector=vectors[2])[0].id == "2"
        assert Retriever(index, mode="lexical").retrieve("t1").ids == ["1"]
        assert index.upsert([{"id": "1", "text": "t1"}], vectors=vectors[1:2]).unchanged == 1
        assert index.upsert([{"id": "1", "text": "t1"}], vectors=vectors[3:]).updated == 1
        assert Retriever(index, mode="dense", k=2).retrieve(vector=vectors[3]).ids == ["1", "3"]
        with pytest.raises(QueryError, match=r"got \(1, 3\)"):
            Retriever(index).retrieve(vector=np.ones(3, np.float32))


def test_callers_vectors_beside_an_encoder_have_its_dimensions(index):
    with pytest.raises(VectorError, match="256 dimensions, got 3"):
        index.upsert(["x"], vectors=np.ones((1, 3), np.float32))
    assert len(index) == 0
    vector = HashingEncoder().encode_passages(["another text"])
    index.upsert([{"id": "a", "text": "x"}], vectors=vector)
    assert Retriever(index, mode="dense").retrieve("another text")[0].score == pytest.approx(1)


def test_a_metadata_update_keeps_a_passages_own_vector(tmp_path):
    vectors = np.eye(3, dtype=np.float32)
    with Index.open(tmp_path / "i", dim=3, metric="dot") as index:
        same = [{"id": "a", "text": "same"}, {"id": "b", "text": "same"}, {"id": "c", "text": ""}]
        index.upsert(same, vectors=vectors)
        index.upsert([{**each, "metadata": {"new": 1}} for each in same])
        for place, each in enumerate("abc"):
            hit = Retriever(index, mode="dense").retrieve(vector=vectors[place])[0]
            assert (hit.id, hit.score) == (each, 1.0)
        with pytest.raises(VectorError, match="no encoder, and 1 texts"):
            index.upsert([{"id": "d", "text": "same"}])


def test_vectors_don_t_bypass_the_contract_with_the_model(tmp_path):
    with Index.open(tmp_path / "i", encoder="hashing", metric="cosine") as index:
        with pytest.raises(VectorError, match="256 dimensions, got 3"):
            index.upsert(["x"], vectors=np.ones((1, 3), np.float32))
        index.upsert(["x"], vectors=np.ones((1, 256), np.float32))
    with pytest.raises(EncoderMismatchError):
        Index.open(tmp_path / "i", encoder="all-MiniLM-L6-v2")


def test_a_nan_anywhere_is_seen_before_anything_is_written(index):
    vectors = np.ones((2000, 256), np.float32)
    vectors[1500, 7] = np.nan
    passages = [{"id": f"p{n}", "text": f"text {n}"} for n in range(2000)]
    with pytest.raises(VectorError, match="vector 1500, of passage 'p1500', has a value"):
        index.upsert(passages, vectors=vectors)
    with pytest.raises(PassageError, match="put it into a list"):
        index.upsert({"id": "a", "text": "x"}, vectors=vectors[:2])
    assert len(index) == 0


def test_one_leg_alone(tmp_path):
    with Index.open(tmp_path / "words", encoder=None) as index:
        assert index.modes == ("lexical",)
        index.upsert(["red apple", "green pear"])
        assert len(Retriever(index, mode="lexical").retrieve("apple")) == 1
        with pytest.raises(QueryError, match="can't serve mode 'hybrid'"):
            Retriever(index)
        with pytest.raises(VectorError, match="no dense leg"):
            index.upsert(["x"], vectors=np.ones((1, 2), np.float32))
    with Index.open(tmp_path / "vectors", encoder="hashing", analyzer=None) as index:
        assert index.modes == ("dense",)
        index.upsert(["red apple", "green pear"])
        assert Retriever(index, mode="dense").retrieve("apple")[0].passage.text == "red apple"
        assert index.verify(deep=True).ok
    with pytest.raises(InputError, match="no leg"):
        Index.open(tmp_path / "nothing", encoder=None, analyzer=None)
    assert not (tmp_path / "nothing").exists()


def test_passages_without_words_are_kept_and_counted(index):
    with pytest.warns(DegradedWarning, match="2 passages have no words"):
        result = index.upsert(
            [{"id": "a", "text": ""}, {"id": "b", "text": "  "}, {"id": "c", "text": "x"}]
        )
    assert result.empty == 2
    assert len(index) == 3
    assert index.upsert([{"id": "t", "text": "", "title": "a title alone"}]).empty == 0
    assert set(Retriever(index, k=9).retrieve("title alone").ids) == {"t", "c"}


def test_ids_are_checked(index):
    index.upsert([{"id": "1", "text": "x"}])
    for bad in ([1], ["\ud800"], [("1",)]):
        with pytest.raises(InputError, match="an id must be a string"):
            index.delete(bad)
        with pytest.raises(InputError, match="an id must be a string"):
            index.get(bad)
    assert len(index) == 1


def test_filters_are_checked_before_anything_else(index):
    index.upsert(["x"])
    with pytest.raises(FilterError, match="unknown operator"):
        index.delete(where={"a": {"$bad": 1}})
    with pytest.raises(FilterError, match="unknown operator"):
        index.count({"a": {"$bad": 1}})
    assert len(index) == 1


def test_warm_loads_what_a_first_query_needs(index):
    index.warm()
    index.upsert(["a text"])
    index.warm()
    with index.view() as view:
        assert view.snapshot.dense._index is not None


def test_vectors_of_any_dimensions(tmp_path):
    with Index.open(tmp_path / "v", dim="first") as index:
        assert index.dim is None
        assert Retriever(index, mode="dense").retrieve(vector=np.ones(3, np.float32)).ids == []
        index.upsert(["a", "b"], vectors=np.eye(2, 3, dtype=np.float32))
        assert (index.dim, index.metric.value, index.encoder) == (3, "cosine", None)
        with pytest.raises(ValueError, match="dimensions|shape"):
            index.upsert(["c"], vectors=np.ones((1, 4), np.float32))
    with Index.open(tmp_path / "v", dim="first") as again:
        assert again.dim == 3
    with Index.open(tmp_path / "w", encoder=None), pytest.raises(ValueError, match="dim=None"):
        Index.open(tmp_path / "w", dim="first")
    with pytest.raises(InputError, match="integer from 1 to 65,536 or 'first'"):
        Index.open(tmp_path / "x", dim="any")


def test_an_index_filled_with_the_vectors_of_the_first_passages(tmp_path):
    """The others are encoded, and the write lock is let go."""
    texts, encoder = ["one", "two", "three"], HashingEncoder()
    vectors = np.eye(2, encoder.identity.dim, dtype=np.float32)
    choices = {"metric": None, "analyzer": "english"}
    for _ in range(2):
        filled = create_filled_index(
            tmp_path / "i", texts, encoder=encoder, vectors=vectors, **choices
        )
    with filled.view() as view:
        stored = view.fetch(ids=[each.id for each in filled], vectors=True)
    assert stored.has_vector.all()
    assert (
        stored.vectors.tolist()
        == np.concatenate([vectors, encoder.encode_passages(texts[2:])]).tolist()
    )
    filled.close()
    own = create_filled_index(
        None, texts[:2], encoder=None, dim="first", vectors=vectors, **choices
    )
    assert own.encoder is None
    assert Retriever(own, mode="dense", k=1).retrieve(vector=vectors[1])[0].passage.text == "two"
    own.close()
