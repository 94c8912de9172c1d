"""The commands that move an index to a server, and back."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from twofold.backends.urls import hide_password, is_url, open_url
from twofold.cli.console import (
    Folder,
    Json,
    open_index,
    print_result,
    progress,
)
from twofold.errors import InputError

_URL = (
    "URL of a server, such as 'postgresql://user@host/database?schema=manuals' or "
    "'milvus://host:19530?collection=manuals'."
)
_REPLACE = "Delete the passages on the server that the index doesn't have."
_KIND = "Dense index type there: auto, flat, hnsw or, in Milvus, ivf."
Url = Annotated[str, Argument(metavar="URL", help=_URL)]


def push(
    folder: Folder,
    url: Url,
    replace: Annotated[bool, Option("--replace", help=_REPLACE)] = False,
    kind: Annotated[str | None, Option(help=_KIND, show_default="the index's")] = None,
    as_json: Json = False,
) -> None:
    """Copy an index to a server, and compare the copy.

    Run it again after it was stopped, or after the index has changed: equal passages are left
    alone.
    """
    _check_url(url)
    from twofold.backends.moving import push as push_index

    with (
        open_index(folder, read_only=True) as index,
        open_url(url, {"template": index, "index_type": kind}) as backend,
        progress("pushing", len(index), quiet=as_json) as show,
    ):
        moved = push_index(index, backend, replace=replace, progress=show)
    text = (
        f"{hide_password(url)}: {moved.passages:,} passages and {moved.vectors:,} vectors, "
        f"{moved.written:,} written, {moved.removed:,} removed; counts, checksums and "
        f"{moved.rankings} rankings agree"
    )
    print_result(as_json, asdict(moved), text)


def pull(
    url: Url,
    folder: Annotated[Path, Argument(metavar="DIR", help="A new or empty folder.")],
    overwrite: Annotated[bool, Option("--overwrite", help="Replace an index there.")] = False,
    as_json: Json = False,
) -> None:
    """Copy an index from a server to a folder, and compare the copy."""
    _check_url(url)
    from twofold.backends.moving import pull as pull_index

    with (
        open_url(url, {"create": False, "read_only": True}) as backend,
        progress("pulling", len(backend), quiet=as_json) as show,
    ):
        moved = pull_index(backend, folder, overwrite=overwrite, progress=show)
    text = (
        f"{folder}: {moved.passages:,} passages and {moved.vectors:,} vectors; counts, checksums "
        f"and {moved.rankings} rankings agree"
    )
    print_result(as_json, asdict(moved), text)


def _check_url(url: str) -> None:
    """Raise InputError for an argument that is no URL of a server."""
    if not is_url(url):
        raise InputError(
            f"URL must begin with postgresql:// or milvus://, got {hide_password(url)!r:.120}"
        )
