"""Embedding services are awaited in the event loop, so that many queries wait at once."""

import asyncio
import threading

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import QueryBundle, TextNode

import langchain_twofold
import llama_index_twofold
from twofold import HashingEncoder, Index

HASHING = HashingEncoder()
TEXTS = [f"passage about topic{n}" for n in range(30)]


class Gate:
    """Lets calls through once as many wait as are expected, so that no clock is needed."""

    def __init__(self):
        self.expected, self.waiting, self.calls = 1, 0, 0
        self.loops = set()

    async def wait(self):
        self.calls += 1
        self.waiting += 1
        self.loops.add(asyncio.get_running_loop())
        while self.waiting < self.expected:
            await asyncio.sleep(0)


class Remote(Embeddings):
    """Has async methods only, for queries and for documents."""

    def __init__(self):
        self.gate = Gate()

    def embed_documents(self, texts):
        raise NotImplementedError("use the async methods")

    def embed_query(self, text):
        raise NotImplementedError("use the async methods")

    async def aembed_documents(self, texts):
        return HASHING.encode_passages(texts).tolist()

    async def aembed_query(self, text):
        await self.gate.wait()
        if text == "fail":
            raise ConnectionError("no route to the service")
        return HASHING.encode_queries([text])[0].tolist()


class RemoteEmbedding(BaseEmbedding):
    _gate: Gate = PrivateAttr(default_factory=Gate)

    def _get_query_embedding(self, query):
        raise NotImplementedError("use the async methods")

    def _get_text_embedding(self, text):
        raise NotImplementedError("use the async methods")

    async def _aget_text_embedding(self, text):
        return HASHING.encode_passages([text])[0].tolist()

    async def _aget_query_embedding(self, query):
        await self.gate.wait()
        if query == "fail":
            raise ConnectionError("no route to the service")
        return HASHING.encode_queries([query])[0].tolist()

    @property
    def gate(self):
        return self._gate


@pytest.fixture
async def langchain():
    embeddings = Remote()
    documents = [Document(text, id=text.split()[-1]) for text in TEXTS]
    store = await langchain_twofold.TwofoldVectorStore.afrom_documents(documents, embeddings)
    yield store, embeddings.gate
    store.index.close()


@pytest.mark.parametrize("way", ["ainvoke", "abatch", "asimilarity_search", "scores", "mmr"])
async def test_forty_langchain_queries_wait_for_the_service_together(langchain, way):
    store, gate = langchain
    retriever = langchain_twofold.TwofoldRetriever(index=store.index, k=1)
    queries = [f"topic{n % 30} number {n}" for n in range(40)]
    gate.expected, gate.waiting = 40, 0
    if way == "abatch":
        found = await retriever.abatch(queries)
    else:
        ask = {
            "ainvoke": retriever.ainvoke,
            "asimilarity_search": lambda query: store.asimilarity_search(query, k=1),
            "scores": lambda query: store.asimilarity_search_with_relevance_scores(query, k=1),
            "mmr": lambda query: store.amax_marginal_relevance_search(query, k=1),
        }[way]
        found = await asyncio.gather(*map(ask, queries))
    first = [answer[0][0] if way == "scores" else answer[0] for answer in found]
    right = [doc.id == query.split()[0] for doc, query in zip(first, queries, strict=True)]
    # By hashed words alone, as relevance scores are, "number 7" may draw another passage.
    assert sum(right) >= (20 if way == "scores" else 38)
    assert gate.calls == 40
    assert gate.loops == {asyncio.get_running_loop()}


async def test_what_the_service_says_of_one_query_is_raised_and_the_others_are_answered(langchain):
    store, gate = langchain
    retriever = langchain_twofold.TwofoldRetriever(index=store.index, k=1)
    with pytest.raises(ConnectionError, match="no route"):
        await retriever.ainvoke("fail")
    answers = await retriever.abatch(["topic3", "fail", "", "topic5"], return_exceptions=True)
    assert [answers[0][0].id, answers[3][0].id] == ["topic3", "topic5"]
    assert isinstance(answers[1], ConnectionError)
    assert answers[2] == []
    before = gate.calls
    assert (await retriever.ainvoke("topic3", mode="lexical"))[0].id == "topic3"
    assert await retriever.ainvoke("  ") == []
    assert gate.calls == before


async def test_a_cancelled_query_leaves_nothing_behind(langchain):
    store, gate = langchain
    retriever = langchain_twofold.TwofoldRetriever(index=store.index, k=1)
    gate.expected, gate.waiting = 2, 0
    task = asyncio.create_task(retriever.ainvoke("topic3"))
    while not gate.waiting:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.expected = 1
    assert (await retriever.ainvoke("topic4"))[0].id == "topic4"


@pytest.fixture
async def remote_nodes(tmp_path):
    """An index made in a thread of the loop, since the embedding has async methods only."""
    from twofold.concurrency import run_in_thread

    embedding = RemoteEmbedding(model_name="remote")
    nodes = [TextNode(text=text, id_=text.split()[-1]) for text in TEXTS]
    make = llama_index_twofold.TwofoldRetriever.from_nodes
    retriever = await run_in_thread(make, nodes, encoder=embedding, similarity_top_k=1)
    yield retriever, embedding.gate
    retriever.index.close()


