"""What a LlamaIndex vector store or retriever must do, as pytest classes to subclass.

``class TestMyStore(VectorStoreSuite): def make_store(self): return MyStore()`` in a test module of
yours runs all of it. Nothing here is particular to twofold.
"""

from twofold.errors import MissingExtraError

try:
    import pytest  # noqa: F401  # the gate
except ModuleNotFoundError as error:
    raise MissingExtraError(
        "llama_index_twofold.testing needs pytest. Install it with: pip install pytest"
    ) from error

from llama_index_twofold.testing.filters import FilterSuite
from llama_index_twofold.testing.pipelines import PipelineSuite
from llama_index_twofold.testing.retriever import RetrieverSuite
from llama_index_twofold.testing.vector_store import VectorStoreSuite

__all__ = ["FilterSuite", "PipelineSuite", "RetrieverSuite", "VectorStoreSuite"]
