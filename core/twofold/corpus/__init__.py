"""Reading corpora, queries, judgments and runs."""

from twofold.corpus.corpus import Corpus, Splitting
from twofold.corpus.folder import FolderReport, SkippedFile
from twofold.corpus.outdated import Outdated, find_outdated
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
    "FolderReport",
    "Outdated",
    "Qrels",
    "Queries",
    "SkippedFile",
    "Splitting",
    "find_outdated",
    "read_qrels",
    "read_queries",
    "read_run",
    "write_qrels",
    "write_run",
]
