"""Reading folders of files, corpora, queries, judgments and runs."""

from twofold.corpus.corpus import Corpus
from twofold.corpus.documents import FORMATS, Document, Entry, FileFormat, Heading
from twofold.corpus.folder import (
    FolderContents,
    FolderReport,
    SkippedFile,
    read_document,
    read_folder,
)
from twofold.corpus.indexing import FolderUpdate, index_folder
from twofold.corpus.outdated import Outdated, find_outdated
from twofold.corpus.qrels import (
    Qrels,
    Queries,
    read_qrels,
    read_queries,
    read_run,
    scale_grades,
    write_qrels,
    write_run,
)
from twofold.corpus.splitting import Splitting

__all__ = [
    "FORMATS",
    "Corpus",
    "Document",
    "Entry",
    "FileFormat",
    "FolderContents",
    "FolderReport",
    "FolderUpdate",
    "Heading",
    "Outdated",
    "Qrels",
    "Queries",
    "SkippedFile",
    "Splitting",
    "find_outdated",
    "index_folder",
    "read_document",
    "read_folder",
    "read_qrels",
    "read_queries",
    "read_run",
    "scale_grades",
    "write_qrels",
    "write_run",
]
