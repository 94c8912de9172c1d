"""A Milvus backend against the local index: scores, windows, moving, limits and bad input."""

import threading

import numpy as np
import pytest

from short_reader import ShortReader
from twofold import HashingEncoder, Index, Passage, Retriever, SearchProfile, WeightedSum
from twofold.backends.milvus.filters import encode_text
from twofold.backends.milvus.rows import Numbers
from twofold.backends.milvus.server import Address
from twofold.backends.milvus.terms import encode_term
from twofold.backends.moving import pull, push
from twofold.dense import HNSW, IVF, Auto, Flat, OneBit
from twofold.encoders import QueryAdapter
from twofold.errors import (
    EncoderMismatchError,
    IndexClosedError,
    IndexMismatchError,
    IndexNotFoundError,
    InputError,
    PassageError,
    QueryError,
    ReadOnlyError,
    VectorError,
)
from twofold.lexical import BM25

METRICS = ["cosine", "dot", "euclidean"]


def split_at_spaces(text: str) -> list[str]:
    return text.split()


def same_hits(first, second, **tolerance):
    """Milvus adds in float32, so that equal scores may differ a little, and so their order."""
    assert len(first)
    assert second.scores == pytest.approx(first.scores, **tolerance)
    last = min(first.scores) + tolerance.get("abs", 0.0)
    ours, theirs = (
        {one.id: one.score for one in hits if one.score > last} for hits in (first, second)
    )
    assert theirs == pytest.approx(ours, **tolerance)


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
def test_a_pushed_index_gives_the_same_hits(local, milvus, claims, mode):
    """All passages are in one segment, so that the statistics of words are those of the index."""
    backend = milvus(template=local, index_type="flat")
    moved = push(local, backend)
    assert (moved.passages, moved.written, moved.removed) == (300, 300, 0)
    assert moved.rankings == 40
    for claim in claims[:15]:
        for options in ({}, {"where": {"year": {"$gte": 2003}}}, {"diversity": 0.3}):
            ours, theirs = (Retriever(t, mode=mode, **options) for t in (local, backend))
            same_hits(ours.retrieve(claim), theirs.retrieve(claim), abs=1e-5)


def test_explanations_are_those_of_the_index(local, milvus, claims):
    backend = milvus(template=local, index_type="flat")
    push(local, backend)
    for claim in claims[:10]:
        ours, theirs = (Retriever(t, k=5).retrieve(claim).explain() for t in (local, backend))
        for first, second in zip(ours.hits, theirs.hits, strict=True):
            by_term = {match.term: match for match in first.terms}
            assert {match.term for match in second.terms} == set(by_term)
            for match in second.terms:
                wanted = by_term[match.term]
                assert match.contribution == pytest.approx(wanted.contribution, abs=1e-5)
                assert match.idf == pytest.approx(wanted.idf, abs=1e-9)
                assert match.average_length == pytest.approx(wanted.average_length, rel=1e-3)
                for name in ("query_frequency", "frequency", "document_frequency", "length"):
                    assert getattr(match, name) == getattr(wanted, name)


@pytest.mark.parametrize("metric", METRICS)
def test_long_passages_keep_their_windows(milvus, tmp_path, passages, claims, metric):
    from twofold import Metric

    encoder = ShortReader(12, Metric(metric))
    with Index.open(tmp_path / "index", encoder=encoder, windows=8) as index:
        index.upsert(passages[:60])
        backend = milvus(template=index, encoder=encoder, index_type="flat")
        moved = push(index, backend)
        assert moved.vectors > 2 * moved.passages
        other = milvus(encoder=encoder, windows=8, index_type="flat")
        other.upsert(passages[:60])
        for target in (backend, other):
            for claim in claims[:10]:
                ours = Retriever(index, mode="dense").retrieve(claim)
                theirs = Retriever(target, mode="dense").retrieve(claim)
                same_hits(ours, theirs, abs=1e-5)
                first, second = ours.explain(), theirs.explain()
                windows = {each.hit.id: each.window for each in first.hits}
                for each in second.hits:
                    assert each.window == windows.get(each.hit.id, each.window)
                assert any(each.window is not None for each in second.hits)
        # Windows of replaced and deleted passages are gone.
        other.upsert([Passage(f"short {at}", one.id) for at, one in enumerate(passages[:30])])
        other.delete([one.id for one in passages[30:60]])
        rows = other._server.call(
            "query", f"{other.collection}_windows", filter="", output_fields=["count(*)"],
            consistency_level="Strong",
        )  # fmt: skip
        assert rows[0]["count(*)"] == 0
        hits = Retriever(other, mode="dense", k=60).retrieve(claims[0])
        assert len(hits) == 30


