"""LangChain's standard suites, and those for LlamaIndex, over indexes on servers."""

import pytest
from langchain_tests.integration_tests import (
    RetrieversIntegrationTests,
    VectorStoreIntegrationTests,
)
from langchain_tests.integration_tests.indexer import DocumentIndexerTestSuite

from langchain_twofold import (
    EmbeddingsEncoder,
    TwofoldIndex,
    TwofoldRetriever,
    TwofoldVectorStore,
)
from llama_index_twofold import TwofoldVectorStore as LlamaIndexStore
from llama_index_twofold.testing import FilterSuite, PipelineSuite, VectorStoreSuite

TEXTS = ["an apple a day", "apple pie", "green apple tree", "pear and plum", "apple and pear juice"]
SERVERS = ["postgres", "milvus"]


@pytest.fixture(params=SERVERS)
def open_backend(request):
    return request.getfixturevalue(request.param)


class TestLangChainVectorStore(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, open_backend):
        encoder = EmbeddingsEncoder(self.get_embeddings())
        return TwofoldVectorStore(open_backend(encoder=encoder))


class TestLangChainDocumentIndex(DocumentIndexerTestSuite):
    @pytest.fixture
    def index(self, open_backend):
        return TwofoldIndex(index=open_backend(encoder="hashing"))


class TestLangChainRetriever(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def fill(self, open_backend):
        self.backend = open_backend(encoder="hashing")
        self.backend.upsert(TEXTS)

    @property
    def retriever_constructor(self):
        return TwofoldRetriever

    @property
    def retriever_constructor_params(self):
        return {"index": self.backend}

    @property
    def retriever_query_example(self):
        return "apple"


class OverServer:
    """Makes LlamaIndex stores; loading one opens what is still on the server."""

    @pytest.fixture(autouse=True)
    def choose(self, open_backend):
        self.open_backend, self.last = open_backend, None

    def make_store(self):
        self.last = LlamaIndexStore(self.open_backend(dim="first"))
        return self.last

    def load_store(self, _folder):
        return LlamaIndexStore(self.last.index)


class TestLlamaIndexStore(OverServer, VectorStoreSuite):
    pass


class TestLlamaIndexFilters(OverServer, FilterSuite):
    pass


class TestLlamaIndexPipelines(OverServer, PipelineSuite):
    pass
