"""Dense and lexical retrieval, one retriever, any RAG framework."""

from twofold.encoders import HashingEncoder, SentenceTransformerEncoder
from twofold.errors import TwofoldError
from twofold.fusion import ReciprocalRank, WeightedSum
from twofold.index import Index, UpsertResult, Verification
from twofold.lexical import BM25
from twofold.protocols import Encoder
from twofold.results.hits import Hits
from twofold.retriever import Retriever
from twofold.similarity import Metric
from twofold.types import Hit, LegScore, Passage

__version__ = "0.1.0"
__all__ = [
    "BM25",
    "Encoder",
    "HashingEncoder",
    "Hit",
    "Hits",
    "Index",
    "LegScore",
    "Metric",
    "Passage",
    "ReciprocalRank",
    "Retriever",
    "SentenceTransformerEncoder",
    "TwofoldError",
    "UpsertResult",
    "Verification",
    "WeightedSum",
    "__version__",
]