def test_windows_of_an_unfinished_write_are_ignored(milvus, passages):
    """A client that was killed left windows whose passage was never written."""
    encoder = ShortReader(12)
    backend = milvus(encoder=encoder, windows=8, index_type="flat")
    backend.upsert(passages[:10])
    name = f"{backend.collection}_windows"
    found = backend._server.call(
        "query", name, filter="row >= 0", output_fields=["*"], consistency_level="Strong"
    )
    orphan = {**found[0], "part": "f" * 40, "key": "f" * 32, "row": 7}
    stale = {**found[1], "part": "e" * 40, "row": 8}
    for row in (orphan, stale):
        row["vector"] = encoder.encode_queries(["zebra"])[0]
    backend._server.call("upsert", name, [orphan, stale])
    hits = Retriever(backend, mode="dense", k=20).retrieve("zebra")
    assert sorted(hits.ids) == sorted(one.id for one in passages[:10])
    assert max(hits.scores) < 0.999


def test_a_push_again_writes_what_has_changed(tmp_path, milvus, passages):
    with Index.open(tmp_path / "index", encoder=HashingEncoder()) as index:
        index.upsert(passages)
        backend = milvus(template=index)
        push(index, backend)
        assert push(index, backend).written == 0
        index.upsert([Passage("changed", passages[0].id), Passage("new", "new")])
        index.delete([passages[1].id, passages[2].id])
        with pytest.raises(InputError, match="has 2 passages that the index doesn't have"):
            push(index, backend)
        moved = push(index, backend, replace=True)
        assert (moved.passages, moved.written, moved.removed) == (299, 2, 2)
        assert [each.text for each in backend.get([passages[0].id, "new"])] == ["changed", "new"]
        index.upsert([Passage("changed", passages[0].id)], vectors=np.ones((1, 256), np.float32))
        assert push(index, backend).written == 1


def test_profiles_and_query_adapters_move_along(tmp_path, milvus, passages, claims):
    with Index.open(tmp_path / "index", encoder=HashingEncoder()) as index:
        index.upsert(passages)
        index.query_adapters.save("turned", QueryAdapter(-np.eye(256)))
        profile = SearchProfile(WeightedSum(dense_weight=0.3), 50, None, 1, "turned")
        index.profiles.save("tuned", profile, use=True)
        backend = milvus(template=index, index_type="flat")
        push(index, backend)
        with backend.open_search() as scope:
            assert scope.profile == profile
        for claim in claims[:5]:
            ours, theirs = (Retriever(target).retrieve(claim) for target in (index, backend))
            same_hits(ours, theirs, abs=1e-5)
        again = tmp_path / "pulled"
        assert pull(backend, again).passages == 300
        with Index.open(again, encoder=HashingEncoder(), create=False) as copy:
            assert copy.profiles.active == "tuned"
            assert list(copy.query_adapters) == ["turned"]
            assert copy.verify(deep=True).ok
            for claim in claims[:5]:
                same_hits(Retriever(index).retrieve(claim), Retriever(copy).retrieve(claim))


def test_another_model_or_other_settings_are_refused(tmp_path, milvus, local, passages):
    backend = milvus(template=local)
    push(local, backend)
    name = backend.collection
    with pytest.raises(EncoderMismatchError, match="pass the encoder of the stored vectors"):
        milvus(collection=name, encoder=ShortReader(12))
    with pytest.raises(IndexMismatchError, match="metric"):
        milvus(collection=name, metric="dot")
    with pytest.raises(IndexMismatchError, match="analyzer 'english' and not 'german'"):
        milvus(collection=name, analyzer="german")
    with Index.open(tmp_path / "other", encoder=ShortReader(12), title_weight=2) as other:
        other.upsert(passages[:10])
        with pytest.raises(IndexMismatchError, match="made with another model"):
            push(other, backend)
    assert len(backend) == 300


def test_what_is_no_collection_of_ours_is_left_alone(milvus, milvus_uri):
    for name in ("a b", "1st", "x" * 201, "", "a-b"):
        with pytest.raises(InputError, match="collection must be a name"):
            milvus(collection=name)
    backend = milvus(encoder=None)
    backend._server.call("create_collection", "others_of_a_test", dimension=3)
    try:
        with pytest.raises(IndexMismatchError, match="was made by another program"):
            milvus(collection="others_of_a_test")
    finally:
        backend._server.call("drop_collection", "others_of_a_test")
    with pytest.raises(IndexNotFoundError, match="no index in the collection 'nowhere'"):
        milvus(collection="nowhere", create=False)
    with pytest.raises(IndexNotFoundError):
        milvus(collection="nowhere", read_only=True)


