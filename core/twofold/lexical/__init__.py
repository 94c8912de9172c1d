"""The lexical leg: analyzers, BM25 and indexes over postings."""

from twofold.lexical.analyzer import EnglishAnalyzer, analyzer_named
from twofold.lexical.bm25 import BM25
from twofold.lexical.postings import LiveSegment, PostingsIndex
from twofold.lexical.rank_bm25 import RankBM25Index
from twofold.lexical.segment import PostingsSegment

__all__ = [
    "BM25",
    "EnglishAnalyzer",
    "LiveSegment",
    "PostingsIndex",
    "PostingsSegment",
    "RankBM25Index",
    "analyzer_named",
]
