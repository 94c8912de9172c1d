"""Dense and lexical retrieval behind one retriever, for any RAG framework.

Example:
    >>> from twofold import HashingEncoder, Index, Retriever
    >>> index = Index.open(None, encoder=HashingEncoder())
    >>> result = index.upsert(["plants make food from light", "a garden in winter"])
    >>> Retriever(index, k=1).retrieve("how do plants make food?").passages[0].text
    'plants make food from light'
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from twofold.encoders import HashingEncoder, ModelEncoder, SentenceTransformerEncoder
from twofold.errors import TwofoldError
from twofold.fusion import GuardedFusion, ReciprocalRank, WeightedSum
from twofold.index import Index, UpsertResult, Verification
from twofold.lexical import BM25
from twofold.protocols import Encoder
from twofold.results.hits import Hits
from twofold.retriever import Retriever
from twofold.similarity import Metric
from twofold.types import Hit, LegScore, Passage

if TYPE_CHECKING:
    from twofold.backend import EncodedBackend, SearchProfile
    from twofold.corpus import Corpus
    from twofold.encoders.onnx import OnnxEncoder
    from twofold.encoders.service import ServiceEncoder
    from twofold.evaluation.evaluate import evaluate
    from twofold.rerank import CrossEncoderReranker
    from twofold.tuning.tune import tune

__version__ = "0.1.0"
__all__ = [
    "BM25",
    "Corpus",
    "CrossEncoderReranker",
    "EncodedBackend",
    "Encoder",
    "GuardedFusion",
    "HashingEncoder",
    "Hit",
    "Hits",
    "Index",
    "LegScore",
    "Metric",
    "ModelEncoder",
    "OnnxEncoder",
    "Passage",
    "ReciprocalRank",
    "Retriever",
    "SearchProfile",
    "SentenceTransformerEncoder",
    "ServiceEncoder",
    "TwofoldError",
    "UpsertResult",
    "Verification",
    "WeightedSum",
    "__version__",
    "evaluate",
    "tune",
]

_LAZY = {
    "Corpus": "twofold.corpus",
    "CrossEncoderReranker": "twofold.rerank",
    "EncodedBackend": "twofold.backend",
    "OnnxEncoder": "twofold.encoders.onnx",
    "SearchProfile": "twofold.backend",
    "ServiceEncoder": "twofold.encoders.service",
    "evaluate": "twofold.evaluation.evaluate",
    "tune": "twofold.tuning.tune",
}
"""Public names imported on first use, with their modules: not every program needs them."""


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'twofold' has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