@pytest.mark.parametrize("way", ["aretrieve", "aretrieve_many"])
async def test_forty_llama_index_queries_wait_for_the_service_together(remote_nodes, way):
    retriever, gate = remote_nodes
    queries = [f"topic{n % 30} number {n}" for n in range(40)]
    gate.expected, gate.waiting = 40, 0
    if way == "aretrieve":
        found = await asyncio.gather(*map(retriever.aretrieve, queries))
    else:
        found = await retriever.aretrieve_many(queries)
    assert [nodes[0].node_id for nodes in found] == [query.split()[0] for query in queries]
    assert gate.calls == 40
    assert gate.loops == {asyncio.get_running_loop()}


async def test_a_vector_of_the_query_and_words_alone_need_no_service(remote_nodes):
    retriever, gate = remote_nodes
    gate.calls = 0
    vector = HASHING.encode_queries(["topic7"])[0].tolist()
    nodes = await retriever.aretrieve(QueryBundle("topic7", embedding=vector))
    assert nodes[0].node_id == "topic7"
    lexical = retriever.with_options(mode="lexical")
    assert (await lexical.aretrieve("topic8"))[0].node_id == "topic8"
    assert gate.calls == 0
    with pytest.raises(ConnectionError, match="no route"):
        await retriever.aretrieve("fail")


async def test_async_writes_of_langchain_await_the_embedding():
    store = await langchain_twofold.TwofoldVectorStore.afrom_texts(TEXTS, Remote())
    await store.aadd_texts(["a text more"])
    await store.aadd_documents([Document("a document more")])
    assert len(store.index) == len(TEXTS) + 2
    assert store.index.verify().vectors == len(TEXTS) + 2
    pairs = [("a pair", HASHING.encode_passages(["a pair"])[0].tolist())]
    other = await langchain_twofold.TwofoldVectorStore.afrom_embeddings(pairs, Remote())
    target = langchain_twofold.TwofoldIndex(index=other.index)
    await target.aupsert([Document("an upserted document")])
    assert len(other.index) == 2


class SlowService(Remote):
    """Embeds documents that mention "slow" only after ``gate`` has opened."""

    async def aembed_documents(self, texts):
        if any("slow" in text for text in texts):
            await self.gate.wait()
        return await super().aembed_documents(texts)


class SlowModel(HashingEncoder):
    """Encodes passages that mention "slow" only after ``opened`` is set."""

    def __init__(self):
        super().__init__()
        self.started, self.opened = threading.Event(), threading.Event()

    def encode_passages(self, texts):
        if any("slow" in text for text in texts):
            self.started.set()
            self.opened.wait(60)
        return super().encode_passages(texts)


async def test_a_cancelled_write_ends_the_call_of_the_service_and_stores_nothing():
    service = SlowService()
    store = await langchain_twofold.TwofoldVectorStore.afrom_texts(["stored"], service)
    service.gate.expected = 2
    task = asyncio.create_task(store.aadd_texts(["slow text"]))
    while not service.gate.waiting:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store.aadd_texts(["another text"])  # waits for the turn of the cancelled write to end
    assert {passage.text for passage in store.index.get(where={})} == {"stored", "another text"}
    assert not [name for name in asyncio.all_tasks() if name is not asyncio.current_task()]


@pytest.mark.parametrize("framework", ["langchain", "llama_index"])
async def test_a_write_that_is_cancelled_while_it_encodes_stores_nothing(framework):
    model = SlowModel()
    index = Index.open(None, encoder=model)
    index.upsert([{"id": "1", "text": "stored"}])
    if framework == "langchain":
        langchain_store = langchain_twofold.TwofoldVectorStore(index)
        write = langchain_store.aadd_texts(["slow text"])
    else:
        llama_store = llama_index_twofold.TwofoldVectorStore(index)
        write = llama_store.async_add([TextNode(text="slow text")])
    task = asyncio.create_task(write)
    while not model.started.is_set():
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    model.opened.set()
    assert index.upsert([{"id": "2", "text": "another text"}]).added == 1
    assert {passage.text for passage in index.get(where={})} == {"stored", "another text"}
    index.verify()


class Threaded(Embeddings):
    """Has no async methods, so that LangChain calls it in the loop's own threads."""

    def embed_documents(self, texts):
        return HASHING.encode_passages(texts).tolist()

    def embed_query(self, text):
        return HASHING.encode_queries([text])[0].tolist()


class ThreadedEmbedding(RemoteEmbedding):
    async def _aget_text_embedding(self, text):
        return await asyncio.to_thread(lambda: HASHING.encode_passages([text])[0].tolist())


MORE = 50  # writes at once, more than the threads of a loop


async def test_more_writes_than_threads_of_langchain_all_end():
    store = langchain_twofold.TwofoldVectorStore.from_texts(["first"], Threaded())
    target = langchain_twofold.TwofoldIndex(index=store.index)
    writes = [store.aadd_texts([f"text {n}"]) for n in range(MORE)]
    writes += [store.adelete(["none"]) for _ in range(MORE)]
    writes += [target.aupsert([Document(f"document {n}")]) for n in range(MORE)]
    writes += [target.adelete(["none"]) for _ in range(MORE)]
    await asyncio.wait_for(asyncio.gather(*writes), 120)
    assert len(store.index) == 1 + 2 * MORE


async def test_more_writes_than_threads_of_llama_index_all_end():
    encoder = llama_index_twofold.EmbeddingEncoder(ThreadedEmbedding())
    with Index.open(None, encoder=encoder) as index:
        store = llama_index_twofold.TwofoldVectorStore(index=index)
        nodes = [TextNode(id_=str(n), text=f"text {n}") for n in range(MORE)]
        writes = [store.async_add([node]) for node in nodes]
        writes += [store.adelete_nodes(["none"]) for _ in range(MORE)]
        await asyncio.wait_for(asyncio.gather(*writes), 120)
        assert len(index) == MORE
