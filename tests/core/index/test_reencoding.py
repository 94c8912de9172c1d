"""Another encoder for an index: filled beside the old vectors, then switched to."""

import threading

import numpy as np
import pytest

from twofold import HashingEncoder, Index, Metric, Retriever
from twofold.errors import (
    DegradedWarning,
    EncoderMismatchError,
    EncoderNotFoundError,
    EncoderWarning,
    InputError,
)
from twofold.types import EncoderIdentity


class Turned(HashingEncoder):
    """Another model: the same vectors in another order of dimensions, and half of them."""

    name = "./turned"  # no such folder: it can't be looked up
    dim = 128

    def __init__(self, seed=1, stop_after=10**9):
        self.order = np.random.default_rng(seed).permutation(256)
        self.seed = seed
        self.encoded = 0
        self.stop_after = stop_after
        self.before = lambda: None

    @property
    def identity(self):
        return EncoderIdentity(self.name, 128, Metric.COSINE, f"turned-{self.seed}")

    def encode_passages(self, texts):
        self.before()
        if self.encoded > self.stop_after:
            raise KeyboardInterrupt
        self.encoded += len(texts)
        return self.encode_queries(texts)

    def encode_queries(self, texts):
        full = HashingEncoder.encode_passages(HashingEncoder(), texts)[:, self.order]
        return np.ascontiguousarray(full[:, :128] + np.float32(1e-3))


CANARIES = 4


@pytest.fixture
def filled(tmp_path, abstracts):
    path = tmp_path / "index"
    with Index.open(path, encoder="hashing") as index:
        index.upsert({"id": a["_id"], "title": a["title"], "text": a["text"]} for a in abstracts)
        with pytest.warns(DegradedWarning, match="no words"):
            index.upsert(["", {"id": "same", "text": abstracts[0]["text"]}])
        index.upsert([{"id": "again", "text": abstracts[0]["text"]}])
        index.delete([abstracts[7]["_id"]])
    return path


def fresh_answers(path, encoder, queries):
    """What an index that was made with this encoder says."""
    with Index.open(path, read_only=True) as stored, Index.open(None, encoder=encoder) as fresh:
        fresh.upsert(each for each in stored if each.content)
        return [Retriever(fresh, k=7).retrieve(query).ids for query in queries]


def test_after_it_an_index_is_one_made_with_the_other_encoder(filled, claims):
    encoder = Turned()
    seen = []
    with Index.open(filled) as index:
        count = len(index)
        assert (
            index.reencode(encoder, progress=seen.append) == count - 2
        )  # one is blank, one a repeat
        assert encoder.encoded == count - 2 + CANARIES
        assert seen == sorted(seen)
        assert seen[-1] == count - 1
        assert index.dim == 128
        assert index.encoder is encoder
        answers = [Retriever(index, k=7).retrieve(claim).ids for claim in claims[:5]]
        assert index.verify(deep=True).ok
        assert index.reencode(encoder) == 0
    assert answers == fresh_answers(filled, Turned(), claims[:5])
    with pytest.raises(EncoderMismatchError, match="'./turned'.*'hashing'.*Index.reencode"):
        Index.open(filled, encoder="hashing")
    with Index.open(filled, encoder=Turned()) as index:
        assert [Retriever(index, k=7).retrieve(claim).ids for claim in claims[:5]] == answers
    assert len(list((filled / "vectors").iterdir())) == 1  # the old ones are gone


def test_the_old_vectors_serve_until_the_switch(filled, claims):
    encoder, during = Turned(), []
    with Index.open(filled) as index, Index.open(filled, read_only=True) as reader:
        before = [Retriever(index).retrieve(claim).ids for claim in claims[:3]]

        def ask():
            during.extend(
                [Retriever(each).retrieve(claim).ids for claim in claims[:3]]
                for each in (index, reader)
            )

        encoder.before = ask
        index.reencode(encoder)
        encoder.before = lambda: None
        assert len(during) > 6
        assert all(each == before for each in during)
        after = [Retriever(index).retrieve(claim).ids for claim in claims[:3]]
        assert after != before
        # Another process has the encoder's name alone, and says what it lacks.
        with pytest.raises(EncoderNotFoundError, match="turned"):
            Retriever(reader).retrieve(claims[0])


def test_what_was_encoded_before_an_interrupt_is_not_encoded_again(filled, claims):
    first, second = Turned(stop_after=600), Turned()
    with Index.open(filled) as index:
        old = Retriever(index).retrieve(claims[0]).ids
        with pytest.raises(KeyboardInterrupt):
            index.reencode(first)
        assert Retriever(index).retrieve(claims[0]).ids == old
        assert index.verify(deep=True).ok
    with Index.open(filled) as index:
        assert index.verify(deep=True).ok
        total = len(index) - 2
        encoded = index.reencode(second)
        assert 0 < encoded < total
        assert encoded + first.encoded - CANARIES == total
        assert index.verify(deep=True).ok
        answers = [Retriever(index, k=7).retrieve(claim).ids for claim in claims[:3]]
    assert answers == fresh_answers(filled, Turned(), claims[:3])


