"""Nothing that an adapter does on an event loop reads a file, imports, compiles or waits."""

import asyncio
import contextlib
import gc
import importlib
import inspect
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import numba
import pytest
from blockbuster import BlockingError
from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager, aindex
from langchain_core.runnables import ConfigurableField
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.core.vector_stores import VectorStoreQuery

import langchain_twofold as lc
import llama_index_twofold as li
from hashed_models import Hashed, HashedNodes
from loop_watch import watched_loops
from twofold import HashingEncoder, Index, Passage, Retriever
from twofold.errors import EncoderNotFoundError, QueryError
from twofold.index import AS_STORED

HASHING = HashingEncoder()
DOCUMENTS = [
    Document(id=f"{n}", page_content=f"tea of kind{n}", metadata={"year": 2000 + n})
    for n in range(30)
]
NODES = [TextNode(id_=doc.id, text=doc.page_content, metadata=doc.metadata) for doc in DOCUMENTS]
VECTOR = HASHING.encode_queries(["kind7"])[0].tolist()


class Reversing:
    candidates, threshold = 10, None

    def rerank(self, queries, texts, progress=None):
        import numpy as np

        return [np.arange(len(passages), dtype=np.float32) for passages in texts]


async def collect(stream):
    return [part async for part in stream]


async def stream(*parts):
    for part in parts:
        yield part


async def chain(first, then):
    """Await one after the other; the second takes what the first returned."""
    return await then(await first)


def retriever(index, **settings):
    return lc.TwofoldRetriever(index=index, **settings)


def configured(index):
    fields = {name: ConfigurableField(name) for name in ("mode", "k", "filter")}
    chosen = {"mode": "lexical", "k": 3, "filter": {"year": {"$gt": 2001}}}
    return retriever(index).configurable_fields(**fields).with_config(configurable=chosen)


def tool(index):
    return lc.retriever_tool(retriever(index), "tea", "Knows tea.", fields="year (int)")


async def synchronize(index):
    manager = InMemoryRecordManager(namespace="tea")
    manager.create_schema()
    documents = [Document(page_content="kind7 again")]
    target = lc.TwofoldIndex(index=index)
    await aindex(documents, manager, target, key_encoder="sha256")
    return await target.ainvoke("kind7")


