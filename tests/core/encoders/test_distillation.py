import json
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from tiny_models import HIDDEN, transformer_folder
from twofold import Index, SentenceTransformerEncoder
from twofold.cli import app
from twofold.encoders import ModelOptions, distill, encoder_from_name
from twofold.errors import InputError

MEAN = ModelOptions(pooling="mean")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return transformer_folder(tmp_path_factory.mktemp("models") / "plain", seed=3)


def test_the_table_is_that_of_the_recipe(tiny, tmp_path):
    """Every step again, the plain way: encode each token as a text, reduce, weight, average."""
    encoder = distill(str(tiny), tmp_path / "static", dim=5, options=MEAN)
    words = (tiny / "vocab.txt").read_text(encoding="utf-8").splitlines()
    words = [
        word for word in words if word not in ("[PAD]", "[CLS]", "[SEP]", "[MASK]", "[unused1]")
    ]
    # A piece such as ##a can't be written as a text, so the tokenizer is told that it is one token.
    model = SentenceTransformerEncoder(str(tiny), options=MEAN)
    model.model.tokenizer.add_tokens([word for word in words if word.startswith("##")])
    vectors = model.encode_passages(words).astype(np.float64)
    centred = vectors - vectors.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    shares = 1 / np.arange(1, len(words) + 1) / (1 / np.arange(1, len(words) + 1)).sum()
    table = centred @ axes[:5].T * (1e-4 / (1e-4 + shares))[:, None]
    wanted = np.array(
        [table[words.index("red")] + table[words.index("apple")], table[words.index("light")]]
    )
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    found = encoder.encode_passages(["red apple", "light"])
    assert encoder.identity.dim == 5
    signs = np.sign(found[1]) * np.sign(wanted[1])  # the sign of an axis is free
    np.testing.assert_allclose(found * signs, wanted, atol=1e-4)


def test_a_distilled_model_is_a_sentence_transformers_folder(tiny, tmp_path):
    encoder = distill(str(tiny), tmp_path / "static", dim=HIDDEN, options=MEAN)
    again = encoder_from_name(str(tmp_path / "static"))
    assert again.backend == "torch"
    assert again.identity == encoder.identity
    repeated = distill(str(tiny), tmp_path / "static", dim=HIDDEN, options=MEAN)
    assert repeated.identity == encoder.identity
    vectors = encoder.encode_passages(["", "red apple", " \t", "red apple " * 500, "[SEP]", "🙂"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors[1], vectors[3], atol=1e-5)  # read to the end
    assert vectors[0].tobytes() == vectors[2].tobytes()  # and a text without tokens is no error
    assert encoder.count_truncated(["red " * 9999]) == 0
    with pytest.raises(InputError, match="has no length limit"):
        encoder_from_name(f"{encoder.name}?max_length=9").encode_queries(["x"])
    with pytest.raises(InputError, match="no pooling layer"):
        encoder_from_name(f"{encoder.name}?pooling=cls").encode_queries(["x"])
    short = encoder_from_name(f"{encoder.name}?dim=4")
    np.testing.assert_allclose(np.linalg.norm(short.encode_queries(["red"]), axis=1), 1, atol=1e-5)


def test_what_cannot_be_distilled_says_why(tiny, tmp_path):
    for dim, message in [(33, "must be <= 32"), (0, "got 0"), (True, "got True")]:
        with pytest.raises(InputError, match=message):
            distill(str(tiny), tmp_path / "static", dim=dim, options=MEAN)
    static = distill(str(tiny), tmp_path / "static", dim=4, options=MEAN)
    with pytest.raises(InputError, match="can't be distilled"):
        distill(static.name, tmp_path / "again", dim=4)
    assert not (tmp_path / "again").exists()


@pytest.mark.slow
def test_a_distilled_minilm_finds_what_its_teacher_finds(abstracts, tmp_path):
    encoder = distill("all-MiniLM-L6-v2", tmp_path / "static")
    texts = [f"{each['title']} {each['text']}" for each in abstracts[:300]]
    # Half of a text asks for the other half.
    halves = [(text[: len(text) // 2], text[len(text) // 2 :]) for text in texts]
    queries = encoder.encode_queries([one for one, _ in halves])
    passages = encoder.encode_passages([two for _, two in halves])
    first = (queries @ passages.T).argmax(axis=1) == np.arange(len(texts))
    assert first.mean() > 0.8  # chance is 1 in 300


def test_export_on_the_command_line(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"_id": "1", "text": "red apple"}\n{"_id": "2", "text": "cells divide"}\n')
    runner = CliRunner()
    sizes = {}
    for form, more in [("onnx", []), ("onnx-int8", []), ("static", ["--dim", "6"])]:
        command = ["export", f"{tiny}?pooling=mean&normalize=true", "--to", form, "--as", form]
        done = runner.invoke(app, [*command, *more, "--json"])
        assert done.exit_code == 0, done.output
        summary = json.loads(done.stdout)
        assert summary["fingerprint"] == encoder_from_name(form).identity.fingerprint
        assert summary["dim"] == (6 if form == "static" else HIDDEN)
        sizes[form] = summary["bytes"]
        done = runner.invoke(
            app, ["index", "corpus.jsonl", "--to", f"{form}.twofold", "--encoder", form]
        )
        assert done.exit_code == 0, done.output
        with Index.open(tmp_path / f"{form}.twofold", create=False) as index:
            assert index.dim == summary["dim"]
    assert sizes["onnx-int8"] < sizes["onnx"]
    for arguments, message in [
        (["export", str(tiny), "--to", "x", "--dim", "3"], "--dim is for --as static"),
        (["export", f"{tiny}?poolin=cls", "--to", "x"], "did you mean 'pooling'"),
        (["export", "./nowhere", "--to", "x"], "no model folder"),
        (["export", f"{tiny}?pooling=cls", "--to", str(tmp_path)], "a folder with other files"),
    ]:
        done = runner.invoke(app, arguments)
        assert done.exit_code == 2
        assert message in done.stderr


def test_exporting_leaves_the_root_logger_alone(tiny, tmp_path):
    script = (
        "import logging\n"
        "from twofold.encoders import ModelOptions, OnnxEncoder\n"
        "before = list(logging.getLogger().handlers)\n"
        f"OnnxEncoder.export({str(tiny)!r}, {str(tmp_path / 'q')!r}, precision='int8',"
        " options=ModelOptions(pooling='mean'))\n"
        "print(logging.getLogger().handlers == before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout == "True\n"