def test_another_encoder_starts_anew_and_throws_the_other_half_away(filled):
    with Index.open(filled) as index:
        with pytest.raises(KeyboardInterrupt):
            index.reencode(Turned(stop_after=600))
        assert index.reencode(Turned(seed=2)) == len(index) - 2
        assert index.verify(deep=True).ok
    assert len(list((filled / "vectors").iterdir())) == 1


def test_writes_go_on_meanwhile(filled, claims):
    encoder = Turned()
    started, go_on = threading.Event(), threading.Event()
    with Index.open(filled) as index:
        calls = []

        def pause():
            calls.append(1)
            if len(calls) == 3:
                started.set()
            if len(calls) > 3:
                go_on.wait(20)

        encoder.before = pause
        work = threading.Thread(target=index.reencode, args=(encoder,))
        work.start()
        assert started.wait(20)
        first = next(iter(index)).id
        go_on.set()
        index.upsert([{"id": "late", "text": claims[0]}])
        index.delete([first])
        work.join(60)
        assert not work.is_alive()
        assert index.dim == 128
        hits = Retriever(index, mode="dense", k=len(index)).retrieve(claims[0])
        assert hits[0].id == "late"
        assert first not in hits.ids
        assert len(hits) == len(index) - 1  # all but the blank one have a vector
        assert index.verify(deep=True).ok


def test_legs_that_were_not_there(tmp_path, abstracts, claims):
    with Index.open(tmp_path / "words", encoder=None) as index:
        index.upsert({"id": a["_id"], "text": a["text"]} for a in abstracts[:50])
        assert index.modes == ("lexical",)
        assert index.reencode("hashing") == 50
        assert index.modes == ("hybrid", "dense", "lexical")
        assert len(Retriever(index).retrieve(claims[0])) == 10
    with Index.open(tmp_path / "words") as index:
        assert len(Retriever(index, mode="dense").retrieve(claims[0])) == 10
    vectors = np.eye(8, dtype=np.float32)
    with Index.open(tmp_path / "given", dim=8) as index:
        index.upsert([f"text {n}" for n in range(8)], vectors=vectors)
        assert index.reencode("hashing") == 8
        assert index.dim == 256
    with Index.open(tmp_path / "none") as index:
        assert index.reencode("hashing") == 0
        assert index.upsert(["first"]).added == 1
        assert Retriever(index).retrieve("first")[0].passage.text == "first"


def test_metric_and_bad_arguments(filled):
    with Index.open(filled) as index:
        with pytest.warns(EncoderWarning, match="metric='dot', but './turned'"):
            index.reencode(Turned(), metric="dot")
        assert index.metric is Metric.DOT
        for bad in (3, None, object()):
            with pytest.raises(InputError, match="encoder must be"):
                index.reencode(bad)
        with pytest.raises(InputError, match="unknown metric"):
            index.reencode(Turned(), metric="manhattan")
        assert index.verify(deep=True).ok


def test_structures_are_of_the_new_vectors(tmp_path):
    texts = [f"w{n % 97} v{n % 89} u{n}" for n in range(3000)]
    with Index.open(tmp_path / "i", encoder="hashing", analyzer=None) as index:
        index.upsert(texts)
        index.reindex("one-bit")
        index.reencode(Turned())
        with index.view() as view:
            assert [each.rows for each in view.snapshot.dense.structures] == [3000]
        assert index.recall(50, effort=10.0).mean > 0.95
        assert index.verify().ok


def test_views_and_writes_within_it_see_whole_generations(filled, claims):
    with Index.open(filled) as index:

        def ask_and_write(done):
            with index.view():
                index.upsert([{"id": f"new {done}", "text": claims[0]}])
            assert len(Retriever(index).retrieve(claims[1])) == 10

        index.reencode(Turned(), progress=ask_and_write)
        assert index.verify(deep=True).ok


@pytest.mark.parametrize("first", ["upsert", "reencode"])
def test_the_first_vectors_of_two_writers_are_two_sets(tmp_path, abstracts, first):
    texts = [{"id": a["_id"], "text": a["text"]} for a in abstracts[:300]]
    with Index.open(tmp_path / "i", encoder="hashing") as index:
        encoder, done = Turned(), []
        if first == "reencode":
            index.reencode(encoder)
            index.upsert(texts)
        else:
            # The set has a number before the upsert begins its own.
            def between():
                if not done:
                    done.append(1)
                    index.upsert(texts)

            encoder.before = between
            index.reencode(encoder)
        assert index.dim == 128
        with index.view() as view:
            assert len(view.snapshot.dense.rows) == 300
            assert view.snapshot.pending is None
        assert index.verify(deep=True).ok