STORE = lc.TwofoldVectorStore
# Each entry makes its objects on the loop, from an open index and the path of a new folder.
LANGCHAIN = {
    "TwofoldRetriever.ainvoke": lambda i, _: retriever(i).ainvoke("kind7"),
    "TwofoldRetriever.ainvoke:lexical": lambda i, _: retriever(i, mode="lexical").ainvoke("kind7"),
    "TwofoldRetriever.ainvoke:options": lambda i, _: retriever(i).ainvoke(
        "kind7", mode="dense", k=9
    ),
    "TwofoldRetriever.ainvoke:settings": lambda i, _: retriever(
        i, filter={"year": {"$gt": 2001}}, explanation_key="why", reranker=Reversing()
    ).ainvoke("kind7"),
    "TwofoldRetriever.ainvoke:bind": lambda i, _: retriever(i).bind(k=2).ainvoke("kind7"),
    "TwofoldRetriever.ainvoke:configurable": lambda i, _: configured(i).ainvoke("kind7"),
    "TwofoldRetriever.ainvoke:core": lambda i, _: lc.TwofoldRetriever(
        retriever=Retriever(i, diversity=0.1)
    ).ainvoke("kind7"),
    "TwofoldRetriever.ainvoke:tool": lambda i, _: tool(i).ainvoke(
        {"query": "kind7", "k": 3, "filter": {"year": {"$gt": 2001}}}
    ),
    "TwofoldRetriever.abatch": lambda i, _: retriever(i).abatch(["kind7", "x", "  "]),
    "TwofoldRetriever.abatch:configurable": lambda i, _: configured(i).abatch(["kind7", "x"]),
    "TwofoldRetriever.abatch_as_completed": lambda i, _: collect(
        retriever(i).abatch_as_completed(["kind7", "x"])
    ),
    "TwofoldRetriever.astream": lambda i, _: collect(retriever(i).astream("kind7")),
    "TwofoldRetriever.astream_events": lambda i, _: collect(
        retriever(i).astream_events("kind7", version="v2")
    ),
    "TwofoldRetriever.astream_log": lambda i, _: collect(retriever(i).astream_log("kind7")),
    "TwofoldRetriever.atransform": lambda i, _: collect(retriever(i).atransform(stream("kind7"))),
    "TwofoldRetriever.afrom_documents": lambda _, path: chain(
        lc.TwofoldRetriever.afrom_documents(DOCUMENTS, encoder="hashing", path=path),
        lambda made: made.ainvoke("kind7"),
    ),
    "TwofoldIndex.ainvoke": lambda i, _: lc.TwofoldIndex(index=i).ainvoke("kind7"),
    "TwofoldIndex.ainvoke:aindex": lambda i, _: synchronize(i),
    "TwofoldIndex.aupsert": lambda i, _: lc.TwofoldIndex(index=i).aupsert(
        [Document(id="kind7", page_content="new")]
    ),
    "TwofoldIndex.adelete": lambda i, _: lc.TwofoldIndex(index=i).adelete(["7", "kind7"]),
    "TwofoldIndex.aget": lambda i, _: lc.TwofoldIndex(index=i).aget(["7"]),
    "TwofoldVectorStore.aadd_documents": lambda i, _: STORE(i).aadd_documents(
        [Document(id="kind7", page_content="new")]
    ),
    "TwofoldVectorStore.aadd_documents:retriever": lambda i, _: (
        STORE(i).as_retriever().aadd_documents([Document(id="kind7", page_content="new")])
    ),
    "TwofoldVectorStore.aadd_texts": lambda i, _: STORE(i).aadd_texts(["new"], ids=["kind7"]),
    "TwofoldVectorStore.adelete": lambda i, _: STORE(i).adelete(["7"]),
    "TwofoldVectorStore.aget_by_ids": lambda i, _: STORE(i).aget_by_ids(["7"]),
    "TwofoldVectorStore.asearch": lambda i, _: STORE(i).asearch("kind7", "mmr"),
    "TwofoldVectorStore.asimilarity_search": lambda i, _: STORE(i).asimilarity_search("kind7"),
    "TwofoldVectorStore.asimilarity_search:options": lambda i, _: STORE(i).asimilarity_search(
        "kind7", k=9, mode="lexical", filter={"year": {"$gt": 2001}}
    ),
    "TwofoldVectorStore.asimilarity_search:core": lambda i, _: STORE(
        retriever=Retriever(i, mode="dense", k=9)
    ).asimilarity_search("kind7"),
    "TwofoldVectorStore.asimilarity_search:retriever": lambda i, _: (
        STORE(i).as_retriever().ainvoke("kind7")
    ),
    "TwofoldVectorStore.asimilarity_search:batch": lambda i, _: (
        STORE(i).as_retriever().abatch(["kind7", "x"])
    ),
    "TwofoldVectorStore.asimilarity_search:threshold": lambda i, _: (
        STORE(i)
        .as_retriever(
            search_type="similarity_score_threshold", search_kwargs={"score_threshold": 0.1}
        )
        .ainvoke("kind7")
    ),
    "TwofoldVectorStore.asimilarity_search:mmr": lambda i, _: (
        STORE(i).as_retriever(search_type="mmr").ainvoke("kind7")
    ),
    "TwofoldVectorStore.asimilarity_search_with_score": lambda i, _: STORE(
        i
    ).asimilarity_search_with_score("kind7"),
    "TwofoldVectorStore.asimilarity_search_with_relevance_scores": lambda i, _: STORE(
        i
    ).asimilarity_search_with_relevance_scores("kind7", k=9),
    "TwofoldVectorStore.asimilarity_search_by_vector": lambda i, _: STORE(
        i
    ).asimilarity_search_by_vector(VECTOR),
    "TwofoldVectorStore.asimilarity_search_with_score_by_vector": lambda i, _: STORE(
        i
    ).asimilarity_search_with_score_by_vector(VECTOR),
    "TwofoldVectorStore.amax_marginal_relevance_search": lambda i, _: STORE(
        i
    ).amax_marginal_relevance_search("kind7"),
    "TwofoldVectorStore.amax_marginal_relevance_search_by_vector": lambda i, _: STORE(
        i
    ).amax_marginal_relevance_search_by_vector(VECTOR),
    "TwofoldVectorStore.amax_marginal_relevance_search_with_score_by_vector": lambda i, _: STORE(
        i
    ).amax_marginal_relevance_search_with_score_by_vector(VECTOR),
    "TwofoldVectorStore.afrom_texts": lambda _, path: chain(
        STORE.afrom_texts(["kind7"], Hashed(), path=path),
        lambda made: made.asimilarity_search("kind7"),
    ),
    "TwofoldVectorStore.afrom_documents": lambda _, path: chain(
        STORE.afrom_documents(DOCUMENTS, "hashing", path=path),
        lambda made: made.asimilarity_search("kind7"),
    ),
    "TwofoldVectorStore.afrom_embeddings": lambda _, path: chain(
        STORE.afrom_embeddings([("kind7", VECTOR)], "hashing", path=path),
        lambda made: made.asimilarity_search("kind7"),
    ),
    "TwofoldVectorStore.aload_local": lambda i, _: chain(
        STORE.aload_local(i.path, i.loaded_encoder, read_only=True),
        lambda made: made.asimilarity_search("kind7"),
    ),
    "TwofoldEmbeddings.aembed_query": lambda i, _: STORE(i).embeddings.aembed_query("kind7"),
    "TwofoldEmbeddings.aembed_query:name": lambda _, __: lc.TwofoldEmbeddings(
        "all-MiniLM-L6-v2?max_length=8"
    ).aembed_query("kind7"),
    "TwofoldEmbeddings.aembed_documents": lambda i, _: STORE(i).embeddings.aembed_documents(
        ["kind7"]
    ),
    "TwofoldReranker.acompress_documents": lambda _, __: lc.TwofoldReranker(
        reranker=Reversing(), top_n=29
    ).acompress_documents(DOCUMENTS, "kind7"),
}


