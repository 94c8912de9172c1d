"""Reading corpora, queries, judgments and runs."""

from twofold.corpus.corpus import Corpus
from twofold.corpus.folder import Splitting
from twofold.corpus.judgments import Qrels, Queries, read_qrels, read_queries, write_qrels
from twofold.corpus.runs import read_run, write_run

__all__ = [
    "Corpus",
    "Qrels",
    "Queries",
    "Splitting",
    "read_qrels",
    "read_queries",
    "read_run",
    "write_qrels",
    "write_run",
]
