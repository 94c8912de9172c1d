import os
import threading

import numpy as np
import pytest

from tiny_models import HIDDEN, finished_folder, router_folder, transformer_folder
from twofold import Index, Metric, Retriever, SentenceTransformerEncoder
from twofold.encoders import ModelOptions, encoder_from_name
from twofold.encoders.batching import batch_by_tokens
from twofold.errors import EncoderMismatchError, EncoderNotFoundError, EncoderWarning, InputError

TEXTS = [
    "how do plants make food?",
    "",
    "red apple, red apple",
    "cells divide and divide " * 20,
    "中文 🙂",
    "light",
    "\x00 \t",
    "the food of cells",
]


@pytest.fixture(scope="module")
def minilm():
    return encoder_from_name("all-MiniLM-L6-v2")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    plain = transformer_folder(folder / "plain", seed=1)
    other = transformer_folder(folder / "other", seed=2)
    finished_folder(folder / "finished", plain)
    finished_folder(folder / "raw", plain, normalize=False, similarity_fn_name="dot")
    router_folder(folder / "router", plain, other)
    return folder


def token_vectors(folder, text, longest=64):
    """The transformer's own vectors of one text's tokens, (tokens, dim)."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    model = AutoModel.from_pretrained(str(folder)).eval()
    with torch.no_grad():
        tokens = tokenizer([text], return_tensors="pt", truncation=True, max_length=longest)
        return model(**tokens).last_hidden_state[0].numpy()


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
    minilm.to_sentence_transformer().model.save_pretrained(str(tmp_path / "model"))
    moved = SentenceTransformerEncoder(str(tmp_path / "model"))
    assert moved.identity.fingerprint == identity.fingerprint
    with Index.open(tmp_path / "i", encoder=moved) as index:
        assert len(Retriever(index).retrieve("a text")) == 1
    other = SentenceTransformerEncoder(str(tmp_path / "model"))
    other.model.prompts = {"query": "query: ", "document": "passage: "}
    assert other.identity.fingerprint != identity.fingerprint
    with pytest.raises(EncoderMismatchError, match="'all-MiniLM-L6-v2'.*model"):
        Index.open(tmp_path / "i", encoder=other)


@pytest.mark.parametrize(
    ("pooling", "pooled"),
    [
        ("cls", lambda tokens: tokens[0]),
        ("mean", lambda tokens: tokens.mean(axis=0)),
        ("max", lambda tokens: tokens.max(axis=0)),
    ],
)
@pytest.mark.parametrize("kind", ["plain", "raw"])
def test_pooling_is_that_of_the_token_vectors(models, kind, pooling, pooled):
    encoder = SentenceTransformerEncoder(str(models / kind), options=ModelOptions(pooling=pooling))
    wanted = [pooled(token_vectors(models / "plain", text)) for text in TEXTS]
    for vectors in (encoder.encode_passages(TEXTS), encoder.encode_queries(TEXTS)):
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(vectors, wanted, atol=2e-5)


def test_a_plain_transformer_is_mean_pooled_and_says_so(models):
    encoder = SentenceTransformerEncoder(str(models / "plain"))
    with pytest.warns(EncoderWarning, match=r"plain' is a transformer without .*: mean is used"):
        vectors = encoder.encode_passages(TEXTS[:1])
    np.testing.assert_allclose(
        vectors[0], token_vectors(models / "plain", TEXTS[0]).mean(axis=0), atol=2e-5
    )
    chosen = SentenceTransformerEncoder(str(models / "plain"), options=ModelOptions(pooling="mean"))
    np.testing.assert_array_equal(chosen.encode_passages(TEXTS[:1]), vectors)  # and no warning


def test_normalisation_can_be_added_and_taken_away(models):
    unit = SentenceTransformerEncoder(str(models / "finished"))
    raw = SentenceTransformerEncoder(str(models / "raw"))
    assert raw.identity.metric is Metric.DOT
    added = SentenceTransformerEncoder(str(models / "raw"), options=ModelOptions(normalize=True))
    removed = SentenceTransformerEncoder(
        str(models / "finished"), options=ModelOptions(normalize=False)
    )
    np.testing.assert_allclose(added.encode_passages(TEXTS), unit.encode_passages(TEXTS), atol=1e-6)
    np.testing.assert_array_equal(removed.encode_passages(TEXTS), raw.encode_passages(TEXTS))
    assert not np.allclose(np.linalg.norm(raw.encode_passages(TEXTS), axis=1), 1, atol=0.1)


def test_fewer_dimensions_are_the_first_ones_and_stay_of_unit_length(models):
    whole = SentenceTransformerEncoder(str(models / "finished")).encode_passages(TEXTS)
    short = SentenceTransformerEncoder(str(models / "finished"), options=ModelOptions(dim=10))
    vectors = short.encode_passages(TEXTS)
    assert short.identity.dim == 10
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    lengths = np.linalg.norm(whole[:, :10], axis=1, keepdims=True)
    np.testing.assert_allclose(vectors, whole[:, :10] / lengths, atol=1e-5)
    raw = SentenceTransformerEncoder(str(models / "raw"), options=ModelOptions(dim=10))
    np.testing.assert_allclose(
        raw.encode_queries(TEXTS),
        SentenceTransformerEncoder(str(models / "raw")).encode_queries(TEXTS)[:, :10],
        atol=1e-6,
    )
    with pytest.raises(InputError, match="dim must be <= 32, the dimensions of .*, got 33"):
        encoder_from_name(f"{models / 'raw'}?dim=33").encode_queries(["x"])


def test_the_longest_length_cuts_texts_and_is_counted(models):
    encoder = encoder_from_name(f"{models / 'raw'}?max_length=6")
    long = "red apple and light from the food"
    np.testing.assert_allclose(
        encoder.encode_passages([long])[0],
        token_vectors(models / "plain", long, 6).mean(axis=0),
        atol=2e-5,
    )
    assert (
        encoder.count_truncated([long, "red apple and light", "", "red apple and light from"]) == 2
    )
    for length, message in [(65, "must be <= 64"), (2, "must be >= 3 for .*adds 2 special")]:
        with pytest.raises(InputError, match=message):
            encoder_from_name(f"{models / 'raw'}?max_length={length}").encode_queries(["x"])


def test_saved_prompts_are_used_and_can_be_replaced(models, tmp_path):
    saved = finished_folder(
        tmp_path / "prompted",
        models / "plain",
        prompts={"query": "query: ", "document": "passage: "},
    )
    bare = SentenceTransformerEncoder(str(models / "finished"))
    wanted = bare.encode_passages(["query: plants", "passage: plants", "food plants"])
    encoder = SentenceTransformerEncoder(str(saved))
    np.testing.assert_allclose(encoder.encode_queries(["plants"])[0], wanted[0], atol=1e-5)
    np.testing.assert_allclose(encoder.encode_passages(["plants"])[0], wanted[1], atol=1e-5)
    assert abs(wanted[0] @ wanted[1]) < 0.999
    other = SentenceTransformerEncoder(
        str(saved), options=ModelOptions(query_prompt="food ", passage_prompt="")
    )
    np.testing.assert_allclose(other.encode_queries(["plants"])[0], wanted[2], atol=1e-5)
    np.testing.assert_allclose(
        other.encode_passages(["plants"]), bare.encode_passages(["plants"]), atol=1e-5
    )
    same = SentenceTransformerEncoder(
        str(saved), options=ModelOptions(query_prompt="query: ", passage_prompt="passage: ")
    )
    assert same.identity.fingerprint == encoder.identity.fingerprint
    assert same.identity.name != encoder.identity.name


def test_a_router_sends_queries_and_passages_through_their_own_towers(models):
    encoder = encoder_from_name(str(models / "router"))
    queries = [token_vectors(models / "plain", text)[0] for text in TEXTS]
    passages = [token_vectors(models / "other", text).mean(axis=0) for text in TEXTS]
    for vectors, wanted in [
        (encoder.encode_queries(TEXTS), queries),
        (encoder.encode_passages(TEXTS), passages),
    ]:
        lengths = np.linalg.norm(wanted, axis=1, keepdims=True)
        np.testing.assert_allclose(vectors, wanted / lengths, atol=2e-5)
    both = encoder_from_name(f"{models / 'router'}?pooling=max&max_length=6")
    assert both.identity.fingerprint != encoder.identity.fingerprint
    top = token_vectors(models / "plain", TEXTS[3], 6).max(axis=0)
    np.testing.assert_allclose(
        both.encode_queries(TEXTS[3:4])[0], top / np.linalg.norm(top), atol=2e-5
    )


@pytest.mark.parametrize("budget", [1, 40, 100, 10_000])
def test_a_batch_changes_no_vector_and_no_order(models, budget):
    encoder = SentenceTransformerEncoder(str(models / "raw"), batch_tokens=budget)
    texts = TEXTS * 5
    alone = np.concatenate([encoder.encode_passages([text]) for text in texts])
    np.testing.assert_allclose(encoder.encode_passages(texts), alone, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_queries(texts[::-1]), alone[::-1], atol=1e-5)


def test_batches_keep_to_the_budget_and_lose_nobody():
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 300, 500)
    found = batch_by_tokens(sizes, 1024)
    assert sorted(np.concatenate(found).tolist()) == list(range(500))
    padded = [len(places) * sizes[places].max() for places in found]
    assert max(padded) <= 1024
    assert np.mean(padded[:-1]) > 700  # and are well filled
    assert sum(padded) < 1.1 * sizes.sum()
    found = batch_by_tokens(np.array([5, 2000, 0]), 1000)
    assert [places.tolist() for places in found] == [[1], [0, 2]]
    assert batch_by_tokens(np.array([], np.int64), 10) == []


def test_nothing_gives_nothing_of_the_right_shape(models):
    encoder = SentenceTransformerEncoder(str(models / "raw"))
    assert encoder.encode_passages([]).shape == (0, HIDDEN)
    assert encoder.encode_queries([]).shape == (0, HIDDEN)
    assert encoder.count_truncated([]) == 0


OPTIONS = [
    ModelOptions(),
    ModelOptions(pooling="cls"),
    ModelOptions(pooling="max"),
    ModelOptions(max_length=9),
    ModelOptions(dim=9),
    ModelOptions(normalize=False),
    ModelOptions(query_prompt="q: "),
    ModelOptions(passage_prompt="q: "),
    ModelOptions(query_prompt="a=b&c?d | é%20 "),
    ModelOptions(
        pooling="max", max_length=9, dim=9, normalize=False, query_prompt="", passage_prompt="x"
    ),
]


def test_every_option_shows_in_the_name_and_in_the_fingerprint(models, tmp_path):
    seen = {}
    for options in OPTIONS:
        encoder = SentenceTransformerEncoder(str(models / "finished"), options=options)
        identity = encoder.identity
        assert encoder.name == identity.name
        again = encoder_from_name(encoder.name)
        assert again.name == encoder.name
        assert again.identity == identity
        assert identity.fingerprint not in seen, (options, seen[identity.fingerprint])
        seen[identity.fingerprint] = options
    metric = finished_folder(tmp_path / "dot", models / "plain", similarity_fn_name="dot")
    tokens = finished_folder(tmp_path / "cased", models / "plain")
    config = tokens / "tokenizer_config.json"
    text = (tokens / "tokenizer.json").read_text(encoding="utf-8")
    assert '"lowercase": true' in text
    (tokens / "tokenizer.json").write_text(text.replace('"lowercase": true', '"lowercase": false'))
    config.write_text(config.read_text().replace('"do_lower_case": true', '"do_lower_case": false'))
    for folder in (metric, tokens, models / "raw", models / "router"):
        assert SentenceTransformerEncoder(str(folder)).identity.fingerprint not in seen


def test_a_folder_of_any_name_comes_back_by_its_own(models, tmp_path):
    for place, name in enumerate(["what? 100%", "a | b", "per%20cent", "x?pooling=cls"]):
        folder = finished_folder(tmp_path / name, models / "plain")
        encoder = SentenceTransformerEncoder(
            str(folder), options=ModelOptions(max_length=10 + place)
        )
        again = encoder_from_name(encoder.name)
        assert again.identity == encoder.identity
        bare = SentenceTransformerEncoder(str(folder))
        assert encoder_from_name(bare.name).identity == bare.identity
        assert encoder_from_name(str(folder)).identity == bare.identity


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("m?poling=cls", "did you mean 'pooling'"),
        ("m?pooling=clas", "pooling must be one of 'cls', 'mean', 'max', got 'clas'"),
        ("m?max_length=many", "max_length must be an integer >= 1, got 'many'"),
        ("m?max_length=0", "max_length must be .*got 0"),
        ("m?dim=-3", "dim must be .*got '-3'"),
        ("m?dim=9999999999999999999", "dim must be an integer"),
        ("m?normalize=yes", "normalize must be .*got 'yes'"),
        ("m?pooling", "has no value"),
        ("m?dim=3&dim=4", "is repeated"),
        ("m?", "no options after"),
        ("?dim=3", "names no model"),
        ("", "must be a name or a folder's path"),
        ("a | b | c", "must have 2 towers, .*got 3"),
        ("m?zzz=1", "use one of pooling, max_length"),
    ],
)
def test_a_bad_spec_says_what_is_wanted(spec, message):
    with pytest.raises(InputError, match=message):
        encoder_from_name(spec)


def test_bad_arguments_say_what_is_wanted(models):
    for options, message in [
        ({"pooling": "mid"}, "pooling must be one of .*got 'mid'"),
        ({"dim": True}, "dim must be .*got True"),
        ({"normalize": 1}, "normalize must be .*got 1"),
        ({"query_prompt": 7}, "query_prompt must be .*got 7"),
    ]:
        with pytest.raises(InputError, match=message):
            ModelOptions(**options)
    folder = str(models / "raw")
    for settings, message in [
        ({"batch_tokens": 0}, "batch_tokens must be .*got 0"),
        ({"device": []}, "empty"),
    ]:
        with pytest.raises(InputError, match=message):
            SentenceTransformerEncoder(folder, **settings)
    encoder = SentenceTransformerEncoder(folder)
    for texts, message in [
        ("one text", "must be a sequence of strings"),
        (["fine", None], "text 1 must be a string, got NoneType"),
        (["fine", "bad \ud800"], "text 1 has a lone surrogate at 4"),
    ]:
        with pytest.raises(InputError, match=message):
            encoder.encode_passages(texts)


def test_a_model_is_a_name_or_a_path(models):
    encoder = SentenceTransformerEncoder(models / "raw")
    assert encoder.name == str(models / "raw")
    one_by_one = encoder.encode_passages(text for text in TEXTS)
    np.testing.assert_array_equal(one_by_one, encoder.encode_passages(TEXTS))
    for bad in (None, 3, b"model", ""):
        with pytest.raises(InputError):
            SentenceTransformerEncoder(bad)
        with pytest.raises(InputError):
            encoder_from_name(bad)


def test_an_index_reopens_an_encoder_with_its_options(models, tmp_path):
    encoder = SentenceTransformerEncoder(
        str(models / "finished"), options=ModelOptions(pooling="cls", query_prompt="query: ")
    )
    with Index.open(tmp_path / "i", encoder=encoder) as index:
        index.upsert(["red apple", "light makes food"])
        scores = Retriever(index, mode="dense").retrieve("red food").scores
    with Index.open(tmp_path / "i") as index:
        np.testing.assert_allclose(
            Retriever(index, mode="dense").retrieve("red food").scores, scores, atol=1e-6
        )
    with pytest.raises(EncoderMismatchError):
        Index.open(tmp_path / "i", encoder=str(models / "finished"))


def test_threads_share_an_encoder(models):
    encoder = SentenceTransformerEncoder(str(models / "raw"), batch_tokens=64)
    alone = encoder.encode_passages(TEXTS)
    found = {}

    def work(number):
        for _ in range(10):
            encoder.count_truncated(TEXTS)
            found[number] = (encoder.encode_passages if number % 2 else encoder.encode_queries)(
                TEXTS
            )

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(found) == 4
    for vectors in found.values():
        np.testing.assert_allclose(vectors, alone, atol=1e-5)


@pytest.mark.slow
def test_processes_give_the_same_vectors_and_end(models):
    alone = SentenceTransformerEncoder(str(models / "raw"))
    many = SentenceTransformerEncoder(str(models / "raw"), device=["cpu", "cpu"], batch_tokens=128)
    assert many.identity == alone.identity
    texts = TEXTS * 10
    for _ in range(2):  # the second uses the processes of the first
        np.testing.assert_allclose(
            many.encode_passages(texts), alone.encode_passages(texts), atol=1e-5
        )
    np.testing.assert_allclose(many.encode_queries(TEXTS), alone.encode_queries(TEXTS), atol=1e-5)
    assert many.encode_passages([]).shape == (0, HIDDEN)
    processes = many._pool["processes"]
    started = [process.pid for process in processes]
    assert len(started) == 2
    many.close()
    many.close()
    for pid in started:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    np.testing.assert_allclose(many.encode_passages(TEXTS), alone.encode_passages(TEXTS), atol=1e-5)
    del many  # and its processes with it


def test_progress_is_drawn_on_standard_error_alone(models, capsys):
    encoder = SentenceTransformerEncoder(str(models / "raw"), progress=True)
    encoder.encode_passages(TEXTS)
    captured = capsys.readouterr()
    assert captured.out == ""


def test_truncation_is_counted(minilm, tmp_path):
    with Index.open(tmp_path / "i", encoder=minilm, windows=False) as index:
        result = index.upsert(["short", "word " * 300, "plain " * 250])
        assert result.truncated == 1


def test_an_unknown_model_names_the_places_that_were_looked_at(tmp_path, monkeypatch):
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EncoderNotFoundError, match="neither a folder, nor an installed model"):
        Index.open(tmp_path / "i", encoder="no-such-model-anywhere")
    assert not (tmp_path / "i").exists()
    with pytest.raises(EncoderNotFoundError, match="no model folder './nowhere'"):
        encoder_from_name("./nowhere?pooling=cls")