def nodes_of(index, **options):
    return li.TwofoldRetriever(index, **options)


def node_store(index):
    return li.TwofoldVectorStore(index)


def vector_index(index):
    embedding = li.TwofoldEmbedding("hashing")
    return VectorStoreIndex.from_vector_store(node_store(index), embed_model=embedding)


def engine_over(retriever):
    return RetrieverQueryEngine.from_args(retriever, llm=MockLLM())


def query(mode="default", **fields):
    return VectorStoreQuery(query_str="kind7", query_embedding=VECTOR, mode=mode, **fields)


NEW = TextNode(id_="kind7", text="new", embedding=VECTOR)
LLAMA_INDEX = {
    "TwofoldRetriever.aretrieve": lambda i, _: nodes_of(i).aretrieve("kind7"),
    "TwofoldRetriever.aretrieve:lexical": lambda i, _: nodes_of(i, mode="lexical").aretrieve(
        "kind7"
    ),
    "TwofoldRetriever.aretrieve:options": lambda i, _: (
        nodes_of(i)
        .with_options(filters={"year": {"$gt": 2001}}, mode="lexical", similarity_top_k=3)
        .aretrieve("kind7")
    ),
    "TwofoldRetriever.aretrieve:reranker": lambda i, _: nodes_of(
        i, reranker=Reversing(), similarity_top_k=29
    ).aretrieve("kind7"),
    "TwofoldRetriever.aretrieve:vector": lambda i, _: nodes_of(i).aretrieve(
        QueryBundle("kind7", embedding=VECTOR)
    ),
    "TwofoldRetriever.aretrieve:strings": lambda i, _: nodes_of(i).aretrieve(
        QueryBundle("kind7", custom_embedding_strs=["kind7", "tea"])
    ),
    "TwofoldRetriever.aretrieve:core": lambda i, _: li.TwofoldRetriever(
        retriever=Retriever(i, diversity=0.1)
    ).aretrieve("kind7"),
    "TwofoldRetriever.aretrieve:engine": lambda i, _: chain(
        engine_over(nodes_of(i)).aquery("kind7"), answer_sources
    ),
    "TwofoldRetriever.aretrieve_many": lambda i, _: nodes_of(i).aretrieve_many(
        ["kind7", "x", QueryBundle("kind7", embedding=VECTOR)]
    ),
    "TwofoldRetriever.aadd_nodes": lambda i, _: chain(
        nodes_of(i).aadd_nodes([TextNode(id_="new", text="kind7 anew")]),
        lambda ids: nodes_of(i).aretrieve(f"kind7 {ids}"),
    ),
    "TwofoldRetriever.adelete_nodes": lambda i, _: nodes_of(i).adelete_nodes(["7"]),
    "TwofoldRetriever.afrom_nodes": lambda _, path: chain(
        li.TwofoldRetriever.afrom_nodes(NODES, encoder="hashing", path=path),
        lambda made: made.aretrieve("kind7"),
    ),
    "TwofoldVectorStore.async_add": lambda i, _: node_store(i).async_add([NEW]),
    "TwofoldVectorStore.async_add:insert": lambda i, _: chain(
        vector_index(i).ainsert_nodes([NEW]),
        lambda _: vector_index(i).as_retriever().aretrieve("kind7"),
    ),
    "TwofoldVectorStore.adelete": lambda i, _: node_store(i).adelete("nothing"),
    "TwofoldVectorStore.adelete_nodes": lambda i, _: node_store(i).adelete_nodes(["7"]),
    "TwofoldVectorStore.aclear": lambda i, _: node_store(i).aclear(),
    "TwofoldVectorStore.aget_nodes": lambda i, _: node_store(i).aget_nodes(["7"]),
    "TwofoldVectorStore.aquery": lambda i, _: node_store(i).aquery(query()),
    **{
        f"TwofoldVectorStore.aquery:{mode}": lambda i, _, mode=mode: node_store(i).aquery(
            query(mode, node_ids=["7", "8"])
        )
        for mode in ("mmr", "hybrid", "sparse")
    },
    "TwofoldVectorStore.aquery:retriever": lambda i, _: (
        vector_index(i).as_retriever(vector_store_query_mode="hybrid").aretrieve("kind7")
    ),
    "TwofoldVectorStore.aquery:engine": lambda i, _: chain(
        vector_index(i).as_query_engine(llm=MockLLM()).aquery("kind7"), answer_sources
    ),
    "TwofoldVectorStore.aopen": lambda i, _: chain(
        li.TwofoldVectorStore.aopen(path=i.path, embed_model=i.loaded_encoder, read_only=True),
        lambda made: made.aquery(query()),
    ),
    "TwofoldVectorStore.afrom_persist_path": lambda i, _: chain(
        li.TwofoldVectorStore.afrom_persist_path(str(i.path), read_only=True),
        lambda made: made.aquery(query("sparse")),
    ),
    "TwofoldVectorStore.afrom_persist_dir": lambda i, path: chain(
        asyncio.to_thread(persist, i, path),
        lambda _: chain(
            li.TwofoldVectorStore.afrom_persist_dir(str(path), read_only=True),
            lambda made: made.aquery(query("sparse")),
        ),
    ),
    "TwofoldEmbedding.acall": lambda _, __: li.TwofoldEmbedding("hashing").acall(NODES[7:8]),
    "TwofoldEmbedding.aget_query_embedding": lambda _, __: li.TwofoldEmbedding(
        "hashing"
    ).aget_query_embedding("kind7"),
    "TwofoldEmbedding.aget_query_embedding:name": lambda _, __: li.TwofoldEmbedding(
        "all-MiniLM-L6-v2?max_length=8"
    ).aget_query_embedding("kind7"),
    "TwofoldEmbedding.aget_text_embedding": lambda _, __: li.TwofoldEmbedding(
        "hashing"
    ).aget_text_embedding("kind7"),
    "TwofoldEmbedding.aget_text_embedding_batch": lambda _, __: li.TwofoldEmbedding(
        "hashing"
    ).aget_text_embedding_batch(["kind7"]),
    "TwofoldEmbedding.aget_agg_embedding_from_queries": lambda _, __: li.TwofoldEmbedding(
        "hashing"
    ).aget_agg_embedding_from_queries(["kind7"]),
    "TwofoldReranker.apostprocess_nodes": lambda _, __: li.TwofoldReranker(
        reranker=Reversing()
    ).apostprocess_nodes([NodeWithScore(node=node) for node in NODES], query_str="kind7"),
}


