"""Test suites for LlamaIndex vector stores and retrievers, as pytest classes to subclass.

The suites work with any store, not only twofold's:

    class TestMyStore(VectorStoreSuite):
        def make_store(self):
            return MyStore()
"""

from twofold.errors import MissingExtraError

try:
    import pytest  # noqa: F401  # fails early without pytest
except ModuleNotFoundError as error:
    raise MissingExtraError(
        "llama_index_twofold.testing needs pytest. Install it with: pip install pytest"
    ) from error

from llama_index_twofold.testing.filters import FilterSuite
from llama_index_twofold.testing.pipelines import PipelineSuite
from llama_index_twofold.testing.retriever import RetrieverSuite
from llama_index_twofold.testing.vector_store import VectorStoreSuite

__all__ = ["FilterSuite", "PipelineSuite", "RetrieverSuite", "VectorStoreSuite"]
