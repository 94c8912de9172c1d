"""Finds stored passages that the files of their folder no longer have."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from twofold.corpus.corpus import Corpus
from twofold.corpus.folder import UNREADABLE, FolderReport
from twofold.errors import InputError
from twofold.types import Passage


@dataclass(frozen=True, slots=True)
class Outdated:
    """Ids of stored passages that a folder's files no longer have, by the file's ``source``.

    Attributes:
        missing: The file is gone, or gives no passages any more.
        shortened: The file has fewer parts than before.
        unreadable: The file, or a folder that it is in, can't be read now, so they may be current.
    """

    missing: dict[str, list[str]] = field(default_factory=dict)
    shortened: dict[str, list[str]] = field(default_factory=dict)
    unreadable: dict[str, list[str]] = field(default_factory=dict)


def find_outdated(
    stored: Iterable[Passage], corpus: Corpus, ids: Iterable[str], report: FolderReport
) -> Outdated:
    """Return the passages among ``stored`` that come from a folder which no longer has them.

    A passage comes from the folder if its metadata ``folder`` is the corpus's ``name`` and its id
    is its ``source`` and ``part``. Passages from elsewhere are never among the result.

    Args:
        stored: The passages of an index.
        corpus: The folder.
        ids: Ids of all passages that the folder has now.
        report: The folder's report.

    Raises:
        InputError: A passage of the folder has the id of a stored passage from another folder.
    """
    current = set(ids)
    sources = {passage_id.rpartition("#")[0] for passage_id in current}
    failed = {file.source for file in report.skipped if file.reason == UNREADABLE}
    failed |= set(report.read) - sources  # could be read only after ``ids`` were collected
    outdated = Outdated()
    for passage in stored:
        metadata = passage.metadata
        folder, source = metadata.get("folder"), metadata.get("source")
        if folder is None or not isinstance(source, str):
            continue
        if passage.id != f"{source}#{metadata.get('part')}":
            continue
        if folder != corpus.name and passage.id in current:
            raise InputError(
                f"the index has {passage.id!r:.80} from another folder, {folder!r:.80}: if that is "
                f"{corpus.folder} before it moved, pass its name, {folder!r:.80}; if not, index "
                "a folder that has both"
            )
        if folder != corpus.name or passage.id in current:
            continue
        places = {source, *map(str, PurePosixPath(source).parents)}
        group = (
            outdated.shortened
            if source in sources
            else outdated.missing
            if failed.isdisjoint(places)
            else outdated.unreadable
        )
        group.setdefault(source, []).append(passage.id)
    return outdated