def test_bad_input_is_refused_and_nothing_is_written(milvus):
    backend = milvus(encoder=HashingEncoder())
    good = Passage("good", "good")
    for bad, part in (
        (Passage("é" * 40_000, "1"), "text has 80,000 bytes"),
        (Passage("text", "i" * 70_000), "id has 70,000 bytes"),
        (Passage("text", "1", "t" * 70_000), "title has 70,000 bytes"),
        (Passage("text", "1", metadata={"a": "x" * 70_000}), "metadata has 70,"),
        (Passage("text", "1", metadata={"a": "x" * 40_000}), "as filters need it"),
        (Passage("text", "1", metadata={"a": [*range(5_000)]}), "5,003 values to filter by"),
    ):
        with pytest.raises(PassageError, match=part):
            backend.upsert([good, bad])
    with pytest.raises(VectorError):
        backend.upsert([good], vectors=np.ones((1, 3), np.float32))
    with pytest.raises(VectorError):
        backend.upsert([good], vectors=np.full((1, 256), np.nan, np.float32))
    with pytest.raises(InputError):
        backend.delete()
    assert len(backend) == 0
    tricky = {"_payload": "a\0b", "n": 10**300, "f": 0.1, 'k"\\\0': "\0"}
    stored = Passage("x \0 \\u0000 % ' \"", 'a"b\\', "\\", tricky)
    backend.upsert([stored])
    assert list(backend) == [stored]
    assert backend.get(['a"b\\']) == backend.get(where={"n": 10**300}) == [stored]
    reader = milvus(collection=backend.collection, encoder=HashingEncoder(), read_only=True)
    with pytest.raises(ReadOnlyError):
        reader.upsert([good])
    reader.close()
    with pytest.raises(IndexClosedError):
        reader.get(["1"])


def test_words_of_any_language_are_kept_whole(milvus):
    backend = milvus(encoder=None, analyzer=split_at_spaces)
    texts = {
        "de": "Straße über-all", "ru": "Привет мир", "zh": "你好 世界", "code": "C++ a_b c.d CVE-1",
        "long": "w" * 5_000 + " x", "zq": "zqabc zq Zq", "emoji": "🙂 👍",
    }  # fmt: skip
    backend.upsert([Passage(text, name) for name, text in texts.items()])
    for name, text in texts.items():
        for word in text.split():
            hits = Retriever(backend, mode="lexical").retrieve(word)
            assert hits.ids == [name], word
    for word in ("c++", "C", "a", "b", "straße", "w" * 4_999, "zqa"):
        assert not len(Retriever(backend, mode="lexical").retrieve(word))


def test_encoded_terms_and_texts_can_be_told_apart():
    words = ["a", "A", "zq61", "a b", "", "é", "e\u0301", "x" * 25, "X" * 25, "\ud800", "\0"]
    assert len({encode_term(word) for word in words}) == len(words)
    assert all(encode_term(word).isalnum() and encode_term(word).isascii() for word in words)
    texts = ["", "a", "ab", "b", "é", "z", "\0", "aa", "Z", "\U0010ffff"]
    by_bytes = sorted(texts, key=lambda text: text.encode())
    assert sorted(texts, key=encode_text) == by_bytes
    for first in texts:
        for second in texts:
            assert (encode_text(first) in encode_text(second)) == (first in second)


def test_passages_without_a_vector_are_found_by_words_alone(milvus):
    backend = milvus(dim=3, index_type="flat")
    vectors = np.array([[1, 0, 0], [0, 0, 0], [-1, 0, 0]], np.float32)
    with pytest.warns(UserWarning, match="length zero"):
        backend.upsert([Passage(f"word{at}", str(at)) for at in range(3)], vectors=vectors)
    found = Retriever(backend, mode="dense").retrieve("", vector=vectors[0])
    assert found.ids == ["0", "2"]
    assert Retriever(backend, mode="lexical").retrieve("word1").ids == ["1"]
    kept = next(iter(backend.read_batches()))[1]
    assert [each is None for each in kept] == [False, True, False]


