"""What an index asks of its encoder, and what it says of another one."""

import numpy as np
import pytest

from twofold import HashingEncoder, Index, Metric, Retriever
from twofold.errors import EncoderMismatchError, EncoderWarning, QueryError, VectorError


class Shifted(HashingEncoder):
    """Another model by another name, and one that hides who it is."""

    name = "shifted"
    identity = None

    def encode_passages(self, texts):
        return np.roll(super().encode_passages(texts), 1, axis=1)


def test_another_model_is_refused_by_fingerprint_and_by_canaries(tmp_path, index):
    index.upsert(["x"])
    path = index.path
    index.close()
    with pytest.raises(
        EncoderMismatchError, match=r"'hashing' \(256 dim.*'all-MiniLM-L6-v2' \(384"
    ):
        Index.open(path, encoder="all-MiniLM-L6-v2")
    with pytest.raises(EncoderMismatchError, match="fixed sentences.*differ by"):
        Index.open(path, encoder=Shifted())
    with Index.open(path) as same:
        assert len(Retriever(same).retrieve("x")) == 1


class Drifting(HashingEncoder):
    identity = None

    def __init__(self, noise):
        self.noise = noise

    def encode_passages(self, texts):
        rng = np.random.default_rng(0)
        clean = super().encode_passages(texts)
        return (clean + self.noise * rng.standard_normal(clean.shape)).astype(np.float32)


def test_drift_warns_with_its_size(tmp_path):
    with Index.open(tmp_path / "i", encoder=Drifting(0)) as index:
        index.upsert(["x"])
    with Index.open(tmp_path / "i", encoder=Drifting(2e-3)) as index:
        with pytest.warns(EncoderWarning, match=r"differ by up to 0\.0\d+ of their length"):
            Retriever(index).retrieve("x")
    with Index.open(tmp_path / "i", encoder=Drifting(1e-5)) as index:
        assert len(Retriever(index).retrieve("x")) == 1
    with Index.open(tmp_path / "i") as index, pytest.raises(QueryError, match="encoder object"):
        Retriever(index).retrieve("x")


def test_another_metric_than_the_models_own_warns(tmp_path):
    with Index.open(tmp_path / "i", encoder="hashing", metric="dot") as index:
        with pytest.warns(
            EncoderWarning, match="metric='dot', but 'hashing' was trained for 'cosine'"
        ):
            index.upsert(["x"])
        assert index.metric is Metric.DOT


class Broken(HashingEncoder):
    identity = None

    def __init__(self, vectors):
        self.vectors = vectors

    def encode_passages(self, texts):
        return self.vectors


def test_an_encoder_that_breaks_its_promise_is_named(tmp_path):
    for vectors, words in [
        (np.ones((1, 3)), r"encode_passages: vectors must have shape \(4, 3\), got \(1, 3\)"),
        (np.full((4, 3), np.nan), "encode_passages: vector 0 has a value that is NaN"),
    ]:
        with Index.open(tmp_path / words[:3], encoder=Broken(vectors)) as index:
            with pytest.raises(VectorError, match=words):
                index.upsert(["x"])
            assert len(index) == 0
