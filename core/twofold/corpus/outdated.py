"""Finds stored passages that the files of their folder no longer have."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from twofold.corpus.documents.reasons import (
    BROKEN,
    NO_PACKAGE,
    PROTECTED,
    TOO_LARGE,
    UNREADABLE,
)
from twofold.corpus.folder import FolderContents
from twofold.errors import InputError
from twofold.types import Passage

_PASSING = (UNREADABLE, NO_PACKAGE, TOO_LARGE, BROKEN, PROTECTED)
"""Reasons that may pass, such as that a file is being written just now."""


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


def find_outdated(stored: Iterable[Passage], contents: FolderContents) -> Outdated:
    """Return the passages among ``stored`` that come from a folder which no longer has them.

    A passage comes from the folder if its metadata ``folder`` is the folder's name and its id
    begins with its ``source``. Passages from elsewhere are never among the result.

    Args:
        stored: The passages of an index.
        contents: The folder.

    Raises:
        InputError: A passage of the folder has the id of a stored passage from elsewhere.
    """
    current = {passage.id for passage in contents}
    sources = set(contents.report.read)
    failed = {file.source for file in contents.report.skipped if file.reason in _PASSING}
    outdated = Outdated()
    for passage in stored:
        metadata = passage.metadata
        folder, source = metadata.get("folder"), metadata.get("source")
        if passage.id in current and not isinstance(folder, str):
            raise InputError(
                f"the index has {passage.id!r:.80} from elsewhere, which is the id of a passage "
                "of this folder: delete it, or store it under another id"
            )
        if folder is None or not isinstance(source, str):
            continue
        if not passage.id.startswith(f"{source}#"):
            continue
        if folder != contents.name and passage.id in current:
            raise InputError(
                f"the index has {passage.id!r:.80} from another folder, {folder!r:.80}: if that is "
                f"this folder before it moved, pass its name (name=, --name): {folder!r:.80}; if "
                "not, index a folder that has both"
            )
        if folder != contents.name or passage.id in current:
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
