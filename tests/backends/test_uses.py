"""The command line and both adapters over indexes on servers."""

import json

import pytest

from commands import command
from langchain_twofold import TwofoldRetriever as LangChainRetriever
from llama_index_twofold import TwofoldRetriever as LlamaIndexRetriever
from milvus_servers import LiteServer
from twofold import HashingEncoder, Index, Retriever
from twofold.backends.milvus import MilvusBackend


def run(*arguments):
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    return done


TEXTS = ["plants make food from light", "a garden in winter", "green tea for two minutes"]


@pytest.fixture
def lite_server(tmp_path):
    started = LiteServer(tmp_path).start()
    yield started
    started.stop()


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
