"""The lexical leg: analyzers, BM25 and indexes over postings."""

from twofold.lexical.analyzer import LanguageAnalyzer
from twofold.lexical.custom import AnalyzerLike, FunctionAnalyzer, analyzer_named, as_analyzer
from twofold.lexical.languages import LANGUAGES, Language, language_named
from twofold.lexical.live import LiveSegment
from twofold.lexical.postings import PostingsIndex
from twofold.lexical.rank_bm25 import RankBM25Index
from twofold.lexical.scoring import (
    ATIREBM25,
    BM25,
    BM25L,
    SCORERS,
    BM25Plus,
    OkapiBM25,
    OkapiBM25L,
    RobertsonBM25,
    TfIdf,
    scorer_as_dict,
    scorer_named,
    scorer_of,
)
from twofold.lexical.segment import PostingsSegment
from twofold.lexical.signature import signature

__all__ = [
    "ATIREBM25",
    "BM25",
    "BM25L",
    "LANGUAGES",
    "SCORERS",
    "AnalyzerLike",
    "BM25Plus",
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
    "analyzer_named",
    "as_analyzer",
    "language_named",
    "scorer_as_dict",
    "scorer_named",
    "scorer_of",
    "signature",
]
