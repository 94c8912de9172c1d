"""Opening and closing an index: what is refused, who holds it, and when it goes."""

import copy
import pickle
import shutil

import pytest

from twofold import HashingEncoder, Index, Metric, Retriever
from twofold.errors import (
    EncoderNotFoundError,
    IndexClosedError,
    IndexMismatchError,
    IndexNotFoundError,
    InputError,
    ReadOnlyError,
    UnsupportedStorageError,
)


def test_settings_follow_what_another_writer_chose(tmp_path):
    with Index.open(tmp_path / "i", encoder="hashing") as early:
        assert early.dim is None
        with Index.open(tmp_path / "i") as writer:
            writer.upsert(["x"])
        assert (early.dim, early.metric) == (256, Metric.COSINE)
        early.upsert(["y"])
        assert early.verify(deep=True).ok


def test_what_contradicts_the_stored_is_refused(tmp_path):
    path = tmp_path / "i"
    with Index.open(path, encoder="hashing") as index:
        index.upsert(["x"])
    for arguments, words in [
        ({"metric": "dot"}, "metric='cosine' and opened with metric='dot'"),
        ({"dim": 7}, "dim=256 and opened with dim=7"),
        ({"analyzer": None}, "analyzer='english' and opened with analyzer=None"),
        ({"encoder": None}, "encoder='hashing' and opened with encoder=None"),
    ]:
        with pytest.raises(IndexMismatchError, match=words):
            Index.open(path, **arguments)
    with pytest.raises(InputError, match="unknown metric 'manhattan'"):
        Index.open(path, metric="manhattan")
    with pytest.raises(InputError, match="unknown analyzer"):
        Index.open(path, analyzer="latin")


def test_where_there_is_no_index(tmp_path):
    with pytest.raises(IndexNotFoundError, match="there is no index at"):
        Index.open(tmp_path / "missing", create=False)
    with pytest.raises(IndexNotFoundError, match="there is no index at"):
        Index.open(tmp_path / "missing", read_only=True)
    assert not (tmp_path / "missing").exists()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "photo.jpg").write_bytes(b"x")
    with pytest.raises(IndexNotFoundError, match=r"not an index: it holds 'photo.jpg'"):
        Index.open(tmp_path / "folder")
    assert sorted(p.name for p in (tmp_path / "folder").iterdir()) == ["photo.jpg"]
    with pytest.raises(IndexNotFoundError, match="is a file"):
        Index.open(tmp_path / "folder" / "photo.jpg")
    with pytest.raises(EncoderNotFoundError, match="no model folder"):
        Index.open(tmp_path / "new", encoder="./no/such/model")
    with pytest.raises(InputError, match="path must be a folder"):
        Index.open("")
    with pytest.raises(InputError, match="encode_queries and encode_passages"):
        Index.open(tmp_path / "new", encoder=print)


def test_what_is_not_chosen_yet_can_t_be_contradicted_either(tmp_path):
    with Index.open(tmp_path / "words", encoder=None):
        pass
    for arguments in ({"dim": 4}, {"metric": "dot"}, {"encoder": "hashing"}):
        with pytest.raises(IndexMismatchError):
            Index.open(tmp_path / "words", **arguments)


def test_one_writer_and_read_only(tmp_path):
    path = tmp_path / "i"
    with Index.open(path, encoder="hashing") as writer:
        writer.upsert(["x"])
        with Index.open(path) as second:
            assert len(second) == 1
            second.upsert(["y"])
            writer.upsert(["z"])
            assert len(second) == len(writer) == 3
        with Index.open(path, read_only=True) as reader:
            with pytest.raises(ReadOnlyError, match="read_only=True"):
                reader.upsert(["y"])
            with pytest.raises(ReadOnlyError):
                reader.delete(["y"])
    with Index.open(path) as next_writer:
        next_writer.upsert(["w"])
        assert len(next_writer) == 4


def test_the_lock_goes_with_the_last_reference(tmp_path):
    path = tmp_path / "i"
    index = Index.open(path, encoder="hashing")
    index.upsert(["x"])
    hits = Retriever(index).retrieve("x")
    del index
    with Index.open(path) as second:
        second.upsert(["y"])
    assert hits[0].passage.text == "x"


def test_a_closed_index_says_so(index):
    index.close()
    index.close()
    for call in (lambda: len(index), lambda: index.upsert(["x"]), lambda: index.delete(["x"])):
        with pytest.raises(IndexClosedError, match="was closed"):
            call()


def test_a_temporary_index_goes_when_closed():
    with Index.open(None, encoder="hashing") as index:
        index.upsert(["x"])
        path = index.path
        assert path.exists()
    assert not path.exists()


def test_a_newer_format_is_refused(tmp_path):
    from dataclasses import replace

    path = tmp_path / "i"
    with Index.open(path, encoder="hashing") as index, index._catalog.write_transaction() as writer:
        writer.put_settings(replace(writer.settings(), format=99))
    with pytest.raises(UnsupportedStorageError, match="format 99.*upgrade twofold"):
        Index.open(path)


def test_a_relative_path_stays_where_it_was_opened(tmp_path, monkeypatch):
    for place, own in ((tmp_path, "A"), (tmp_path / "elsewhere", "B")):
        place.mkdir(exist_ok=True)
        monkeypatch.chdir(place)
        with Index.open("i.twofold", encoder=None) as namesake:
            namesake.upsert([{"id": own, "text": own}])
    monkeypatch.chdir(tmp_path)
    with Index.open("i.twofold", encoder=None) as index:
        monkeypatch.chdir(tmp_path / "elsewhere")
        index.upsert([{"id": "C", "text": "C"}])
        assert sorted(each.id for each in index) == ["A", "C"]
    with Index.open("i.twofold") as other:
        assert [each.id for each in other] == ["B"]
        assert other.verify(deep=True).ok


@pytest.mark.parametrize("read_only", [False, True])
def test_a_pickled_index_is_opened_again(tmp_path, read_only):
    with Index.open(tmp_path / "i", encoder=HashingEncoder()) as index:
        index.upsert([{"id": "1", "text": "red apple"}])
    with Index.open(tmp_path / "i", encoder=HashingEncoder(), read_only=read_only) as index:
        again = pickle.loads(pickle.dumps(index))
        index.close()
    with again:
        assert Retriever(again).retrieve("apple").ids == ["1"]
        if read_only:
            with pytest.raises(ReadOnlyError):
                again.upsert(["more"])
        else:
            assert again.upsert(["more"]).added == 1
        stored = pickle.dumps(again)
    shutil.rmtree(tmp_path / "i")
    with pytest.raises(IndexNotFoundError, match="there is no index at"):
        pickle.loads(stored)


def test_copies_share_an_open_index_and_a_temporary_one_is_not_pickled():
    with Index.open(None, encoder=None) as index:
        assert copy.copy(index) is copy.deepcopy(index) is index
        with pytest.raises(TypeError, match="in a temporary folder can't be pickled: pass Index"):
            pickle.dumps(index)
