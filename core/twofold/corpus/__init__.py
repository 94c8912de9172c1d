"""Reading corpora, queries and judgments."""

from twofold.corpus.corpus import Corpus
from twofold.corpus.folder import Splitting
from twofold.corpus.judgments import Qrels, Queries, read_qrels, read_queries

__all__ = ["Corpus", "Qrels", "Queries", "Splitting", "read_qrels", "read_queries"]
