"""Query adapters saved with an index: used by a setting, switched off, deleted, damaged, copied."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from twofold import HashingEncoder, Index, Retriever
from twofold.backend import SearchProfile
from twofold.encoders import QueryAdapter
from twofold.errors import DegradedWarning, InputError, ReadOnlyError, VectorError
from twofold.fusion import FUSIONS

SETTING = SearchProfile(FUSIONS["z-score"].with_dense_weight(0.9), 50, None, 1)
TEXTS = [
    "Plants make food from light.",
    "The printing press was made in Mainz.",
    "Light is a wave.",
    "A press release of the ministry.",
    "Food and drink in Mainz.",
]


def turned(dim=256, seed=0):
    return QueryAdapter(np.random.default_rng(seed).normal(size=(dim, dim)).astype(np.float32))


@pytest.fixture
def filled(index):
    index.upsert([{"id": str(n), "text": text} for n, text in enumerate(TEXTS)])
    return index


def dense(index, query="light and food"):
    hits = Retriever(index, mode="dense").retrieve(query)
    return dict(zip(hits.ids, hits.scores.tolist(), strict=True))


def by_hand(index, adapter, query="light and food"):
    """Cosines by numpy alone."""
    encoder = HashingEncoder()
    vector = adapter.matrix.astype(np.float64) @ encoder.encode_queries([query])[0]
    passages = encoder.encode_passages(TEXTS).astype(np.float64)
    lengths = np.linalg.norm(passages, axis=1) * np.linalg.norm(vector)
    return {str(n): score for n, score in enumerate((passages @ vector / lengths).tolist())}


def test_a_setting_with_an_adapter_searches_by_adapted_vectors_and_is_switched_off(filled):
    before = dense(filled)
    adapter = turned()
    filled.query_adapters.save("trained", adapter)
    assert dense(filled) == before
    filled.profiles.save("trained", replace(SETTING, query_adapter="trained"), use=True)
    assert dense(filled) == pytest.approx(by_hand(filled, adapter), abs=1e-6)
    assert dense(filled) != pytest.approx(before, abs=0.01)
    vector = HashingEncoder().encode_queries(["light and food"])
    given_vector = Retriever(filled, mode="dense").retrieve(vector=filled.adapted(vector)[0])
    assert given_vector.scores.tolist() == sorted(dense(filled).values(), reverse=True)
    asis = Retriever(filled, mode="dense").retrieve(vector=vector[0])
    assert dict(zip(asis.ids, asis.scores.tolist(), strict=True)) == before
    filled.profiles.use(None)
    assert dense(filled) == before
    assert filled.adapted(vector) is vector


def test_it_survives_closing_and_copying(filled, tmp_path):
    adapter = replace(turned(), metadata={"epochs": 3})
    filled.query_adapters.save("a b", adapter)
    filled.profiles.save("trained", replace(SETTING, query_adapter="a b"), use=True)
    found = dense(filled)
    filled.copy(tmp_path / "copy")
    filled.close()
    for path in (filled.path, tmp_path / "copy"):
        with Index.open(path, create=False, read_only=True, encoder=HashingEncoder()) as again:
            assert dense(again) == found
            assert list(again.query_adapters) == ["a b"]
            assert np.array_equal(again.query_adapters["a b"].matrix, adapter.matrix)
            assert again.query_adapters["a b"].metadata == {"epochs": 3}
            assert again.profiles["trained"].query_adapter == "a b"
            assert again.verify(deep=True).ok
            with pytest.raises(ReadOnlyError):
                again.query_adapters.save("c", adapter)
            with pytest.raises(ReadOnlyError):
                again.query_adapters.drop("a b")


@pytest.mark.parametrize("harm", ["deleted", "flipped"])
def test_without_its_file_searches_go_by_the_defaults_and_say_so(filled, harm):
    before = Retriever(filled).retrieve("light and food")
    filled.query_adapters.save("trained", turned())
    filled.profiles.save("trained", replace(SETTING, query_adapter="trained"), use=True)
    file = filled.path / "adapters" / "trained.adapter"
    filled.close()
    data = file.read_bytes()
    if harm == "deleted":
        file.unlink()
    else:
        file.write_bytes(data[:-100] + bytes([data[-100] ^ 1]) + data[-99:])
    with Index.open(filled.path, create=False, encoder=HashingEncoder()) as again:
        with pytest.warns(DegradedWarning, match="'trained' is not used"):
            hits = Retriever(again).retrieve("light and food")
        assert (hits.ids, hits.scores.tolist()) == (before.ids, before.scores.tolist())
        (problem,) = again.verify().problems
        assert "trained" in problem
        again.profiles.use(None)
        again.profiles.drop("trained")
        again.query_adapters.drop("trained")
        assert again.verify().ok
        assert not file.exists()


def test_another_model_is_not_adapted(filled):
    filled.query_adapters.save("trained", turned())
    filled.profiles.save("trained", replace(SETTING, query_adapter="trained"), use=True)

    class Other(HashingEncoder):
        def encode_queries(self, texts):
            return np.roll(super().encode_queries(texts), 7, axis=1)

        def encode_passages(self, texts):
            return np.roll(super().encode_passages(texts), 7, axis=1)

    plain = dense_of(Other())
    with pytest.warns(DegradedWarning, match="trained for another model"):
        filled.reencode(Other())
        assert dense(filled) == pytest.approx(plain, abs=1e-6)
    assert filled.verify(deep=True).ok  # a profile that is out of use is no damage


def dense_of(encoder):
    with Index.open(None, encoder=encoder) as index:
        index.upsert([{"id": str(n), "text": text} for n, text in enumerate(TEXTS)])
        return dense(index)


def test_what_cannot_be_saved_or_dropped_is_refused(filled):
    filled.query_adapters.save("trained", turned())
    filled.profiles.save("s", replace(SETTING, query_adapter="trained"))
    with pytest.raises(InputError, match="there is already a query adapter 'trained'"):
        filled.query_adapters.save("trained", turned(seed=1))
    with pytest.raises(InputError, match="used by profile 's'"):
        filled.query_adapters.drop("trained")
    with pytest.raises(InputError, match="no query adapter 'trainde'.*did you mean 'trained'"):
        filled.query_adapters.drop("trainde")
    with pytest.raises(InputError, match="no query adapter 'other'"):
        filled.profiles.save("t", replace(SETTING, query_adapter="other"))
    with pytest.raises(InputError, match="for vectors of 8 dimensions, but the index has 256"):
        filled.query_adapters.save("small", turned(8))
    with Index.open(None) as index:  # of a model with a fingerprint
        index.upsert(["a text of words"])
        with pytest.raises(InputError, match="another model"):
            index.query_adapters.save("x", QueryAdapter(np.eye(384), model="0" * 32))
    odd = ("", " a", "a/b", "..", ".hidden", "a\nb", "x" * 101, 7, "語" * 70, "NUL", "com1.x")
    odd += ("a:b", "lpt\u00b9", "CONIN$", "aux .x", "a\0b")
    for name in odd:
        with pytest.raises(InputError, match="name"):
            filled.query_adapters.save(name, turned())
    with pytest.raises(InputError, match="'trained', and some file systems ignore case"):
        filled.query_adapters.save("Trained", turned())
    filled.query_adapters.save("caf\u00e9", turned())
    with pytest.raises(InputError, match="and some file systems ignore case"):
        filled.query_adapters.save("CAFE\u0301", turned())
    filled.query_adapters.drop("caf\u00e9")
    assert list(filled.query_adapters) == ["trained"]
    assert filled.query_adapters.new_name() == "trained-2"
    assert filled.query_adapters.new_name("mine") == "mine"


def test_an_index_without_vectors_has_nothing_to_adapt(tmp_path):
    with Index.open(tmp_path / "words", encoder=None) as index:
        index.upsert(["a text"])
        with pytest.raises(InputError, match="no vectors"):
            index.query_adapters.save("trained", turned())


@given(arrays(np.float32, (3, 4), elements=st.floats(-2, 2, width=32)), st.integers(0, 9))
def test_one_query_is_adapted_as_among_others(vectors, seed):
    adapter = turned(4, seed)
    together = adapter(vectors)
    assert together.dtype == np.float32
    assert np.array_equal(together, np.stack([adapter(each) for each in vectors]))
    assert np.allclose(together, vectors @ adapter.matrix.T, atol=1e-4)


def test_bad_matrices_and_vectors_are_refused():
    for matrix in (np.ones((2, 3)), np.ones(4), np.array([[np.nan]]), np.empty((0, 0))):
        with pytest.raises(VectorError, match=r"must have shape \(dim, dim\) and finite numbers"):
            QueryAdapter(matrix)
    with pytest.raises(VectorError, match=r"must have shape \(n, 4\)"):
        turned(4)(np.ones((2, 5), np.float32))
    assert QueryAdapter(np.eye(5)).strength == 0
