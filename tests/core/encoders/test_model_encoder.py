"""Models by name on ONNX Runtime: the vectors of torch, the cache, and the way to torch."""

import copy
import json
import logging
import os
import pickle
import shutil
import subprocess
import sys
import textwrap
import warnings
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
import torch

from tiny_models import (
    CONFIGS,
    architecture_folder,
    finished_folder,
    router_folder,
    transformer_folder,
)
from twofold import Index, ModelEncoder, Retriever, SentenceTransformerEncoder
from twofold.encoders import ModelOptions, TowersEncoder, distill, encoder_from_name
from twofold.encoders.model_spec import resolve_model_source
from twofold.errors import (
    EncoderMismatchError,
    EncoderNotFoundError,
    InputError,
)

TEXTS = [
    "",
    " \t",
    "red apple",
    "how do plants make food from light : " * 30,
    "cells [PAD] divide [SEP] the red",
    "中文 and the APPLE, of plants!",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def tiny(folder):
    return finished_folder(folder / "tiny", transformer_folder(folder / "plain", seed=1))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TWOFOLD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "graphs"


def run(script, **environment):
    """Run a script in another process that gets this one's warnings and paths."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def assert_like_torch(model, options=ModelOptions()):  # noqa: B008 - frozen
    ours = ModelEncoder(model, options=options, backend="onnx")
    theirs = SentenceTransformerEncoder(model, options=options, device="cpu")
    assert ours.backend == "onnx"
    for method in ("encode_queries", "encode_passages"):
        found, wanted = getattr(ours, method)(TEXTS), getattr(theirs, method)(TEXTS)
        assert found.dtype == np.float32
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, atol=5e-6)
        assert len(np.unique(found.round(4), axis=0)) >= 5  # other texts, other vectors
    assert ours.count_truncated(TEXTS) == theirs.count_truncated(TEXTS)
    mine, other = ours.identity, theirs.identity
    assert (mine.fingerprint, mine.dim, mine.metric) == (other.fingerprint, other.dim, other.metric)


@pytest.mark.parametrize("pooling", ["cls", "mean", "max"])
@pytest.mark.parametrize("kind", CONFIGS)
def test_every_architecture_has_the_vectors_of_torch(folder, kind, pooling):
    plain = folder / kind
    if not plain.exists():
        architecture_folder(plain, kind, seed=len(kind), pad_token_id=0)
    model = finished_folder(
        folder / f"{kind}-{pooling}", plain, pooling=pooling, normalize=pooling != "max"
    )
    assert_like_torch(model)


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "roberta", "pad_token_id": 1},
        {"kind": "bert", "hidden_act": "relu"},
        {"kind": "bert", "layer_norm_eps": 1e-3},
        {"kind": "bert", "type_vocab_size": 1},
        {"kind": "distilbert", "activation": "relu"},
        {"kind": "bert", "dtype": torch.float16},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_settings_of_the_transformer_are_read(folder, settings, tmp_path):
    kind, *_ = settings.values()
    rest = {name: value for name, value in settings.items() if name != "kind"}
    plain = architecture_folder(tmp_path / "plain", kind, **rest)
    model = finished_folder(tmp_path / "model", plain)
    if settings.get("dtype") is torch.float16:  # torch computes in halves
        ours = ModelEncoder(model).encode_passages(TEXTS)
        theirs = SentenceTransformerEncoder(model, device="cpu").encode_passages(TEXTS)
        assert (ours * theirs).sum(axis=1).min() > 0.999
        assert ModelEncoder(model).backend == "onnx"
        return
    assert_like_torch(model)


@pytest.mark.parametrize(
    "options",
    [
        ModelOptions(pooling="cls"),
        ModelOptions(pooling="max", normalize=False),
        ModelOptions(max_length=5),
        ModelOptions(dim=7),
        ModelOptions(dim=7, normalize=False),
        ModelOptions(query_prompt="query: ", passage_prompt="passage: "),
    ],
    ids=str,
)
def test_options_are_those_of_torch(tiny, options):
    assert_like_torch(tiny, options)


def test_what_a_model_was_saved_with_is_used(folder, tmp_path):
    model = finished_folder(
        tmp_path / "m",
        folder / "plain" if (folder / "plain").exists() else transformer_folder(folder / "plain"),
        normalize=False,
        prompts={"query": "query: ", "passage": "never: ", "document": "passage: "},
        similarity_fn_name="dot",
    )
    assert_like_torch(model)
    settings = model / "sentence_bert_config.json"
    saved = json.loads(settings.read_text())
    for more in ({"max_seq_length": 9}, {"do_lower_case": True}):
        settings.write_text(json.dumps({**saved, **more}))
        assert_like_torch(model)


def test_minilm_is_the_model_of_torch(abstracts):
    texts = [f"{each['title']} {each['text']}" for each in abstracts[:20]] + TEXTS
    default = encoder_from_name("all-MiniLM-L6-v2")
    with_torch = encoder_from_name("all-MiniLM-L6-v2?backend=torch")
    assert (default.backend, with_torch.backend) == ("onnx", "torch")
    found, wanted = default.encode_passages(texts), with_torch.encode_passages(texts)
    assert (found * wanted).sum(axis=1).min() >= 0.99999
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert default.identity.fingerprint == with_torch.identity.fingerprint
    small = encoder_from_name("all-MiniLM-L6-v2?backend=onnx-int8")
    assert small.backend == "onnx-int8"
    cosines = (small.encode_passages(texts) * wanted).sum(axis=1)
    assert cosines.mean() >= 0.98
    assert cosines.min() < 0.99999
    assert small.identity.fingerprint != default.identity.fingerprint


def test_both_runtimes_open_one_index(tiny, tmp_path):
    for first, second in [("onnx", "torch"), ("torch", "onnx")]:
        path = tmp_path / first
        with Index.open(path, encoder=f"{tiny}?backend={first}") as index:
            index.upsert(["red apple", "cells divide"])
            wanted = Retriever(index, mode="dense").retrieve("apple")
        with Index.open(path) as index:
            assert index.encoder.backend == first  # as it was stored
        with Index.open(path, encoder=f"{tiny}?backend={second}") as index:
            found = Retriever(index, mode="dense").retrieve("apple")
            assert index.encoder.backend == second
            assert found.ids == wanted.ids
            np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-5)
            index.upsert(["of plants"])
            assert index.verify(deep=True).ok
        with pytest.raises(EncoderMismatchError, match="backend=onnx-int8"):
            Index.open(path, encoder=f"{tiny}?backend=onnx-int8")


def gelu_new(folder, plain, tmp_path):
    return finished_folder(
        tmp_path / "m", architecture_folder(tmp_path / "p", "bert", hidden_act="gelu_new")
    )


def static(folder, plain, tmp_path):
    distill(str(plain), tmp_path / "m", dim=8, options=ModelOptions(pooling="mean"))
    return tmp_path / "m"


def router(folder, plain, tmp_path):
    return router_folder(tmp_path / "m", plain, plain)


def without_tokenizer(folder, plain, tmp_path):
    model = finished_folder(tmp_path / "m", plain)
    shutil.copy(plain / "vocab.txt", model)
    (model / "tokenizer.json").unlink()
    return model


def other_weights(folder, plain, tmp_path):
    from safetensors.torch import load_file, save_file

    model = finished_folder(tmp_path / "m", plain)
    weights = load_file(model / "model.safetensors")
    weights["encoder.layer.0.adapter.weight"] = torch.ones(2)
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    return model


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (gelu_new, "its activation is 'gelu_new'"),
        (static, "its modules are StaticEmbedding"),
        (router, "its modules are Router"),
        (without_tokenizer, "it has no tokenizer.json"),
        (other_weights, "other weights, such as 'encoder.layer.0.adapter.weight'"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_another_model_runs_on_torch_with_one_line_in_the_log(
    folder, tiny, build, reason, tmp_path, caplog
):
    model = build(folder, folder / "plain", tmp_path)
    encoder = ModelEncoder(model)
    with caplog.at_level(logging.INFO, logger="twofold"):
        vectors = encoder.encode_passages(["red apple", "cells"])
        encoder.encode_queries(["red apple"])
    assert encoder.backend == "torch"
    lines = [record.getMessage() for record in caplog.records if record.name == "twofold"]
    assert len(lines) == 1
    assert "runs on torch" in lines[0]
    assert reason in lines[0]
    wanted = SentenceTransformerEncoder(model, device="cpu")
    np.testing.assert_allclose(vectors, wanted.encode_passages(["red apple", "cells"]), atol=1e-6)
    assert encoder.identity.fingerprint == wanted.identity.fingerprint
    with pytest.raises(InputError, match=r"can't run with backend='onnx': .*omit backend"):
        ModelEncoder(model, backend="onnx").encode_queries(["x"])


def whole(graphs):
    """The bytes of the one cached graph's files."""
    (entry,) = graphs.iterdir()
    return {path.name: path.read_bytes() for path in sorted(entry.iterdir())}


def test_a_damaged_graph_is_built_again(tiny, cache):
    wanted = ModelEncoder(tiny).encode_passages(TEXTS).tobytes()
    good = whole(cache)
    assert set(good) == {"model.onnx", "tokenizer.json", "encoder.json"}
    (entry,) = cache.iterdir()

    def damages():
        for name, data in good.items():
            middle = len(data) // 2
            yield name, data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
            yield name, data[:middle]
            yield name, b""
            yield name, None

    for name, data in damages():
        if data is None:
            (entry / name).unlink()
        else:
            (entry / name).write_bytes(data)
        assert ModelEncoder(tiny).encode_passages(TEXTS).tobytes() == wanted
        assert whole(cache) == good, name
    (entry / "model.onnx").unlink()
    (entry / "model.onnx").mkdir()
    assert ModelEncoder(tiny).encode_passages(TEXTS).tobytes() == wanted
    shutil.rmtree(entry)
    entry.write_text("a file")
    assert ModelEncoder(tiny).encode_passages(TEXTS).tobytes() == wanted
    assert not list(cache.glob(".building-*"))


def test_a_changed_model_has_another_graph(tiny, cache, tmp_path):
    model = shutil.copytree(tiny, tmp_path / "model")
    first = ModelEncoder(model)
    vectors = first.encode_passages(TEXTS)
    other = finished_folder(tmp_path / "other", transformer_folder(tmp_path / "p", seed=8))
    shutil.copy(other / "model.safetensors", model / "model.safetensors")
    second = ModelEncoder(model)
    assert np.abs(second.encode_passages(TEXTS) - vectors).max() > 0.01
    assert second.identity.fingerprint != first.identity.fingerprint
    assert_like_torch(model)
    pooling = model / "1_Pooling" / "config.json"
    pooling.write_text(pooling.read_text().replace('"mean"', '"cls"'))
    assert_like_torch(model)
    assert len(list(cache.iterdir())) == 3


def test_processes_that_build_one_graph_at_once_are_all_right(tiny, cache, tmp_path):
    script = f"""
        import sys
        from twofold import ModelEncoder
        sys.stdin.read(1)
        encoder = ModelEncoder({str(tiny)!r})
        print(encoder.encode_passages(["red apple"]).tobytes().hex(), encoder.backend)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    children = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for child in children:  # all have waited for this, so they start together
        child.stdin.write("x")
        child.stdin.flush()
    answers = {child.communicate()[0] for child in children}
    assert [child.returncode for child in children] == [0] * 4
    wanted = ModelEncoder(tiny).encode_passages(["red apple"]).tobytes().hex()
    assert answers == {f"{wanted} onnx\n"}
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize("place", ["/proc/nowhere", "a file"])
def test_without_a_cache_each_process_builds_its_own(tiny, place, tmp_path, monkeypatch):
    if place == "a file":
        place = tmp_path / "file"
        place.write_text("")
    wanted = ModelEncoder(tiny).encode_passages(TEXTS)
    monkeypatch.setenv("TWOFOLD_CACHE", str(place))
    encoder = ModelEncoder(tiny)
    assert encoder.encode_passages(TEXTS).tobytes() == wanted.tobytes()
    assert encoder.backend == "onnx"
    again = pickle.loads(pickle.dumps(encoder))
    assert again.encode_passages(TEXTS).tobytes() == wanted.tobytes()


def test_graphs_that_were_not_used_for_long_are_removed(tiny, cache):
    ModelEncoder(tiny).encode_queries(["x"])
    (first,) = cache.iterdir()
    (cache / ".building-left").mkdir()
    for path, days in [(first, 91), (cache / ".building-left", 2)]:
        long_ago = path.stat().st_mtime - days * 86_400
        os.utime(path, (long_ago, long_ago))
    ModelEncoder(tiny, options=ModelOptions(dim=3)).encode_queries(["x"])
    (left,) = cache.iterdir()
    assert left != first
    long_ago = left.stat().st_mtime - 91 * 86_400
    os.utime(left, (long_ago, long_ago))
    ModelEncoder(tiny, options=ModelOptions(dim=3)).encode_queries(["x"])  # a use counts
    ModelEncoder(tiny).encode_queries(["x"])
    assert len(list(cache.iterdir())) == 2


def test_an_encoder_can_be_copied(tiny):
    encoder = ModelEncoder(tiny, options=ModelOptions(dim=5))
    wanted = encoder.encode_queries(TEXTS)
    for again in (pickle.loads(pickle.dumps(encoder)), copy.deepcopy(encoder)):
        assert again.name == encoder.name
        assert again.encode_queries(TEXTS).tobytes() == wanted.tobytes()


def test_bad_arguments_are_refused(tiny):
    with pytest.raises(InputError, match="backend must be one of 'torch', 'onnx', 'onnx-int8', go"):
        ModelEncoder(tiny, backend="cuda")
    with pytest.raises(InputError, match="backend must be one of"):
        encoder_from_name("all-MiniLM-L6-v2?backend=int8")
    with pytest.raises(EncoderNotFoundError):
        ModelEncoder("/nowhere/at/all")
    towers = encoder_from_name(f"{tiny}?backend=onnx | {tiny}?backend=torch")
    assert isinstance(towers, TowersEncoder)
    assert (towers.queries.backend, towers.passages.backend) == ("onnx", "torch")


def test_neither_torch_nor_transformers_are_imported(tiny, cache):
    script = f"""
        import sys
        for name in ("torch", "transformers", "sentence_transformers"):
            sys.modules[name] = None
        from twofold import Index, Retriever
        with Index.open(None, encoder={str(tiny)!r}) as index:
            index.upsert(["red apple", "cells divide"])
            print(Retriever(index).retrieve("apple")[0].passage.text)
            print(index.encoder.backend, "onnx" in sys.modules)
    """
    for built in ("True", "False"):  # onnx only builds
        done = run(script)
        assert done.stdout == f"red apple\nonnx {built}\n", done.stderr


def test_without_a_runtime_the_extra_is_in_the_message(tiny, cache):
    script = f"""
        import logging, sys
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
        for name in sys.argv[1:]:
            sys.modules[name] = None
        from twofold import ModelEncoder
        encoder = ModelEncoder({str(tiny)!r}, backend=BACKEND)
        print(encoder.encode_queries(["x"]).shape, encoder.backend)
    """

    def without(*modules, backend=None):
        filled = textwrap.dedent(script).replace("BACKEND", repr(backend))
        command = [sys.executable, "-c", filled, *modules]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = without("onnxruntime")
    assert done.stdout == "(1, 32) torch\n", done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("twofold: ")]
    assert len(lines) == 1
    assert "runs on torch: ONNX Runtime needs onnxruntime: pip install 'twofold[onnx]'" in lines[0]
    done = without("onnxruntime", backend="onnx")
    assert "MissingExtraError: ONNX Runtime needs onnxruntime: pip install" in done.stderr
    done = without("onnxruntime", "sentence_transformers", "torch")
    assert "MissingExtraError: the model" in done.stderr
    assert "needs ONNX Runtime or torch: pip install 'twofold[onnx]'" in done.stderr
    done = without("sentence_transformers", backend="torch")
    assert "torch models need sentence-transformers: pip install 'twofold[models]'" in done.stderr


def test_a_model_in_the_cache_of_the_hub_is_found_offline(tiny, cache, tmp_path):
    hub = tmp_path / "hub" / "hub" / "models--someone--tiny"
    shutil.copytree(tiny, hub / "snapshots" / "0a1b")
    (hub / "refs").mkdir()
    (hub / "refs" / "main").write_text("0a1b")
    script = """
        import sys
        from twofold import ModelEncoder
        encoder = ModelEncoder("someone/tiny")
        print(encoder.encode_passages(["red apple"]).tobytes().hex(), encoder.backend)
        print("torch" in sys.modules)
        try:
            ModelEncoder("someone/else").encode_queries(["x"])
        except Exception as error:
            print(type(error).__name__)
    """
    done = run(script, HF_HOME=str(tmp_path / "hub"), HF_HUB_OFFLINE="1")
    wanted = ModelEncoder(tiny).encode_passages(["red apple"]).tobytes().hex()
    assert done.stdout == f"{wanted} onnx\nFalse\nEncoderNotFoundError\n", done.stderr


def test_only_what_is_needed_is_downloaded(tiny, cache, tmp_path, monkeypatch):
    asked, here = [], tmp_path / "here"

    def download(repository, allow_patterns):
        asked.append((repository, allow_patterns))
        for path in there.rglob("*"):
            name = path.relative_to(there).as_posix()
            if path.is_file() and any(fnmatch(name, pattern) for pattern in allow_patterns):
                (here / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, here / name)
        return str(here)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    there = shutil.copytree(tiny, tmp_path / "there")
    (there / "onnx").mkdir()
    (there / "onnx" / "model.onnx").write_bytes(b"not needed")
    assert ModelEncoder("someone/tiny").backend == "onnx"
    assert len(asked) == 2
    assert not (here / "onnx").exists()
    assert ModelEncoder("someone/tiny").backend == "onnx"  # all is there
    assert len(asked) == 3
    assert not (here / "onnx").exists()
    edit("config.json", model_type="other")(there)
    shutil.rmtree(here)
    with pytest.raises(InputError, match="can't run with backend='onnx'"):
        ModelEncoder("someone/other", backend="onnx").encode_queries(["x"])
    assert (here / "onnx" / "model.onnx").exists()


def test_the_installed_package_is_found():
    source = Path(resolve_model_source("all-MiniLM-L6-v2"))
    assert (source / "model.safetensors").is_file()
    assert resolve_model_source("sentence-transformers/all-MiniLM-L6-v2") == str(source)


def carried(tmp_path, *, opset, pooled=False, seed=5):
    """A model with an activation that can't be built, and its graph as others export it."""
    plain = architecture_folder(tmp_path / f"p{seed}", "bert", hidden_act="gelu_new", seed=seed)
    model = finished_folder(tmp_path / f"m{seed}", plain)
    loaded = SentenceTransformerEncoder(model, device="cpu").model
    transformer = loaded[0].auto_model.eval()

    class Exported(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.transformer = transformer

        def forward(self, input_ids, attention_mask, token_type_ids):
            tokens = self.transformer(
                input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
            ).last_hidden_state
            return tokens.mean(dim=1) if pooled else tokens

    ids = torch.tensor([[2, 7, 9, 3]])
    names = ["input_ids", "attention_mask", "token_type_ids"]
    (model / "onnx").mkdir()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about tracing
        torch.onnx.export(
            Exported(),
            (ids, torch.ones_like(ids), torch.zeros_like(ids)),
            str(model / "onnx" / "model.onnx"),
            input_names=names,
            output_names=["sentence_embedding" if pooled else "last_hidden_state"],
            dynamic_axes={name: {0: "batch", 1: "tokens"} for name in names},
            opset_version=opset,
            dynamo=False,
        )
    return model


@pytest.mark.parametrize(("opset", "pooled"), [(14, False), (17, True), (18, False)])
def test_a_carried_graph_is_used_where_none_can_be_built(opset, pooled, tmp_path, cache):
    model = carried(tmp_path, opset=opset, pooled=pooled)
    assert_like_torch(model)
    if not pooled:
        for pooling in ("cls", "max"):
            assert_like_torch(model, ModelOptions(pooling=pooling, dim=6, max_length=12))
    script = f"""
        import sys
        for name in ("torch", "sentence_transformers"):
            sys.modules[name] = None
        from twofold import ModelEncoder
        encoder = ModelEncoder({str(model)!r})
        print(encoder.encode_passages(["red apple"]).tobytes().hex(), encoder.backend)
    """
    wanted = ModelEncoder(model).encode_passages(["red apple"]).tobytes().hex()
    if not pooled:
        done = run(script)
        assert done.stdout == f"{wanted} onnx\n", done.stderr
        assert "can't be compared with the weights" in done.stderr


def test_a_graph_of_other_weights_is_not_used(tmp_path, cache, caplog):
    model = carried(tmp_path, opset=17)
    other = carried(tmp_path, opset=17, seed=6)
    shutil.copy(other / "onnx" / "model.onnx", model / "onnx" / "model.onnx")
    encoder = ModelEncoder(model)
    with caplog.at_level(logging.INFO, logger="twofold"):
        assert encoder.backend == "torch"
    assert "its graph has other vectors than its weights" in caplog.text
    for content in (b"", b"nonsense", (tmp_path / "m6" / "config.json").read_bytes()):
        (model / "onnx" / "model.onnx").write_bytes(content)
        assert ModelEncoder(model).backend == "torch"


def edit(name, **values):
    """Return a function that changes values of a JSON file of a model's folder."""

    def change(model):
        path = model / name
        saved = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**saved, **values}))

    change.__name__ = f"{name} {values}"[:60]
    return change


