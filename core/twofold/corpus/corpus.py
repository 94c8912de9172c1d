"""Reads a corpus in the formats of judged collections, or from a folder of files."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from twofold.corpus.documents import find_format
from twofold.corpus.folder import check_files, folder_name, read_folder
from twofold.corpus.reading import ID_FIELDS, FilePath
from twofold.corpus.records import RECORD_SUFFIXES, read_passages, read_records, suffix_of
from twofold.corpus.splitting import Splitting
from twofold.errors import CorpusError, InputError
from twofold.protocols import Encoder
from twofold.types import Passage
from twofold.validation import as_path

_NAMES = ("corpus", "collection")
_SHARDS = (".jsonl", ".ndjson", ".parquet")


@dataclass(frozen=True, slots=True)
class Corpus:
    """Passages on disk, which can be iterated over several times.

    Attributes:
        files: The files of a collection, whose lines or rows are passages; empty for a folder.
        folder: A folder of files in many formats, or one such file; None for a collection.
        splitting: How the folder's files are split.
        name: The folder's name, "" for a collection.
        encoder: The encoder that the folder's passages fit, None for none.

    Example:
        >>> from pathlib import Path
        >>> from twofold import Corpus
        >>> _ = Path("corpus.jsonl").write_text('{"_id": "1", "text": "Plants make food."}')
        >>> [passage.id for passage in Corpus.from_path("corpus.jsonl")]
        ['1']
    """

    files: tuple[Path, ...]
    folder: Path | None
    splitting: Splitting
    name: str = ""
    encoder: Encoder | None = None

    @classmethod
    def from_path(
        cls,
        path: FilePath,
        splitting: Splitting | None = None,
        *,
        name: str | None = None,
        encoder: Encoder | None = None,
        allow_empty: bool = False,
    ) -> "Corpus":
        """Return the corpus at ``path``.

        Args:
            path: A file of passages (JSON lines, TSV, CSV, Parquet), a folder that has a corpus as
                BEIR, MTEB, MS MARCO, MIRACL or pyserini lay it out, or any other folder or file,
                which `read_folder` reads.
            splitting: How to split the files of a folder.
            name: Name of a folder of files, stored with its passages. Default: the folder's own
                name and a hash of its absolute path, which changes if the folder moves.
            encoder: The encoder that passages of a folder's files should fit.
            allow_empty: Accept a folder without files that can be read.

        Raises:
            CorpusError: There is no corpus at ``path``.
            InputError: The name is blank, or ``path`` is no folder of files.
        """
        splitting = splitting if splitting is not None else Splitting()
        path = as_path("path", path)
        try:
            files = _find_files(path)
            if files is None and not allow_empty:
                check_files(path)
        except OSError as error:
            raise CorpusError(f"{path} can't be read: {error.strerror}") from error
        if files is not None:
            if name is not None:
                raise InputError(f"name is for folders of files, not for {path}: leave it out")
            return cls(files, None, splitting)
        return cls((), path, splitting, folder_name(path, name), encoder)

    def __iter__(self) -> Iterator[Passage]:
        if self.folder is None:
            return read_passages(self.files)
        contents = read_folder(
            self.folder, self.splitting, name=self.name, encoder=self.encoder, allow_empty=True
        )
        return iter(contents)


def _find_files(path: Path) -> tuple[Path, ...] | None:
    """Return the files of a collection, None for other files; raise CorpusError."""
    if path.is_dir():
        return _find_collection(path)
    if not path.exists():
        raise CorpusError(f"there is no corpus at {path}")
    if suffix_of(path) in RECORD_SUFFIXES:
        return (path,)
    if find_format(path.name) is None:
        raise CorpusError(
            f"{path} is not a corpus: pass a folder, a file in a format of docs/files.md, or a "
            "file of JSON lines (.jsonl), TSV, CSV or Parquet"
        )
    return None


def _find_collection(folder: Path) -> tuple[Path, ...] | None:
    """Return the files of a collection in a folder, None for a folder of other files."""
    names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    for name in _NAMES:
        for suffix in RECORD_SUFFIXES:
            for file in (f"{name}{suffix}", f"{name}{suffix}.gz"):
                is_there = file in names and (folder / file).is_file()
                if is_there and (suffix == RECORD_SUFFIXES[0] or _has_text(folder / file)):
                    return (folder / file,)
        if name in names and (folder / name).is_dir():
            shards = _find_shards(folder / name)
            if shards and all(map(_has_text, shards)):
                return shards
    shards = _find_shards(folder)
    return shards if shards and all(_has_text(shard, has_id=True) for shard in shards) else None


def _find_shards(folder: Path) -> tuple[Path, ...]:
    """Return the files of a folder if they are JSON lines or Parquet with one name, else none.

    The names of the shards of a collection differ in their numbers alone.
    """
    paths = [folder / name for name in sorted(os.listdir(folder)) if not name.startswith(".")]
    names = {re.sub(r"\d+", "0", path.name) for path in paths}
    return tuple(paths) if len(names) == 1 and suffix_of(paths[0]) in _SHARDS else ()


def _has_text(path: Path, *, has_id: bool = False) -> bool:
    """Return whether the first record of a file has a text, and an id if asked for."""
    if path.is_dir():
        return False
    try:
        _, record = next(read_records(path))
    except (StopIteration, CorpusError):
        return False
    named = any(record.get(name) not in (None, "") for name in ID_FIELDS)
    return (named or not has_id) and any(
        isinstance(record.get(name), str) for name in ("text", "contents")
    )
