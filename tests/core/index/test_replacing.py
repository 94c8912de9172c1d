"""One rule for ids that aren't given, and replacing a whole index in one commit."""

import numpy as np
import pytest

from twofold import Index, Passage, Retriever
from twofold.errors import PassageError

SAME = [
    ["foo", "foo"],
    ["foo", "bar", "foo"],
    [{"text": "foo", "title": "t", "metadata": {"a": 1}}] * 3,
    [Passage("foo", metadata={"a": (1,)}), Passage("foo", metadata={"a": [1]})],
    ["", ""],
]


@pytest.mark.parametrize("passages", SAME)
@pytest.mark.parametrize("sizes", [[9], [1, 9], [2, 1, 9]])
@pytest.mark.filterwarnings("ignore:.*no words")
def test_the_same_content_is_one_passage_however_it_is_batched(passages, sizes):
    with Index.open(None, encoder="hashing") as index:
        rest, ids = list(passages), []
        for size in sizes:
            part, rest = rest[:size], rest[size:]
            result = index.upsert(part)
            ids += result.ids
            assert result.added + result.updated + result.unchanged == len(part)
        assert len(ids) == len(passages)
        assert sorted({*ids}) == sorted(passage.id for passage in index)
        assert len(index) == len({*ids}) == len({str(passage) for passage in index})


@pytest.mark.parametrize("as_stream", [False, True])
def test_repeats_beyond_a_batch_are_one_passage(as_stream):
    passages = ["foo", *(f"text {n}" for n in range(600)), "foo"]
    with Index.open(None, encoder="hashing") as index:
        result = index.upsert(iter(passages) if as_stream else passages)
        assert (result.added, result.unchanged, len(index)) == (601, 1, 601)
        assert result.ids[0] == result.ids[-1]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"text": "foo"}, {"text": "foo", "title": "t"}),
        ({"text": "foo"}, {"text": "foo", "metadata": {"a": 1}}),
        ({"text": "foo", "metadata": {"a": 1}}, {"text": "foo", "metadata": {"a": 1.0}}),
        ({"text": "foo"}, {"text": "foo", "id": "a"}),
    ],
)
def test_other_content_is_another_passage(first, second):
    with Index.open(None, encoder=None) as index:
        index.upsert([first, second])
        assert len(index) == 2


@pytest.mark.parametrize("sizes", [[2], [1, 1]])
def test_of_repeats_with_vectors_the_last_counts(sizes):
    vectors = np.eye(2, dtype=np.float32)
    with Index.open(None, encoder=None, dim=2) as index:
        start = 0
        for size in sizes:
            index.upsert(["foo"] * size, vectors=vectors[start : start + size])
            start += size
        assert len(index) == 1
        assert Retriever(index, mode="dense").retrieve(vector=vectors[1])[0].score == 1


def test_a_given_id_may_not_repeat():
    with Index.open(None, encoder=None) as index:
        with pytest.raises(PassageError, match="'a' is given twice"):
            index.upsert([{"id": "a", "text": "foo"}, "bar", {"id": "a", "text": "foo"}])
        assert len(index) == 0


@pytest.mark.parametrize("encoder", [None, "hashing"])
@pytest.mark.parametrize("as_stream", [False, True])
@pytest.mark.parametrize("new", [[], ["b1"], [f"new {n}" for n in range(700)]])
def test_replace_all_is_one_commit(tmp_path, encoder, as_stream, new):
    with Index.open(tmp_path / "i", encoder=encoder) as index:
        index.upsert([{"id": "kept", "text": "b1"}, *(f"old {n}" for n in range(400))])
        passages = [{"id": "kept", "text": "b1"}, *new] if new else []
        with index.view() as before:
            generation = before.corpus.generation
            result = index.upsert(iter(passages) if as_stream else passages, replace_all=True)
            assert before.corpus.passages == 401  # who reads sees the old ones to the end
        texts = {passage["text"] if isinstance(passage, dict) else passage for passage in passages}
        assert {passage.text for passage in index} == texts
        assert result.unchanged == (1 if new else 0)
        assert not Retriever(index, mode="lexical").retrieve("old")
        with index.view() as after:
            assert after.corpus.passages == len(passages)
            if encoder is None and not new:
                assert after.corpus.generation == generation + 1
        assert index.verify(deep=True).ok
    with Index.open(tmp_path / "i", encoder=encoder) as index:
        assert len(index) == len(passages)


def test_a_reader_never_sees_an_index_without_its_passages(tmp_path):
    """Whoever reads while the passages are replaced finds all old ones, or all new ones."""
    with Index.open(tmp_path / "i", encoder=None) as index:
        index.upsert([f"old {n}" for n in range(600)])
        reader = Index.open(tmp_path / "i", read_only=True)
        seen = []

        def passages():
            for n in range(700):
                if n % 100 == 0:
                    seen.append({passage.text.split()[0] for passage in reader})
                yield f"new {n}"

        index.upsert(passages(), replace_all=True)
        assert seen == [{"old"}] * 7
        assert {passage.text.split()[0] for passage in reader} == {"new"}
        assert len(reader) == 700
        reader.close()


def test_a_bad_passage_replaces_nothing():
    with Index.open(None, encoder=None) as index:
        index.upsert(["old"])
        for bad in ([{"text": "new"}, {"text": 3}], iter(["new", 3])):
            with pytest.raises(PassageError):
                index.upsert(bad, replace_all=True)
        assert [passage.text for passage in index] == ["old"]


def test_replace_all_with_vectors():
    vectors = np.eye(3, dtype=np.float32)
    with Index.open(None, encoder=None, dim=3) as index:
        index.upsert(["a", "b"], vectors=vectors[:2])
        index.upsert(["b", "c"], vectors=vectors[1:], replace_all=True)
        retriever = Retriever(index, mode="dense")
        assert [hit.passage.text for hit in retriever.retrieve(vector=vectors[2])] == ["c", "b"]
