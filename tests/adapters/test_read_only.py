"""Both adapters over folders that the user can read and not write."""

import pytest

import langchain_twofold as lc
import llama_index_twofold as li
from twofold import Index
from twofold.errors import IndexNotFoundError, ReadOnlyError
from unwritable import WRITE, allow, forbid, run

# Prints for each way of opening what a search finds, and the error of each write.
COMMON = """
import asyncio, json, sys
from pathlib import Path
from twofold.errors import TwofoldError

def attempt(call):
    try:
        call()
    except TwofoldError as error:
        return [type(error).__name__, str(error)]
    return ["written", ""]
"""
LANGCHAIN = """
from langchain_core.documents import Document
from langchain_twofold import TwofoldIndex, TwofoldRetriever, TwofoldVectorStore as Store

def describe(store):
    documents, vector = [Document("new")], store.embeddings.embed_query("topic7")
    target = TwofoldIndex(index=store.index)
    return {
        "found": [
            *(doc.id for doc in store.similarity_search("topic7", k=1)),
            *(doc.id for doc in store.similarity_search_by_vector(vector, k=1)),
            *(doc.id for doc in asyncio.run(store.as_retriever().ainvoke("topic7"))[:1]),
            *(doc.id for doc in store.get_by_ids(["7"])),
        ],
        "add_documents": attempt(lambda: store.add_documents(documents)),
        "add_texts": attempt(lambda: store.add_texts(["new"])),
        "add_embeddings": attempt(lambda: store.add_embeddings([("new", vector)])),
        "delete": attempt(lambda: store.delete(["7"])),
        "merge_from": attempt(lambda: store.merge_from(store)),
        "aadd_texts": attempt(lambda: asyncio.run(store.aadd_texts(["new"]))),
        "upsert": attempt(lambda: target.upsert(documents)),
        "aupsert": attempt(lambda: asyncio.run(target.aupsert(documents))),
        "index delete": attempt(lambda: target.delete(["7"])),
        "from_texts": attempt(lambda: Store.from_texts(["new"], path=sys.argv[1])),
        "from_documents": attempt(
            lambda: TwofoldRetriever.from_documents(documents, path=sys.argv[1])
        ),
    }

path = sys.argv[1]
print(json.dumps({
    "load_local": describe(Store.load_local(path, read_only=True)),
    "aload_local": describe(asyncio.run(Store.aload_local(path, "hashing", read_only=True))),
    "default": describe(Store.load_local(path)),
}))
"""
LLAMA_INDEX = """
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores import VectorStoreQuery
from llama_index_twofold import TwofoldRetriever, TwofoldVectorStore as Store

def describe(store):
    vector = store.index.encode_queries(["topic7"])[0].tolist()
    queries = [
        VectorStoreQuery(query_str="topic7", mode="sparse", sparse_top_k=1),
        VectorStoreQuery(query_embedding=vector, similarity_top_k=1),
    ]
    nodes = [TextNode(text="new", embedding=vector)]
    retriever = TwofoldRetriever(store.index, similarity_top_k=1)
    return {
        "found": [
            *(store.query(query).ids[0] for query in queries),
            asyncio.run(retriever.aretrieve("topic7"))[0].node_id,
            store.get_nodes(["7"])[0].node_id,
        ],
        "add": attempt(lambda: store.add(nodes)),
        "async_add": attempt(lambda: asyncio.run(store.async_add(nodes))),
        "delete": attempt(lambda: store.delete("document")),
        "delete_nodes": attempt(lambda: store.delete_nodes(["7"])),
        "clear": attempt(store.clear),
        "aclear": attempt(lambda: asyncio.run(store.aclear())),
        "from_nodes": attempt(lambda: TwofoldRetriever.from_nodes(nodes, path=sys.argv[1])),
    }

path = sys.argv[1]
print(json.dumps({
    "path": describe(Store(path=path, read_only=True)),
    "aopen": describe(asyncio.run(Store.aopen(path=path, embed_model="hashing", read_only=True))),
    "from_persist_path": describe(Store.from_persist_path(path, read_only=True)),
    "from_persist_dir": describe(
        Store.from_persist_dir(str(Path(path).parent), read_only=True)
    ),
    "default": describe(Store(path=path)),
}))
"""


@pytest.fixture
def path(tmp_path):
    folder = tmp_path / "default__vector_store.json"  # as LlamaIndex names it
    with Index.open(folder, encoder="hashing") as index:
        index.upsert({"id": f"{n}", "text": f"text topic{n}"} for n in range(20))
    yield folder
    allow(folder)


@pytest.mark.parametrize("script", [LANGCHAIN, LLAMA_INDEX], ids=["langchain", "llama_index"])
@pytest.mark.parametrize("forbidden", [".", "catalog.sqlite", "LOCK"])
def test_a_folder_that_cannot_be_written_is_searched_and_writes_are_refused(
    path, script, forbidden
):
    forbid(path / forbidden, WRITE)
    opened = run("-c", COMMON + script, path)
    if forbidden == "catalog.sqlite":
        opened.pop("default")  # its first write may find that out in another way
    for way, answers in opened.items():
        assert answers.pop("found") == ["7", "7", "7", "7"], way
        for write, (kind, message) in answers.items():
            assert kind == "ReadOnlyError", (way, write, message)
            assert str(path) in message


def test_a_folder_that_can_be_written_is_not_written_either(path):
    langchain = lc.TwofoldVectorStore.load_local(path, read_only=True)
    llama_index = li.TwofoldVectorStore(path=path, read_only=True)
    for store, write in (
        (langchain, lambda: langchain.add_texts(["new"])),
        (llama_index, llama_index.clear),
    ):
        with pytest.raises(ReadOnlyError, match="opened with read_only=True"):
            write()
        assert len(store.index) == 20
        store.index.close()
    store = lc.TwofoldVectorStore.load_local(path)
    assert store.add_texts(["new"])
    store.index.close()


@pytest.mark.parametrize("arguments", [{}, {"embed_model": "hashing"}, {"index": Index}])
def test_read_only_needs_a_path(arguments):
    with pytest.raises(ValueError, match="read_only=True needs path="):
        li.TwofoldVectorStore(read_only=True, **arguments)


@pytest.mark.parametrize(
    "open_missing",
    [
        lambda path: lc.TwofoldVectorStore.load_local(path, read_only=True),
        lambda path: li.TwofoldVectorStore(path=path, read_only=True),
        lambda path: li.TwofoldVectorStore(path=path, embed_model="hashing", read_only=True),
        lambda path: li.TwofoldVectorStore.from_persist_path(str(path), read_only=True),
        lambda path: li.TwofoldVectorStore.from_persist_dir(str(path), read_only=True),
    ],
)
def test_read_only_creates_no_index(tmp_path, open_missing):
    with pytest.raises(IndexNotFoundError, match="there is no index"):
        open_missing(tmp_path / "missing")
    assert not list(tmp_path.iterdir())
