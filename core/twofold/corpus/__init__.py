"""Reading corpora, queries, judgments and runs."""

from twofold.corpus.corpus import Corpus, Splitting
from twofold.corpus.qrels import (
    Qrels,
    Queries,
    read_qrels,
    read_queries,
    read_run,
    write_qrels,
    write_run,
)

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
