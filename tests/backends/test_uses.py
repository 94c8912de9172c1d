"""The command line and both adapters over indexes on servers."""

import json

import numpy as np
import pytest

from commands import command
from langchain_twofold import TwofoldRetriever as LangChainRetriever
from llama_index_twofold import TwofoldRetriever as LlamaIndexRetriever
from twofold import HashingEncoder, Index, Retriever, SearchProfile, WeightedSum
from twofold.backends.milvus import MilvusBackend
from twofold.encoders import QueryAdapter
from twofold.errors import InputError


def run(*arguments):
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    return done


TEXTS = ["plants make food from light", "a garden in winter", "green tea for two minutes"]


@pytest.fixture(params=["postgres", "milvus"])
def url(request):
    """The URL of an empty index on a server."""
    if request.param == "postgres":
        backend = request.getfixturevalue("postgres")(encoder="hashing")
        return f"{request.getfixturevalue('postgres_server').url}?schema={backend.schema}"
    server = request.getfixturevalue("lite_server")
    MilvusBackend(server.uri, collection="manuals", encoder="hashing").close()
    return f"milvus://127.0.0.1:{server.port}?collection=manuals"


@pytest.fixture(params=["postgres", "milvus"])
def open_backend(request):
    return request.getfixturevalue(request.param)


def test_commands_take_a_url(url, tmp_path):
    with Index.open(tmp_path / "index", encoder="hashing") as index:
        index.upsert([{"id": str(at), "text": text} for at, text in enumerate(TEXTS)])
    moved = json.loads(run("push", tmp_path / "index", url, "--json").stdout)
    assert (moved["passages"], moved["written"]) == (3, 3)
    for target in (url, tmp_path / "index"):
        found = json.loads(run("search", target, "green tea", "--json").stdout)
        assert found["hits"][0]["id"] == "2"
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"_id": "3", "text": "rain in spring"}\n')
    assert "1 added" in run("index", corpus, "--to", url).stdout
    printed = run("delete", url, "--id", "0").stdout
    assert "1 passages deleted, 3 left" in printed
    assert "secret" not in printed
    run("pull", url, tmp_path / "pulled")
    with Index.open(tmp_path / "pulled", create=False) as pulled:
        assert sorted(one.id for one in pulled) == ["1", "2", "3"]


def test_both_adapters_search_it(open_backend):
    backend = open_backend(encoder=HashingEncoder())
    backend.upsert(TEXTS)
    wanted = Retriever(backend, k=2).retrieve("green tea").passages
    documents = LangChainRetriever(index=backend, k=2).invoke("green tea")
    assert [one.page_content for one in documents] == [one.text for one in wanted]
    nodes = LlamaIndexRetriever(index=backend, similarity_top_k=2).retrieve("green tea")
    assert [one.text for one in nodes] == [one.text for one in wanted]
    assert wanted[0].text == TEXTS[2]


def test_profiles_and_adapters_are_saved_on_a_server(open_backend):
    backend = open_backend(encoder=HashingEncoder())
    backend.upsert(TEXTS)
    adapter = QueryAdapter(-np.eye(256))
    backend.query_adapters.save("turned", adapter)
    assert np.array_equal(backend.query_adapters["turned"].matrix, adapter.matrix)
    plain = Retriever(backend, mode="dense").retrieve("green tea")
    profile = SearchProfile(WeightedSum(dense_weight=0.3), 50, None, 1, "turned")
    backend.profiles.save("mine", profile, use=True)
    assert (backend.profiles.active, dict(backend.profiles)) == ("mine", {"mine": profile})
    turned = Retriever(backend, mode="dense").retrieve("green tea")
    assert turned.scores[0] != pytest.approx(plain.scores[0])
    with pytest.raises(InputError, match="is active"):
        backend.profiles.drop("mine")
    with pytest.raises(InputError, match="used by profile 'mine'"):
        backend.query_adapters.drop("turned")
    with pytest.raises(InputError, match="already a query adapter"):
        backend.query_adapters.save("turned", adapter)
    with pytest.raises(InputError, match="256"):
        backend.query_adapters.save("small", QueryAdapter(np.eye(3)))
    heavy = SearchProfile(WeightedSum(), 50, None, 3)
    with pytest.raises(InputError, match="needs title_weight=3"):
        backend.profiles.save("heavy", heavy, use=True)
    assert set(backend.profiles) == {"mine"}
    backend.profiles.use(None)
    back = Retriever(backend, mode="dense").retrieve("green tea")
    assert back.scores == pytest.approx(plain.scores)
    backend.profiles.drop("mine")
    backend.query_adapters.drop("turned")
    assert not backend.profiles
    assert not backend.query_adapters
    assert len(backend) == 3


@pytest.mark.slow
def test_tuning_training_and_maps_take_a_url(url, tmp_path, abstracts):
    corpus = tmp_path / "corpus.jsonl"
    kept = abstracts[:120]
    corpus.write_text("".join(json.dumps(each) + "\n" for each in kept))
    run("index", corpus, "--to", url)
    queries, qrels = tmp_path / "queries.jsonl", tmp_path / "qrels.tsv"
    queries.write_text(
        "".join(
            json.dumps({"_id": str(at), "text": each["text"][:80]}) + "\n"
            for at, each in enumerate(kept[:60])
        )
    )
    lines = [f"{at}\t{each['_id']}\t1" for at, each in enumerate(kept[:60])]
    qrels.write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n")
    given = ("--queries", queries, "--qrels", qrels)
    tuned = json.loads(run("tune", url, *given, "--json").stdout)
    assert tuned["queries"] == 60
    trained = json.loads(run("train", url, *given, "--epochs", "2", "--json").stdout)
    assert "saved" in trained
    listed = json.loads(run("profiles", url, *given, "--json").stdout)
    assert listed["compared"]["default"]["mean"] > 0.5
    run("map", url, "--out", tmp_path / "map.html")
    assert (tmp_path / "map.html").stat().st_size > 10_000
    refused = command("train", url, *given, "--full", "--to", tmp_path / "model")
    assert refused.returncode == 2
    assert "takes an index in a folder" in refused.stderr
