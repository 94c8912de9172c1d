import numpy as np
import pytest

from tiny_models import finished_folder, router_folder, transformer_folder
from twofold import HashingEncoder, Index, Metric, Retriever
from twofold.encoders import TowersEncoder, encoder_from_name
from twofold.errors import EncoderMismatchError, InputError
from twofold.types import EncoderIdentity

TEXTS = ["how do plants make food", "red apple", ""]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    plain = transformer_folder(folder / "plain", seed=1)
    other = transformer_folder(folder / "other", seed=2)
    finished_folder(folder / "queries", plain, pooling="cls")
    finished_folder(folder / "passages", other)
    finished_folder(folder / "dot", other, similarity_fn_name="dot")
    router_folder(folder / "router", plain, other)
    return folder


def test_two_models_are_what_a_router_of_both_is(models):
    queries, passages = (encoder_from_name(str(models / name)) for name in ("queries", "passages"))
    towers, router = TowersEncoder(queries, passages), encoder_from_name(str(models / "router"))
    np.testing.assert_array_equal(towers.encode_queries(TEXTS), queries.encode_queries(TEXTS))
    np.testing.assert_array_equal(towers.encode_passages(TEXTS), passages.encode_passages(TEXTS))
    np.testing.assert_allclose(
        towers.encode_queries(TEXTS), router.encode_queries(TEXTS), atol=1e-6
    )
    np.testing.assert_allclose(
        towers.encode_passages(TEXTS), router.encode_passages(TEXTS), atol=1e-6
    )
    assert np.abs(towers.encode_queries(TEXTS) - towers.encode_passages(TEXTS)).max() > 0.1
    assert towers.count_truncated(["red " * 70, "red"]) == 1


def test_the_name_of_both_makes_both_again(models, tmp_path):
    spec = f"{models / 'queries'}?max_length=9 | {models / 'passages'}?query_prompt=a%20%7C%20b"
    towers = encoder_from_name(spec)
    assert towers.name == spec
    assert encoder_from_name(towers.name).identity == towers.identity
    with Index.open(tmp_path / "i", encoder=spec) as index:
        index.upsert(["red apple", "light makes food"])
    with Index.open(tmp_path / "i") as index:
        assert len(Retriever(index, mode="dense").retrieve("red")) == 2
    seen = {towers.identity.fingerprint}
    for other in [
        f"{models / 'queries'} | {models / 'passages'}",
        f"{models / 'passages'} | {models / 'queries'}",
        f"{models / 'queries'} | {models / 'queries'}",
        str(models / "queries"),
    ]:
        fingerprint = encoder_from_name(other).identity.fingerprint
        assert fingerprint not in seen
        seen.add(fingerprint)
        with pytest.raises(EncoderMismatchError):
            Index.open(tmp_path / "i", encoder=other)


def test_towers_that_do_not_belong_together_are_refused(models):
    for spec, message in [
        (f"{models / 'queries'} | {models / 'dot'}", r"32 dimensions, cosine.*32 dimensions, dot"),
        (f"{models / 'queries'}?dim=8 | {models / 'passages'}", r"8 dimensions.*32 dimensions"),
        (f"hashing | {models / 'passages'}", r"'hashing' \(256 dimensions"),
    ]:
        towers = encoder_from_name(spec)
        for use in (towers.encode_queries, towers.encode_passages, lambda _, t=towers: t.identity):
            with pytest.raises(InputError, match=message):
                use(["x"])


def test_a_tower_is_one_encoder_with_an_identity():
    class Nameless:
        def encode_queries(self, texts):
            return np.ones((len(texts), 256), np.float32)

        encode_passages = encode_queries

    class Named(Nameless):
        name = "own"
        identity = EncoderIdentity("own", 256, Metric.COSINE, "f")

    with pytest.raises(
        InputError, match="tower for passages must have a name and identity, got Nameless"
    ):
        TowersEncoder(HashingEncoder(), Nameless())
    towers = TowersEncoder(HashingEncoder(), Named())
    assert towers.count_truncated(["x"]) == 0
    assert towers.encode_passages(["x"]).tolist() == [[1.0] * 256]
    with pytest.raises(InputError, match="tower for queries must be one model"):
        TowersEncoder(towers, HashingEncoder())