def nested(name):
    """Return a function that makes a JSON file too deep to be parsed."""

    def change(model):
        (model / name).write_text("[" * 100_000)

    change.__name__ = f"nested {name}"
    return change


def renamed_lengths(model):
    (model / "sentence_bert_config.json").unlink()
    (model / "sentence_distilbert_config.json").write_text('{"max_seq_length": 8}')


def short_and_cut_on_the_left(model):
    edit("tokenizer_config.json", truncation_side="left")(model)
    edit("sentence_bert_config.json", max_seq_length=8)(model)


def custom_module(model):
    path = model / "modules.json"
    path.write_text(path.read_text().replace('"sentence_transformers.', '"mypk.'))


def without_special_tokens(model):
    path = model / "tokenizer.json"
    saved = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**saved, "post_processor": None}), encoding="utf-8")


def change_weights(change, name=None):
    """Return a function that changes a model's weights by name, before they are saved again."""

    def apply(model):
        from safetensors.torch import load_file, save_file

        path = model / "model.safetensors"
        weights = load_file(path)
        change(weights)
        save_file(weights, path, metadata={"format": "pt"})

    apply.__name__ = name or change.__name__
    return apply


def halves(weights):
    for name in weights:
        weights[name] = weights[name].half()


def mixed(weights):
    weights["embeddings.LayerNorm.bias"] = weights["embeddings.LayerNorm.bias"].half()


