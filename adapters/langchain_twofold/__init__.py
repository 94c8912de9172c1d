"""twofold in LangChain: one retriever over both legs."""

from twofold.errors import MissingExtraError

try:
    import langchain_core  # noqa: F401  # the gate of the extra
except ModuleNotFoundError as error:
    raise MissingExtraError(
        "langchain_twofold needs langchain-core. Install it with: pip install 'twofold[langchain]'",
    ) from error

from langchain_twofold.embeddings import EmbeddingsEncoder
from langchain_twofold.retriever import TwofoldRetriever

__all__ = ["EmbeddingsEncoder", "TwofoldRetriever"]
