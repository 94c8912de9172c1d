"""A folder that is written whole, or not at all."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from twofold.errors import InputError


def check_target(folder: Path, ours: Callable[[Path], bool]) -> None:
    """Raise InputError if ``folder`` holds something else than what ``ours`` knows."""
    if not folder.exists() or (folder.is_dir() and (ours(folder) or not os.listdir(folder))):
        return
    kind = "a folder of something else" if folder.is_dir() else "a file"
    raise InputError(f"{folder} is {kind}: give a new folder, or that of an earlier export")


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """Give a new folder to fill, which takes the place of ``folder`` if the block ends well."""
    parent = folder.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=parent))
    try:
        new = work / "new"
        new.mkdir()
        yield new
        if folder.exists():
            folder.rename(work / "old")
        new.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