async def answer_sources(answer):
    return answer.source_nodes


def persist(index, path):
    StorageContext.from_defaults(vector_store=node_store(index)).persist(str(path))


CASES = {"lc": LANGCHAIN, "li": LLAMA_INDEX}


ENCODERS = {
    ("lc", "named"): AS_STORED,
    ("li", "named"): AS_STORED,
    ("lc", "object"): lc.EmbeddingsEncoder(Hashed()),
    ("li", "object"): li.EmbeddingEncoder(HashedNodes(model_name="hashed")),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Indexes filled by an encoder that has a name, and by each framework's own embeddings."""
    path = tmp_path_factory.mktemp("loop")
    for kind in ("named", "object"):
        encoder = "hashing" if kind == "named" else ENCODERS["lc", kind]
        made = lc.TwofoldRetriever.from_documents(
            DOCUMENTS, encoder=encoder, path=path / f"lc{kind}"
        )
        made.index.close()
        encoder = "hashing" if kind == "named" else ENCODERS["li", kind]
        nodes = li.TwofoldRetriever.from_nodes(NODES, encoder=encoder, path=path / f"li{kind}")
        nodes.index.close()
    return path


def write(path, encoder):
    """Write as another process would, while the index is open."""
    with Index.open(path, encoder=encoder) as other:
        other.upsert([{"id": "other", "text": "another writer has been here"}])


@pytest.fixture
def _tokenizer(monkeypatch):
    """LlamaIndex's engines read the files of tiktoken when they are made, wherever that is."""
    monkeypatch.setattr("llama_index.core.global_tokenizer", str.split)


def is_silent(case):
    """Return whether a case returns no passage."""
    method = case.split(".")[1]
    return "embed" in method or method in ("acall", "aclear", "adelete", "adelete_nodes")


@pytest.mark.usefixtures("_tokenizer")
@pytest.mark.filterwarnings("ignore:astream_log is deprecated")
@pytest.mark.parametrize("kind", ["named", "object"])
@pytest.mark.parametrize(
    ("framework", "case"), [(name, case) for name, cases in CASES.items() for case in cases]
)
async def test_no_async_method_blocks_the_loop(folders, tmp_path, framework, case, kind):
    path, encoder = tmp_path / "index", ENCODERS[framework, kind]

    async def run(index, state):
        with watched_loops():
            found = await CASES[framework][case](index, tmp_path / state)
        assert is_silent(case) or "kind7" in str(found)

    shutil.copytree(folders / f"{framework}{kind}", path)
    index = Index.open(path, encoder=encoder)
    await run(index, "fresh")
    await asyncio.to_thread(Retriever(index).retrieve, "kind3")
    await run(index, "warm")
    index.close()
    shutil.rmtree(path)
    shutil.copytree(folders / f"{framework}{kind}", path)
    index = Index.open(path, encoder=encoder)
    await asyncio.to_thread(Retriever(index).retrieve, "kind3")
    await asyncio.to_thread(write, path, encoder)
    await run(index, "changed")
    index.close()


ON_FOLDERS = ("afrom", "aload", "aopen")


@pytest.mark.usefixtures("_tokenizer")
@pytest.mark.filterwarnings("ignore:astream_log is deprecated")
@pytest.mark.parametrize("framework", CASES)
@pytest.mark.parametrize("server", ["postgres", "milvus"])
async def test_no_async_method_over_a_server_blocks_the_loop(request, framework, server):
    backend = request.getfixturevalue(server)(encoder=HASHING)
    passages = [Passage(doc.page_content, doc.id, metadata=doc.metadata) for doc in DOCUMENTS]
    for case, run in CASES[framework].items():
        if case.split(".")[1].startswith(ON_FOLDERS):
            continue
        await asyncio.to_thread(backend.upsert, passages)  # after cases that delete
        with watched_loops():
            found = await run(backend, None)
        assert is_silent(case) or "kind7" in str(found), case


PACKAGES = {"lc": lc, "li": li}


@pytest.mark.parametrize("framework", CASES)
def test_each_async_method_has_a_case(framework):
    package, covered = PACKAGES[framework], {case.split(":")[0] for case in CASES[framework]}
    bases = {"TwofoldIndex": "TwofoldRetriever"}
    missing = []
    for class_name in package.__all__:
        found = getattr(package, class_name)
        for name, value in inspect.getmembers(found) if inspect.isclass(found) else ():
            is_async = inspect.iscoroutinefunction(value) or inspect.isasyncgenfunction(value)
            owners = {class_name, bases.get(class_name)}
            if is_async and name[0] != "_" and not {f"{o}.{name}" for o in owners} & covered:
                missing.append(f"{class_name}.{name}")
    assert missing == []


HELD = threading.Lock()
BLOCKING = {
    "connect": lambda path, _: sqlite3.connect(path / "a"),
    "stat": lambda path, _: path.exists(),
    "open": lambda path, _: (path / "data").open().close(),
    "read": lambda path, _: (path / "data").read_text(),
    "list": lambda path, _: os.listdir(path),
    "import": lambda *_: importlib.import_module("colorsys"),
    "lock": lambda *_: HELD.acquire(timeout=1),
    "sleep": lambda *_: time.sleep(0.001),
    "compile": lambda *_: numba.njit(lambda x: x + 1)(1),
    "modes": lambda _, index: index.modes,
    "search": lambda _, index: Retriever(index).retrieve("tea"),
}


@pytest.mark.parametrize("way", BLOCKING)
async def test_the_watch_finds_what_blocks(index, tmp_path, way):
    (tmp_path / "data").write_text("data")
    sys.modules.pop("colorsys", None)
    with HELD, pytest.raises(BlockingError):
        with watched_loops():
            BLOCKING[way](tmp_path, index)


async def test_the_watch_finds_what_is_caught_and_lets_threads_be(tmp_path):
    with pytest.raises(BlockingError, match="os.stat"):
        with watched_loops(), contextlib.suppress(Exception):
            tmp_path.exists()
    with watched_loops():
        assert await asyncio.to_thread(tmp_path.exists)


class Stages:
    """An observer that notes the legs that are searched."""

    def __init__(self):
        self.legs = set()

    @contextlib.contextmanager
    def stage(self, name):
        self.legs |= {name} & {"dense", "lexical"}
        yield lambda results: None


LEGS = {
    "lexical": ({"encoder": None}, lambda index: index.reencode("hashing")),
    "dense": ({"encoder": "hashing", "analyzer": None}, lambda index: index.reanalyze("english")),
}


@pytest.mark.parametrize("leg", LEGS)
@pytest.mark.parametrize("way", ["lc", "lc store", "li"])
async def test_a_leg_that_another_writer_adds_is_searched_at_once(tmp_path, leg, way):
    options, add_leg = LEGS[leg]
    with Index.open(tmp_path / "i", **options) as index:
        index.upsert([{"id": "7", "text": "tea of kind7"}, {"id": "8", "text": "coffee"}])
    index, stages = Index.open(tmp_path / "i"), Stages()

    def add_leg_elsewhere():
        with Index.open(tmp_path / "i") as other:
            add_leg(other)

    with watched_loops():
        assert retriever(index).retriever.mode is None
        assert STORE(index).retriever.mode is None
        assert nodes_of(index).retriever.mode is None
        core = Retriever(index, mode=None, observer=stages)
        ask = {
            "lc": lambda: lc.TwofoldRetriever(retriever=core).ainvoke("kind7"),
            "lc store": lambda: STORE(retriever=core).asimilarity_search_with_relevance_scores(
                "kind7"
            ),
            "li": lambda: li.TwofoldRetriever(retriever=core).aretrieve(
                QueryBundle("kind7", embedding=VECTOR)
            ),
        }[way]
        assert "kind7" in str(await ask())
        assert stages.legs == {leg}
        await asyncio.to_thread(add_leg_elsewhere)
        stages.legs.clear()
        assert "kind7" in str(await ask())
    assert stages.legs == ({"dense"} if way == "lc store" else {"dense", "lexical"})
    index.close()


@pytest.mark.parametrize("mode", ["hybrid", "dense"])
async def test_a_mode_that_the_index_lacks_is_refused_by_the_search(tmp_path, mode):
    with Index.open(tmp_path / "i", encoder=None) as index:
        index.upsert(["tea of kind7"])
        with watched_loops():
            for ask in (
                lambda: retriever(index, mode=mode).ainvoke("kind7"),
                lambda: retriever(index).ainvoke("kind7", mode=mode),
                lambda: STORE(index).asimilarity_search("kind7", mode=mode),
                lambda: nodes_of(index, mode=mode).aretrieve("kind7"),
                lambda: node_store(index).aquery(query("default" if mode == "dense" else mode)),
            ):
                with pytest.raises(QueryError, match=f"can't serve mode '{mode}'"):
                    await ask()
            # Another writer may add a leg before the first search.
            waiting = retriever(index, mode=mode)
            await asyncio.to_thread(index.reencode, "hashing")
            assert "kind7" in str(await waiting.ainvoke("kind7"))


@pytest.mark.parametrize("options", [{"encoder": None}, {"encoder": "hashing", "analyzer": None}])
async def test_a_notebook_is_told_of_a_wrong_mode_before_any_work(tmp_path, options):
    with pytest.raises(QueryError, match="can't serve mode 'hybrid'"):
        lc.TwofoldRetriever.from_documents(DOCUMENTS, path=tmp_path / "i", mode="hybrid", **options)
    assert not (tmp_path / "i").exists()


def test_an_encoder_passed_for_vectors_of_the_caller_is_known(tmp_path):
    with Index.open(tmp_path / "i", encoder=None, dim=len(VECTOR)) as index:
        index.upsert(["tea of kind7"], vectors=[VECTOR])
    with Index.open(tmp_path / "i") as index:
        assert STORE(index).embeddings is None
        assert "ls_embedding_model" not in retriever(index)._get_ls_params()
    with Index.open(tmp_path / "i", encoder=HASHING) as index:
        assert STORE(index).embeddings.embed_query("kind7") == VECTOR
        assert retriever(index)._get_ls_params()["ls_embedding_model"] == "hashing"


async def test_tracing_and_embeddings_know_the_model_without_a_read(folders, tmp_path):
    shutil.copytree(folders / "lcnamed", tmp_path / "i")
    index = Index.open(tmp_path / "i")
    with watched_loops():
        store = STORE(index)
        assert retriever(index)._get_ls_params()["ls_embedding_model"] == "hashing"
        assert store.as_retriever().tags == ["TwofoldVectorStore", "TwofoldEmbeddings"]
        await store.asimilarity_search("kind7")
        params = retriever(index)._get_ls_params()
    assert params["ls_embedding_provider"] == "HashingEncoder"
    assert isinstance(store.embeddings.encoder, HashingEncoder)
    index.close()


MISSING = {
    "TwofoldEmbeddings": lambda: lc.TwofoldEmbeddings("/no/such/model").aembed_query("kind7"),
    "TwofoldEmbedding": lambda: li.TwofoldEmbedding("/no/such/model").aget_query_embedding("kind7"),
    "lc.TwofoldReranker": lambda: lc.TwofoldReranker(reranker="/no/such/model").acompress_documents(
        DOCUMENTS, "kind7"
    ),
    "li.TwofoldReranker": lambda: li.TwofoldReranker(reranker="/no/such/model").apostprocess_nodes(
        [NodeWithScore(node=NODES[7])], query_str="kind7"
    ),
}


@pytest.mark.parametrize("name", MISSING)
async def test_a_model_s_name_is_looked_up_in_the_thread(name):
    with watched_loops(), pytest.raises(EncoderNotFoundError, match="/no/such/model"):
        await MISSING[name]()
    with pytest.raises(EncoderNotFoundError, match="/no/such/model"):
        await asyncio.to_thread(MISSING[name])  # where the constructor refuses it


def test_an_index_whose_encoder_is_missing_serves_words(folders, tmp_path):
    shutil.copytree(folders / "lcobject", tmp_path / "i")
    with Index.open(tmp_path / "i") as index:
        assert retriever(index, mode="lexical").invoke("kind7")[0].id == "7"
        lexical = STORE(retriever=Retriever(index, mode="lexical")).as_retriever()
        assert lexical.invoke("kind7")[0].id == "7"
        with pytest.raises(QueryError, match="pass it to Index.open"):
            STORE(index).embeddings.embed_query("kind7")


@pytest.mark.parametrize("framework", ["lc", "li"])
@pytest.mark.parametrize("temporary", [True, False])
async def test_an_index_that_is_dropped_on_the_loop_is_closed_in_a_thread(
    tmp_path, framework, temporary
):
    path = None if temporary else tmp_path / "i"
    with watched_loops():
        if framework == "lc":
            made = await STORE.afrom_texts(["tea of kind7"], "hashing", path=path)
        else:
            made = await li.TwofoldVectorStore.aopen(path=path, embed_model="hashing")
        path = made.index.path
        await asyncio.to_thread(made.index.upsert, ["another tea"])
        dropped = weakref.ref(made.index)
        del made
        gc.collect()
        while dropped() is not None:  # the thread of the upsert may hold it for a moment
            await asyncio.sleep(0)
        if not temporary:  # the lock is free at once
            other = await asyncio.to_thread(Index.open, path)
            await asyncio.to_thread(other.upsert, ["green tea"])
            del other
            gc.collect()
        gone = path if temporary else path / "catalog.sqlite-wal"
        while await asyncio.to_thread(gone.exists):
            await asyncio.sleep(0)


def test_an_index_whose_loop_has_ended_is_closed_at_exit(tmp_path):
    script = """
import asyncio, sys
from twofold import Index

async def main():
    index = Index.open(None, encoder=None)
    print(index.path)

loop = asyncio.new_event_loop()
loop.run_until_complete(main())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert not Path(done.stdout.strip()).exists()


CHILD = """
import asyncio, sys
import test_event_loop as cases
from twofold import Index

async def main(framework, case, path, new):
    index = Index.open(path)
    with cases.watched_loops():
        print(await cases.CASES[framework][case](index, new))

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("framework", "case"),
    [
        ("lc", "TwofoldRetriever.ainvoke:tool"),
        ("lc", "TwofoldVectorStore.asimilarity_search:retriever"),
        ("li", "TwofoldRetriever.aretrieve"),
        ("li", "TwofoldVectorStore.aquery:hybrid"),
    ],
)
def test_the_first_query_of_a_process_blocks_no_loop(folders, tmp_path, framework, case):
    """Modules and compiled code are loaded in the thread, too."""
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])
    shutil.copytree(folders / f"{framework}named", tmp_path / "i")
    done = subprocess.run(
        [sys.executable, "-c", CHILD, framework, case, tmp_path / "i", tmp_path / "new"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "kind7" in done.stdout