@pytest.mark.parametrize("kind", [HNSW(), IVF(lists=16), Auto()])
def test_an_approximate_index_finds_what_a_scan_finds(milvus, passages, claims, kind):
    backend = milvus(encoder=HashingEncoder(), index_type=kind)
    backend.upsert(passages)
    exact = milvus(encoder=HashingEncoder(), index_type=Flat())
    exact.upsert(passages)
    found = total = 0
    for claim in claims[:20]:
        for where in (None, {"year": 2003}):
            fast = Retriever(backend, mode="dense", effort=4.0).retrieve(claim, where=where)
            slow = Retriever(exact, mode="dense", exact=True).retrieve(claim, where=where)
            assert len(slow) == 10
            total += len(slow)
            found += len(set(fast.ids) & set(slow.ids))
    assert found / total > 0.9
    assert backend.index_type == kind
    assert backend.reindex("flat") == backend.index_type == Flat()
    same_hits(
        Retriever(exact, mode="dense").retrieve(claims[0]),
        Retriever(backend, mode="dense").retrieve(claims[0]),
        abs=1e-6,
    )
    words = [Retriever(each, mode="lexical").retrieve(claims[0]) for each in (exact, backend)]
    same_hits(*words, abs=1e-6)  # words are left alone
    with pytest.raises(InputError, match="has the index types"):
        backend.reindex(OneBit())


def test_what_milvus_cannot_do_is_refused_by_its_name(milvus, passages):
    backend = milvus(encoder=HashingEncoder(), index_type=HNSW())
    backend.upsert(passages[:20])
    with pytest.raises(QueryError, match="can't compare all vectors"):
        Retriever(backend, mode="dense", exact=True).retrieve("gene")
    with pytest.raises(QueryError, match="takes no scoring function"):
        Retriever(backend, scorer=BM25(k1=2.0)).retrieve("gene")
    with backend.session() as session:
        with pytest.raises(QueryError, match="Milvus.* can't search the index type"):
            session.search_dense(np.ones((1, 256), np.float32), 3, None, np.inf)
        with pytest.raises(QueryError, match="Milvus.* scores by BM25 alone"):
            session.search_lexical(["gene"], 3, None, BM25())
    hits = Retriever(backend, k=3).retrieve("gene expression in mice")
    assert hits.why_not(next(one.id for one in passages if one.id not in hits.ids)).legs


def test_statistics_are_exact_after_updates_and_deletes(milvus, passages, claims):
    backend = milvus(encoder=HashingEncoder(), index_type="flat")
    backend.upsert(passages)
    backend.upsert([Passage(one.text[:200], one.id, one.title) for one in passages[::3]])
    backend.delete([one.id for one in passages[::5]])
    assert backend.delete(where={"year": 2003}) > 20
    assert backend.delete(where={"year": 2003}) == 0
    with Index.open(None, encoder=HashingEncoder()) as fresh:
        fresh.upsert(list(backend))
        assert 100 < len(fresh) == len(backend) < 250
        for claim in claims[:10]:
            for mode in ("lexical", "dense", "hybrid"):
                options = {"mode": mode, "fusion": WeightedSum()}
                ours, theirs = (Retriever(t, **options).retrieve(claim) for t in (fresh, backend))
                same_hits(ours, theirs, abs=1e-5)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("http://user:hunter2@localhost:19530", "set the environment variable MILVUS_TOKEN"),
        ("milvus://root:hunter2@localhost", "set the environment variable MILVUS_TOKEN"),
        ("ftp://localhost", "begins with 'ftp'"),
        ("http://localhost:port", "no URL of a Milvus"),
        ("milvus://localhost?password=hunter2", "takes only collection"),
        ("lite", "must end in .db"),
        ("root:hunter2@localhost:19530", "has an @"),
        ("http:/root:hunter2@localhost", "has an @"),
        ("/nowhere/at/all/lite.db", "no folder"),
        ("", "must be a string"),
        (3, "must be a string"),
    ],
)
def test_a_wrong_uri_is_refused_without_its_password(milvus, uri, message):
    with pytest.raises(InputError, match=message) as caught:
        milvus(uri=uri)
    assert "hunter2" not in str(caught.value)


def test_uris_name_address_database_and_collection(tmp_path):
    found = Address.from_uri("milvus://db.example:1234/sales?collection=manuals")
    assert (found.uri, found.database) == ("http://db.example:1234", "sales")
    assert found.collection == "manuals"
    assert Address.from_uri("milvus+https://db.example").uri == "https://db.example:443"
    assert Address.from_uri("milvus://[::1]").uri == "http://[::1]:19530"
    file = Address.from_uri(f"milvus://{tmp_path}/a.db?collection=c")
    assert (file.uri, file.collection, file.is_file) == (f"{tmp_path}/a.db", "c", True)


