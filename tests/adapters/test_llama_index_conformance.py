"""The suites that twofold ships for LlamaIndex, over twofold and over LlamaIndex's own store."""

from llama_index.core.vector_stores import SimpleVectorStore

from llama_index_twofold import TwofoldRetriever, TwofoldVectorStore
from llama_index_twofold.testing import FilterSuite, PipelineSuite, RetrieverSuite, VectorStoreSuite


class Twofold:
    def make_store(self):
        return TwofoldVectorStore()

    def load_store(self, folder):
        return TwofoldVectorStore.from_persist_dir(str(folder))


class TestTwofoldStore(Twofold, VectorStoreSuite):
    pass


class TestTwofoldFilters(Twofold, FilterSuite):
    pass


class TestTwofoldPipelines(Twofold, PipelineSuite):
    pass


class TestTwofoldRetriever(RetrieverSuite):
    def make_retriever(self, nodes, count):
        return TwofoldRetriever.from_nodes(nodes, encoder="hashing", similarity_top_k=count)


class Simple:
    def make_store(self):
        return SimpleVectorStore()

    def load_store(self, folder):
        return SimpleVectorStore.from_persist_dir(str(folder))


class TestSimpleStore(Simple, VectorStoreSuite):
    known_failures = frozenset(
        {
            # It doesn't keep nodes.
            "test_get_nodes_by_id_by_filter_and_by_both",
            "test_nodes_come_back_as_they_were",
            "test_returned_nodes_are_independent_copies",
            # It deletes everything.
            "test_delete_nodes_without_either_is_refused",
            # It raises TypeError.
            "test_a_query_without_vector_and_words_finds_nothing",
        }
    )


class TestSimpleFilters(Simple, FilterSuite):
    known_failures = frozenset(
        {
            # It raises ValueError, and TypeError.
            "test_filters_nest",
            "test_values_of_another_type_dont_match",
            # It ignores them.
            "test_doc_ids_restrict",
        }
    )


class TestSimplePipelines(Simple, PipelineSuite):
    known_failures = frozenset(
        {
            # Retrievers restrict themselves to the nodes that were there when they were made.
            "test_a_retriever_sees_later_nodes",
            "test_an_index_opens_from_the_store_alone",
        }
    )
