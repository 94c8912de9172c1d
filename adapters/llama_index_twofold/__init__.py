"""twofold for LlamaIndex: retriever, vector store, reranker, embedding and dataset."""

from twofold.errors import MissingExtraError

try:
    import llama_index.core  # noqa: F401  # fails early without the extra
except ModuleNotFoundError as error:
    raise MissingExtraError(
        "llama_index_twofold needs llama-index-core. Install it with: "
        "pip install 'twofold[llama-index]'"
    ) from error

from llama_index_twofold.dataset import FinetuneData, finetune_data
from llama_index_twofold.embedding import EmbeddingEncoder, TwofoldEmbedding
from llama_index_twofold.filters import as_where
from llama_index_twofold.moving import from_bm25_retriever, from_faiss, from_index
from llama_index_twofold.options import QueryOptions, query_options
from llama_index_twofold.reranker import TwofoldReranker
from llama_index_twofold.retriever import TwofoldRetriever
from llama_index_twofold.vector_store import TwofoldVectorStore

__all__ = [
    "EmbeddingEncoder",
    "FinetuneData",
    "QueryOptions",
    "TwofoldEmbedding",
    "TwofoldReranker",
    "TwofoldRetriever",
    "TwofoldVectorStore",
    "as_where",
    "finetune_data",
    "from_bm25_retriever",
    "from_faiss",
    "from_index",
    "query_options",
]
