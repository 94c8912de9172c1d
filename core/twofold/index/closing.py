"""What happens when an index is closed, or the last reference to it goes."""

import os
import shutil
from pathlib import Path

from twofold.catalog import Catalog, WriteLock


def released(catalog: Catalog, lock: WriteLock, temporary: Path | None, process: int) -> None:
    """Close an index; the process that made a temporary one removes it."""
    catalog.close()
    lock.release()
    if temporary is not None and os.getpid() == process:
        shutil.rmtree(temporary, ignore_errors=True)
