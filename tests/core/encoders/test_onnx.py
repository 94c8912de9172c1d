import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tiny_models import finished_folder, router_folder, transformer_folder
from twofold import Index, Retriever
from twofold.encoders import ModelOptions, OnnxEncoder, TowersEncoder, distill, encoder_from_name
from twofold.errors import EncoderMismatchError, EncoderNotFoundError, InputError

HARD = [
    "",
    " \t\n",
    "\x00",
    "🙂🙃",
    "植物如何制造食物",
    "a",
    "word " * 3000,
    "Ünïcode — naïve",
    "[SEP] x",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def tiny(folder):
    return transformer_folder(folder / "plain", seed=1)


@pytest.fixture(scope="module")
def minilm():
    return encoder_from_name("all-MiniLM-L6-v2?backend=torch")


@pytest.fixture(scope="module")
def exported(folder):
    return OnnxEncoder.export("all-MiniLM-L6-v2", folder / "float32")


@pytest.fixture(scope="module")
def small(folder):
    return OnnxEncoder.export("all-MiniLM-L6-v2", folder / "int8", precision="int8")


@pytest.fixture(scope="module")
def texts(abstracts):
    return [f"{each['title']} {each['text']}" for each in abstracts[:12]] + HARD


def test_float32_gives_the_vectors_of_the_model(minilm, exported, texts):
    for ours, theirs in [
        (exported.encode_passages(texts), minilm.encode_passages(texts)),
        (exported.encode_queries(texts), minilm.encode_queries(texts)),
    ]:
        assert ours.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)
        assert (ours * theirs).sum(axis=1).min() >= 0.9999
    assert exported.count_truncated(texts) == minilm.count_truncated(texts) > 0
    assert exported.identity.metric is minilm.identity.metric
    assert exported.identity.fingerprint == minilm.identity.fingerprint


def test_int8_is_near_and_a_text_never_depends_on_its_neighbours(minilm, small, texts):
    vectors = small.encode_passages(texts)
    assert (vectors * minilm.encode_passages(texts)).sum(axis=1).mean() >= 0.98
    for place, text in enumerate(texts):
        assert small.encode_passages([text])[0].tobytes() == vectors[place].tobytes()
    turned = OnnxEncoder(small.name, threads=1).encode_passages(texts[::-1])
    assert turned[::-1].tobytes() == vectors.tobytes()
    assert (Path(small.name) / "model.onnx").stat().st_size < 30e6


def test_nothing_gives_nothing_of_the_right_shape(exported):
    assert exported.encode_passages([]).shape == (0, 384)
    assert exported.encode_queries([]).shape == (0, 384)
    assert exported.count_truncated([]) == 0
    with pytest.raises(InputError, match="text 0 has a lone surrogate"):
        exported.encode_queries(["\udc00"])


def test_a_folder_is_an_encoder_by_its_name(exported, small, tmp_path):
    again = encoder_from_name(exported.name)
    assert isinstance(again, OnnxEncoder)
    assert again.identity == exported.identity
    assert small.identity.fingerprint != exported.identity.fingerprint
    with Index.open(tmp_path / "i", encoder=exported.name) as index:
        index.upsert(["Plants use light to make glucose.", "Cells divide."])
    with Index.open(tmp_path / "i") as index:
        hits = Retriever(index, mode="dense").retrieve("photosynthesis")
        assert [hit.passage.text[:5] for hit in hits] == ["Plant", "Cells"]
    with pytest.raises(EncoderMismatchError):
        Index.open(tmp_path / "i", encoder=small)
    with pytest.raises(InputError, match="options were fixed by its export"):
        encoder_from_name(exported.name + "?dim=3")


