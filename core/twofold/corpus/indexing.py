"""Brings an index up to date with a folder of files."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

from twofold.backend import Searchable
from twofold.corpus.folder import SPLITTING, FolderReport, folder_name, read_folder
from twofold.corpus.outdated import Outdated, find_outdated
from twofold.corpus.reading import FilePath
from twofold.corpus.splitting import Splitting
from twofold.errors import InputError
from twofold.filters import parse_filter
from twofold.index import UpsertResult
from twofold.protocols import Encoder
from twofold.types import Passage, PassageLike
from twofold.validation import as_path


@dataclass(frozen=True, slots=True)
class FolderUpdate:
    """The outcome of `index_folder`.

    Attributes:
        name: The folder's name, stored with its passages.
        result: What was added, updated and left unchanged.
        removed: The number of passages deleted, because their files no longer have them.
        report: Which files were read, and which weren't.
        outdated: The passages that the files no longer have.
    """

    name: str
    result: UpsertResult
    removed: int
    report: FolderReport
    outdated: Outdated


class FolderIndex(Searchable, Protocol):
    """An `Index`, or a backend in its place."""

    @property
    def encoder(self) -> Encoder | None:
        """The encoder, None without one."""

    def upsert(
        self,
        passages: Iterable[PassageLike],
        *,
        progress: Callable[[int], None] | None = None,
    ) -> UpsertResult:
        """Add passages; replace those stored under the same ids."""

    def delete(self, ids: Iterable[str]) -> int:
        """Delete passages by id; return how many."""

    def __iter__(self) -> Iterator[Passage]:
        """Yield all passages."""


def index_folder(
    index: FolderIndex,
    path: FilePath,
    splitting: Splitting | None = None,
    *,
    name: str | None = None,
    allow_empty: bool = False,
    reading: Callable[[int, int], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FolderUpdate:
    """Store the passages of a folder's files, and delete those that its files no longer have.

    Called again, it changes what has changed: new and edited files are read into passages, and the
    passages of deleted ones go. Passages from elsewhere are kept, and unchanged text isn't encoded
    again.

    Args:
        index: The index. Its encoder decides how long passages are.
        path: The folder.
        splitting: Length of the passages. Default: that of the folder's stored passages; at first
            they fit the encoder.
        name: Name of the folder, as in `read_folder`; pass the old one if the folder has moved.
        allow_empty: Accept a folder without files that can be read: its passages are deleted.
        reading: Called with the number of files read, and the number of all.
        progress: Called with the number of passages stored, and the number of all.

    Raises:
        CorpusError: There is no such folder, it can't be read, or it has no files with a reader.
        InputError: The name is blank, or the index has a passage's id from elsewhere.

    Example:
        >>> from pathlib import Path
        >>> from twofold import Index
        >>> from twofold.corpus import index_folder
        >>> Path("notes").mkdir()
        >>> _ = Path("notes/tea.txt").write_text("Steep green tea for two minutes.")
        >>> index = Index.open("notes.twofold", encoder="hashing")
        >>> index_folder(index, "notes").result.added
        1
    """
    if splitting is None:
        splitting = _find_splitting(index, folder_name(as_path("path", path), name))
    encoder = index.encoder if splitting.size is None else None
    contents = read_folder(
        path, splitting, name=name, encoder=encoder, allow_empty=allow_empty, progress=reading
    )
    outdated = find_outdated(index, contents)
    total = len(contents)
    result = index.upsert(
        contents, progress=(lambda done: progress(done, total)) if progress is not None else None
    )
    current = set(result.ids)
    groups = *outdated.missing.values(), *outdated.shortened.values()
    deleted = [passage_id for passage_id in chain(*groups) if passage_id not in current]
    removed = index.delete(deleted) if deleted else 0
    return FolderUpdate(contents.name, result, removed, contents.report, outdated)


def _find_splitting(index: FolderIndex, name: str) -> Splitting:
    """Return how the newest stored passages of a folder were split."""
    with index.open_search() as scope:
        statistics = scope.require_statistics("indexing a folder")
        newest = statistics.list_keys(parse_filter({"folder": name}))[-1:]
        passages = scope.session.fetch(newest).passages
    lengths = passages[0].metadata.get(SPLITTING) if passages else None
    try:
        return Splitting(*lengths) if isinstance(lengths, list) else Splitting()
    except (InputError, TypeError):  # a field of the user's
        return Splitting()
