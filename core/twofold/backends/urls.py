"""URLs of indexes on servers: which backend one names, and how messages show it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twofold.backends.remote_index import RemoteIndex

_POSTGRES = ("postgresql://", "postgres://")
_MILVUS = ("milvus://", "milvus+https://")


def is_url(target: str | Path) -> bool:
    """Return whether a target is the URL of a server, not a folder."""
    return str(target).startswith((*_POSTGRES, *_MILVUS))


def hide_password(target: str) -> str:
    """Return a URL without its password; anything else unchanged."""
    if not is_url(target):
        return target
    shown = re.sub(r"(://[^/:@]*):[^/]*@", r"\1@", target)
    return re.sub(r"([?&](?:ssl)?password=)[^&]*", r"\1***", shown)


def open_url(url: str, options: Mapping[str, Any]) -> RemoteIndex:
    """Open the index that a URL names.

    Args:
        url: ``postgresql://...?schema=NAME`` or ``milvus://...?collection=NAME``.
        options: Arguments of the backend. ``wait`` is left out where no writer waits for another.

    Raises:
        MissingExtraError: The backend's extra is not installed.
        BackendError: The server can't be reached, or refuses.
    """
    if url.startswith(_MILVUS):
        from twofold.backends.milvus import MilvusBackend

        return MilvusBackend(
            url, **{name: value for name, value in options.items() if name != "wait"}
        )
    from twofold.backends.postgres import PostgresBackend

    return PostgresBackend(url, **options)