def test_loading_needs_neither_torch_nor_sentence_transformers(exported):
    script = (
        "import sys\n"
        "from twofold.encoders import encoder_from_name\n"
        f"encoder = encoder_from_name({exported.name!r})\n"
        "print(encoder.identity.dim, encoder.encode_passages(['a text', '']).shape)\n"
        "print(encoder.count_truncated(['word ' * 999]))\n"
        "print([name for name in ('torch', 'transformers', 'sentence_transformers', 'onnx')"
        " if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == ["384 (2, 384)", "1", "[]"]


def test_without_the_runtime_the_extra_is_named(exported):
    script = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "from twofold.encoders import OnnxEncoder\n"
        f"OnnxEncoder({exported.name!r}).encode_queries(['x'])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1
    assert "MissingExtraError" in done.stderr
    assert "pip install 'twofold[onnx]'" in done.stderr


def test_options_are_in_the_graph(folder, tiny):
    texts = ["red apple and light from the food", "", "cells " * 40]
    seen = set()
    for place, options in enumerate(
        [
            ModelOptions(pooling="cls"),
            ModelOptions(pooling="mean"),
            ModelOptions(pooling="max", normalize=True),
            ModelOptions(pooling="max", normalize=True, dim=7),
            ModelOptions(pooling="mean", max_length=5),
            ModelOptions(pooling="mean", query_prompt="query: ", passage_prompt="passage: "),
        ]
    ):
        encoder = OnnxEncoder.export(str(tiny), folder / f"tiny-{place}", options=options)
        model = encoder_from_name(
            json.loads((folder / f"tiny-{place}" / "encoder.json").read_text())["model"]
        )
        np.testing.assert_allclose(
            encoder.encode_queries(texts), model.encode_queries(texts), atol=1e-4
        )
        np.testing.assert_allclose(
            encoder.encode_passages(texts), model.encode_passages(texts), atol=1e-4
        )
        assert encoder.identity.dim == model.identity.dim
        assert encoder.count_truncated(texts) == model.count_truncated(texts)
        seen.add(encoder.identity.fingerprint)
    assert len(seen) == 6


def test_a_router_becomes_two_graphs(folder, tiny):
    other = transformer_folder(folder / "other", seed=2)
    router = router_folder(folder / "router", tiny, other)
    encoder, model = (
        OnnxEncoder.export(str(router), folder / "routed"),
        encoder_from_name(str(router)),
    )
    assert {"model.query.onnx", "model.passage.onnx"} <= set(os.listdir(folder / "routed"))
    texts = ["red apple", "how do plants make food", ""]
    np.testing.assert_allclose(
        encoder.encode_queries(texts), model.encode_queries(texts), atol=1e-5
    )
    np.testing.assert_allclose(
        encoder.encode_passages(texts), model.encode_passages(texts), atol=1e-5
    )
    assert encoder_from_name(encoder.name).identity == encoder.identity
    towers = TowersEncoder(encoder, model)  # the fast one for queries alone
    assert encoder_from_name(towers.name).identity == towers.identity


def test_a_static_model_can_be_a_graph_too(folder, tiny):
    static = distill(str(tiny), folder / "static", dim=8, options=ModelOptions(pooling="mean"))
    encoder = OnnxEncoder.export(static.name, folder / "static-onnx")
    texts = ["red apple", "how do plants make food", "", "cells " * 400]
    np.testing.assert_allclose(
        encoder.encode_passages(texts), static.encode_passages(texts), atol=1e-5
    )
    assert encoder.count_truncated(texts) == 0


def test_a_folder_of_something_else_is_left_alone(folder, tiny, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    (tmp_path / "file").write_text("x")
    options = ModelOptions(pooling="mean")
    for name, message in [("mine", "a folder with other files"), ("file", "is a file")]:
        with pytest.raises(InputError, match=message):
            OnnxEncoder.export(str(tiny), tmp_path / name, options=options)
        with pytest.raises(InputError, match=message):
            distill(str(tiny), tmp_path / name, dim=4, options=options)
    with pytest.raises(InputError, match="precision must be .*got 'int4'"):
        OnnxEncoder.export(str(tiny), tmp_path / "new", precision="int4")
    with pytest.raises(EncoderNotFoundError):
        OnnxEncoder.export("./nowhere", tmp_path / "new")
    assert sorted(os.listdir(tmp_path)) == ["file", "mine"]  # nothing half written either
    assert os.listdir(tmp_path / "mine") == ["letter.txt"]
    first = OnnxEncoder.export(str(tiny), tmp_path / "new", options=options).identity
    second = OnnxEncoder.export(
        str(tiny), tmp_path / "new", options=ModelOptions(pooling="cls")
    ).identity
    assert first.fingerprint != second.fingerprint
    assert sorted(os.listdir(tmp_path)) == ["file", "mine", "new"]


def test_damage_is_told(folder, tiny, tmp_path):
    OnnxEncoder.export(str(tiny), tmp_path / "good", options=ModelOptions(pooling="mean"))

    def copy(name):
        return shutil.copytree(tmp_path / "good", tmp_path / name)

    changed = copy("changed") / "model.onnx"
    data = bytearray(changed.read_bytes())
    data[len(data) // 2] ^= 1
    changed.write_bytes(bytes(data))
    with pytest.raises(InputError, match="changed since the export"):
        assert OnnxEncoder(changed.parent).identity
    changed.write_bytes(b"nonsense")
    with pytest.raises(InputError, match="can't be opened"):
        OnnxEncoder(changed.parent).encode_queries(["x"])
    manifest = copy("manifest") / "encoder.json"
    good = json.loads(manifest.read_text())
    for text, message in [
        ("{", "can't be read"),
        ("[]", "can't be read"),
        (json.dumps({**good, "format": 3}), "this version reads format 2"),
        (json.dumps({**good, "metric": "nearness"}), "can't be read"),
        (json.dumps({**good, "query": None}), "can't be read"),
        (json.dumps({**good, "more": 1}), "can't be read"),
    ]:
        manifest.write_text(text)
        with pytest.raises(InputError, match=message):
            OnnxEncoder(manifest.parent)
    manifest.write_text(json.dumps({**good, "dim": 31}))
    with pytest.raises(InputError, match="changed since the export"):
        assert OnnxEncoder(manifest.parent).identity
    for name in ("nowhere", "good/model.onnx"):
        with pytest.raises(EncoderNotFoundError, match="has no exported model"):
            OnnxEncoder(tmp_path / name)
    with pytest.raises(InputError, match="threads must be .*got 0"):
        OnnxEncoder(tmp_path / "good", threads=0)


def test_a_finished_model_needs_no_options(folder, tiny):
    model = finished_folder(folder / "finished", tiny, prompts={"query": "query: "})
    encoder = OnnxEncoder.export(str(model), folder / "finished-onnx")
    np.testing.assert_allclose(
        encoder.encode_queries(["red"]),
        encoder_from_name(str(model)).encode_queries(["red"]),
        atol=1e-5,
    )
