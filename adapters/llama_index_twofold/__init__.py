"""twofold in LlamaIndex: one retriever over both legs."""

from twofold.errors import MissingExtraError

try:
    import llama_index.core  # noqa: F401  # the gate of the extra
except ModuleNotFoundError as error:
    raise MissingExtraError(
        "llama_index_twofold needs llama-index-core. Install it with: "
        "pip install 'twofold[llama-index]'",
    ) from error

from llama_index_twofold.embedding import EmbeddingEncoder
from llama_index_twofold.filters import as_where
from llama_index_twofold.retriever import TwofoldRetriever

__all__ = ["EmbeddingEncoder", "TwofoldRetriever", "as_where"]
