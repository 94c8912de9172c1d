import os

import numpy as np
import pytest

from twofold import HashingEncoder, Index, Metric, Retriever, SentenceTransformerEncoder
from twofold.encoders import encoder_named
from twofold.errors import EncoderMismatchError, EncoderNotFoundError


@pytest.fixture(scope="module")
def minilm():
    return encoder_named("all-MiniLM-L6-v2")


def test_the_textbook_with_the_numbers_that_the_model_gives(minilm):
    texts = [
        "Photosynthesis is the process by which plants convert light energy into chemical energy.",
        "Plants use sunlight to make glucose.",
        "My grandmother loves to make food from her garden.",
    ]
    with Index.open(None, encoder=minilm) as index:
        ids = index.upsert(texts).ids
        hits = Retriever(index, mode="dense").retrieve("How do plants make food?")
        scores = dict(zip(hits.ids, hits.scores, strict=True))
        np.testing.assert_allclose([scores[each] for each in ids], [0.462, 0.595, 0.529], atol=2e-3)
        assert index.metric is Metric.COSINE
        assert index.dim == 384


def test_a_model_is_known_by_its_weights_not_by_its_path(minilm, tmp_path):
    identity = minilm.identity
    assert (identity.name, identity.dim, identity.metric) == (
        "all-MiniLM-L6-v2",
        384,
        Metric.COSINE,
    )
    with Index.open(tmp_path / "i", encoder=minilm) as index:
        index.upsert(["a text"])
    minilm.model.save_pretrained(str(tmp_path / "model"))
    moved = SentenceTransformerEncoder(str(tmp_path / "model"))
    assert moved.identity.fingerprint == identity.fingerprint
    with Index.open(tmp_path / "i", encoder=moved) as index:
        assert len(Retriever(index).retrieve("a text")) == 1
    other = SentenceTransformerEncoder(str(tmp_path / "model"))
    other.model.prompts = {"query": "query: ", "document": "passage: "}
    assert other.identity.fingerprint != identity.fingerprint
    with pytest.raises(EncoderMismatchError, match="'all-MiniLM-L6-v2'.*model"):
        Index.open(tmp_path / "i", encoder=other)


def test_saved_prompts_are_used(minilm, tmp_path):
    model = SentenceTransformerEncoder(str(_saved_with_prompts(minilm, tmp_path)))
    query = model.encode_queries(["plants"])[0]
    passage = model.encode_passages(["plants"])[0]
    plain = minilm.encode_passages(["query: plants", "passage: plants", "plants"])
    np.testing.assert_allclose(query, plain[0], atol=1e-5)
    np.testing.assert_allclose(passage, plain[1], atol=1e-5)
    assert abs(query @ plain[2]) < 0.999


def _saved_with_prompts(minilm, folder):
    from sentence_transformers import SentenceTransformer

    copy = SentenceTransformer(
        minilm._source, prompts={"query": "query: ", "document": "passage: "}
    )
    copy.save_pretrained(str(folder / "prompted"))
    return folder / "prompted"


def test_truncation_is_counted(minilm, tmp_path):
    with Index.open(tmp_path / "i", encoder=minilm) as index:
        result = index.upsert(["short", "word " * 300, "plain " * 250])
        assert result.truncated == 1


def test_an_unknown_model_names_the_places_that_were_looked_at(tmp_path, monkeypatch):
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with Index.open(tmp_path / "i", encoder="no-such-model-anywhere") as index:
        with pytest.raises(EncoderNotFoundError, match="neither a folder, nor an installed model"):
            index.upsert(["x"])
        assert len(index) == 0


def test_hashing_is_the_same_everywhere():
    encoder = HashingEncoder()
    one, two, other, empty = encoder.encode_passages(["red apple", "APPLE red!", "blue", ""])
    assert one.tobytes() == two.tobytes()
    assert one @ two > one @ other
    np.testing.assert_allclose(np.linalg.norm([one, other, empty], axis=1), 1, atol=1e-6)
    assert np.flatnonzero(one).tolist() == [0, 101, 176] or len(np.flatnonzero(one)) == 3
