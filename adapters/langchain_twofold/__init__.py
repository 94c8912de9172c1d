"""twofold for LangChain: retriever, vector store, document index, reranker, embeddings and tool."""

from twofold.errors import MissingExtraError

try:
    import langchain_core  # noqa: F401  # fails early without the extra
except ModuleNotFoundError as error:
    raise MissingExtraError(
        "langchain_twofold needs langchain-core. Install it with: pip install 'twofold[langchain]'"
    ) from error

from langchain_twofold.embeddings import EmbeddingsEncoder, TwofoldEmbeddings
from langchain_twofold.filters import TwofoldTranslator, where_of_faiss
from langchain_twofold.moving import from_bm25_retriever, from_ensemble, from_faiss
from langchain_twofold.reranker import TwofoldReranker
from langchain_twofold.retriever import TwofoldIndex, TwofoldRetriever
from langchain_twofold.tool import retriever_tool
from langchain_twofold.vector_store import TwofoldVectorStore

__all__ = [
    "EmbeddingsEncoder",
    "TwofoldEmbeddings",
    "TwofoldIndex",
    "TwofoldReranker",
    "TwofoldRetriever",
    "TwofoldTranslator",
    "TwofoldVectorStore",
    "from_bm25_retriever",
    "from_ensemble",
    "from_faiss",
    "retriever_tool",
    "where_of_faiss",
]
