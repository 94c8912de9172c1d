"""The lexical leg: analyzers, scoring functions and the inverted index.

`PostingsIndex` searches immutable segments of postings; `analysis` turns text into terms, and
`kernels` has the compiled loops. `RankBM25Index` is rank-bm25 itself, the reference of the tests.
"""

from twofold.lexical.analysis.function_analyzer import (
    AnalyzerLike,
    FunctionAnalyzer,
    analyzer_fingerprint,
    analyzer_from_name,
    as_analyzer,
)
from twofold.lexical.analysis.language_analyzer import LanguageAnalyzer
from twofold.lexical.analysis.languages import LANGUAGES, Language, language_from_name
from twofold.lexical.inverted_index import PostingsIndex
from twofold.lexical.live_segments import LiveSegment
from twofold.lexical.reference import RankBM25Index
from twofold.lexical.scorers import (
    ATIREBM25,
    BM25,
    BM25L,
    SCORERS,
    BM25Plus,
    CountAllBM25,
    OkapiBM25,
    OkapiBM25L,
    RobertsonBM25,
    TfIdf,
    scorer_as_dict,
    scorer_from_dict,
    scorer_from_name,
)
from twofold.lexical.segment import PostingsSegment

__all__ = [
    "ATIREBM25",
    "BM25",
    "BM25L",
    "LANGUAGES",
    "SCORERS",
    "AnalyzerLike",
    "BM25Plus",
    "CountAllBM25",
    "FunctionAnalyzer",
    "Language",
    "LanguageAnalyzer",
    "LiveSegment",
    "OkapiBM25",
    "OkapiBM25L",
    "PostingsIndex",
    "PostingsSegment",
    "RankBM25Index",
    "RobertsonBM25",
    "TfIdf",
    "analyzer_fingerprint",
    "analyzer_from_name",
    "as_analyzer",
    "language_from_name",
    "scorer_as_dict",
    "scorer_from_dict",
    "scorer_from_name",
]