def twice(weights):
    weights["bert.embeddings.LayerNorm.bias"] = weights["embeddings.LayerNorm.bias"] + 1


def few_positions(weights):
    name = "embeddings.position_embeddings.weight"
    weights[name] = weights[name][:40].clone()


def few_words(weights):
    name = "embeddings.word_embeddings.weight"
    weights[name] = weights[name][:30].clone()


def stray_shard(model):
    shutil.copy(model / "model.safetensors", model / "model-00009-of-00009.safetensors")


def sharded(model):
    from safetensors.torch import load_file, save_file

    weights = load_file(model / "model.safetensors")
    places = {
        name: f"model-{place % 2 + 1:05}-of-00002.safetensors" for place, name in enumerate(weights)
    }
    for file in set(places.values()):
        part = {name: weights[name] for name, place in places.items() if place == file}
        save_file(part, model / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": places}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    (model / "model.safetensors").unlink()
    stray = {name: weight + 1 for name, weight in weights.items()}
    save_file(stray, model / "model-00009-of-00009.safetensors", metadata={"format": "pt"})


HONEST = [
    edit("sentence_bert_config.json", do_lower_case=True),
    edit("sentence_bert_config.json", max_seq_length=2),
    edit("tokenizer_config.json", do_lower_case=False),
    edit("tokenizer_config.json", strip_accents=False, tokenize_chinese_chars=False),
    edit("tokenizer_config.json", model_max_length=12),
    edit("config.json", dtype="float16"),
    edit("config.json", layer_norm_eps=0.5),
    edit("config_sentence_transformers.json", prompts={"query": "the ", "document": None}),
    renamed_lengths,
    short_and_cut_on_the_left,
    change_weights(halves),
    change_weights(mixed),
    change_weights(twice),
    stray_shard,
    sharded,
]
"""Changes of a folder that sentence-transformers still loads."""
REFUSED = [
    custom_module,
    edit("config.json", model_type=[]),
    edit("config.json", hidden_size="32"),
    edit("config.json", num_hidden_layers=10**400),
    edit("config.json", num_attention_heads=-1),
    edit("config.json", max_position_embeddings=10**13),
    edit("config.json", pad_token_id=1e400),
    edit("sentence_bert_config.json", max_seq_length=[]),
    edit("sentence_bert_config.json", max_seq_length=1e30),
    edit("1_Pooling/config.json", pooling_mode=5),
    edit("1_Pooling/config.json", pooling_mode=None, pooling_mode_mean_tokens=None),
    edit("config_sentence_transformers.json", prompts={"query": 5}),
    edit("config_sentence_transformers.json", prompts={"query": "\ud800"}),
    edit("sentence_bert_config.json", module_output_name="sentence_embedding"),
    edit(
        "sentence_bert_config.json",
        modality_config={"text": {"method": "forward", "method_output_name": "pooler_output"}},
    ),
    edit("adapter_config.json", peft_type="LORA"),
    change_weights(few_positions),
    change_weights(few_words),
    without_special_tokens,
    nested("modules.json"),
    nested("config.json"),
    nested("tokenizer_config.json"),
    nested("1_Pooling/config.json"),
]
"""Changes of a folder that ONNX Runtime must not run; few can be loaded by torch."""


@pytest.mark.parametrize("change", HONEST, ids=lambda change: change.__name__)
def test_a_changed_folder_has_the_vectors_of_torch(tiny, change, tmp_path):
    model = shutil.copytree(tiny, tmp_path / "model")
    change(model)
    ours, theirs = ModelEncoder(model), SentenceTransformerEncoder(model, device="cpu")
    texts = [*TEXTS, "plants make food from light how do cells divide the red apple"]
    half = change.__name__ == "halves" or "float16" in change.__name__  # torch computes in halves
    np.testing.assert_allclose(
        ours.encode_passages(texts), theirs.encode_passages(texts), atol=3e-3 if half else 5e-6
    )
    assert ours.identity.fingerprint == theirs.identity.fingerprint
    assert ours.count_truncated(texts) == theirs.count_truncated(texts)


@pytest.mark.parametrize("change", REFUSED, ids=lambda change: change.__name__)
def test_a_wrong_folder_goes_to_torch_or_is_refused(tiny, change, tmp_path):
    model = shutil.copytree(tiny, tmp_path / "model")
    change(model)
    assert ModelEncoder(model).backend == "torch"
    with pytest.raises(InputError, match="can't run with backend='onnx'"):
        ModelEncoder(model, backend="onnx").encode_queries(["x"])


def test_a_folder_that_torch_cannot_load_is_named(tiny, tmp_path):
    for place, change in enumerate([REFUSED[0], REFUSED[2], REFUSED[11], damaged_weights]):
        model = shutil.copytree(tiny, tmp_path / str(place))
        change(model)
        with pytest.raises(InputError, match=rf"the model in {model} can't be loaded \("):
            ModelEncoder(model).encode_queries(["x"])


def damaged_weights(model):
    path = model / "model.safetensors"
    path.write_bytes(b"nonsense" + path.read_bytes()[8:])


def swapped(weights):
    for name in [name for name in weights if "layer.0." in name]:
        other = name.replace("layer.0.", "layer.1.")
        weights[name], weights[other] = weights[other], weights[name]


@pytest.mark.parametrize(
    "change",
    [
        change_weights(swapped),
        edit("config.json", hidden_act="relu"),
        edit("config.json", layer_norm_eps=0.5),
        edit("config.json", num_attention_heads=8),
        edit("tokenizer_config.json", truncation_side="left"),
    ],
    ids=lambda change: change.__name__,
)
def test_what_changes_vectors_changes_the_fingerprint(change, tmp_path):
    model = finished_folder(tmp_path / "m", architecture_folder(tmp_path / "p", "bert"))
    before = [ModelEncoder(model), SentenceTransformerEncoder(model, device="cpu")]
    known = {encoder.identity.fingerprint for encoder in before}
    assert len(known) == 1
    change(model)
    after = [ModelEncoder(model), SentenceTransformerEncoder(model, device="cpu")]
    assert after[0].backend == "onnx"
    other = {encoder.identity.fingerprint for encoder in after}
    assert len(other) == 1
    assert other != known


def test_folders_of_others_in_the_cache_stay(tiny, cache):
    mine = [cache / "thesis", cache / ("0" * 32), cache / "notes.txt"]
    for path in mine[:2]:
        path.mkdir(parents=True)
    mine[2].write_text("x")
    for path in mine:
        os.utime(path, (0, 0))
    ModelEncoder(tiny).encode_queries(["x"])
    assert all(path.exists() for path in mine)


def test_a_graph_that_scales_is_not_used(tmp_path, cache):
    import onnx

    model = carried(tmp_path, opset=17)
    path = model / "onnx" / "model.onnx"
    graph = onnx.load(str(path))
    for node in graph.graph.node:
        node.output[:] = ["plain" if n == "last_hidden_state" else n for n in node.output]
    graph.graph.initializer.append(onnx.helper.make_tensor("two", 1, [1], [2.0]))
    graph.graph.node.append(onnx.helper.make_node("Mul", ["plain", "two"], ["last_hidden_state"]))
    onnx.save(graph, str(path))
    assert ModelEncoder(model).backend == "onnx"  # its vectors have unit length all the same
    for options in (ModelOptions(normalize=False), ModelOptions(normalize=False, dim=5)):
        assert ModelEncoder(model, options=options).backend == "torch"


def test_a_pooled_graph_needs_torch_to_be_compared(tmp_path, cache):
    model = carried(tmp_path, opset=17, pooled=True)
    script = f"""
        import sys
        for name in ("torch", "sentence_transformers"):
            sys.modules[name] = None
        from twofold import ModelEncoder
        ModelEncoder({str(model)!r}).encode_passages(["red apple"])
    """
    assert "pools tokens itself" in run(script).stderr