def test_milvus_fuses_both_legs_in_one_request(milvus, passages, claims):
    backend = milvus(encoder=HashingEncoder(), index_type="flat")
    backend.upsert(passages)
    for claim in claims[:10]:
        lists = [Retriever(backend, mode=mode, k=100).retrieve(claim).ids
                 for mode in ("dense", "lexical")]  # fmt: skip
        wanted = {}
        for ids in lists:
            for rank, name in enumerate(ids, 1):
                wanted[name] = wanted.get(name, 0.0) + 1 / (60 + rank)
        found = backend.search_fused(claim, k=5, depth=100)
        best = sorted(wanted.values(), reverse=True)[:5]
        assert [score for _, score in found] == pytest.approx(best, abs=2e-4)
        assert all(one.text for one, _ in found)
    only = backend.search_fused(claims[0], k=5, where={"year": 2003})
    assert {one.metadata["year"] for one, _ in only} == {2003}
    dense = Retriever(backend, mode="dense", k=3).retrieve(claims[0]).ids
    assert [one.id for one, _ in backend.search_fused(claims[0], k=3, dense_weight=1.0)] == dense
    with pytest.raises(InputError, match="dense_weight"):
        backend.search_fused(claims[0], dense_weight=2)
    with pytest.raises(QueryError, match="needs both legs"):
        milvus(encoder=None).search_fused("a")
    windows = milvus(encoder=ShortReader(12), windows=8)
    windows.upsert(passages[:5])
    with pytest.raises(QueryError, match="can't fuse words with windows"):
        windows.search_fused("gene")


def test_numbers_ascend_and_never_repeat():
    clients = [Numbers() for _ in range(20)]
    taken = []
    for size in (1, 64, 65, 4_096, 3):
        for client in clients:
            some = client.take(size)
            assert some == sorted(set(some))
            assert len(some) == size
            taken += some
    own = [number for size in (100, 5, 700) for number in clients[0].take(size)]
    assert own == sorted(set(own))
    assert max(own) < 1 << 63
    drawn = {client._client for client in clients}
    assert len(set(taken)) == len(taken) or len(drawn) < 20


def test_several_writers_and_a_reader(milvus):
    """Passages are deleted and stored again while they are searched."""
    backend = milvus(encoder=HashingEncoder(), index_type="flat")
    passages = [Passage(f"zebra {at}", str(at)) for at in range(60)]
    backend.upsert(passages)
    assert len(Retriever(backend, k=50).retrieve("zebra")) == 50  # kernels are compiled
    failures, seen = [], 0

    def write(part):
        try:
            for turn in range(25):
                backend.delete([one.id for one in part[turn % 3 :: 3]])
                backend.upsert([Passage(f"{one.text} {turn}", one.id) for one in part])
        except Exception as error:  # noqa: BLE001  # the test fails with it
            failures.append(error)

    writers = [
        threading.Thread(target=write, args=(passages[start : start + 20],)) for start in (0, 20)
    ]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        hits = Retriever(backend, k=50).retrieve("zebra")
        assert 20 <= len(hits) <= 50
        seen += 1
    assert not failures
    assert seen
    assert len(backend) == 60


def test_what_was_interrupted_while_it_was_created_is_finished(milvus, passages):
    backend = milvus(encoder=HashingEncoder(), index_type="flat")
    name, call = backend.collection, backend._server.call
    backend.close()
    # A client was killed before the settings were written.
    again = milvus(encoder=None)
    call = again._server.call
    call("delete", f"{name}_state", filter='name in ["content"]')
    backend = milvus(collection=name, encoder=HashingEncoder(), index_type="flat")
    backend.upsert(passages[:20])
    # Another one while an index was built.
    call("release_collection", name)
    while indexes := call("list_indexes", name):
        call("drop_index", name, index_name=indexes[0])
    found = milvus(collection=name, encoder=HashingEncoder())
    assert len(Retriever(found, k=20).retrieve("gene")) == 20
    assert found.reindex("hnsw") == found.index_type


def test_settings_that_change_while_they_are_read_are_read_again(milvus):
    backend = milvus(encoder=HashingEncoder())
    backend.upsert(["a garden", "green tea"])
    other = milvus(collection=backend.collection, encoder=HashingEncoder())
    for weight in (0.2, 0.4, 0.2):
        other.profiles.save(
            "mine", SearchProfile(WeightedSum(dense_weight=weight), 50, None, 1), use=True
        )
        with backend.open_search() as scope:
            assert scope.profile.fusion == WeightedSum(dense_weight=weight)
