"""The verb ``map``: the picture of an index."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from twofold.cli.console import Folder, Json, out, print_json, running
from twofold.index import Index


class MethodName(str, Enum):
    """The methods of a map, as the command line lists them."""

    PCA = "pca"
    UMAP = "umap"


def draw_map(
    folder: Folder,
    target: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="The page (.html) or picture (.png).")
    ],
    query: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="Shown among its hits; repeatable.")
    ] = None,
    color: Annotated[
        str | None, typer.Option(metavar="FIELD", help="A metadata field. Default: clusters.")
    ] = None,
    method: Annotated[MethodName, typer.Option(help="How vectors come to lie on a plane.")] = (
        MethodName.PCA
    ),
    sample: Annotated[int, typer.Option(help="Passages shown; hits come on top.")] = 5000,
    k: Annotated[int, typer.Option("-k", help="Hits of each leg.")] = 10,
    as_json: Json = False,
) -> None:
    """Draw the passages of an index in two dimensions, and queries among their hits."""
    with running():
        # Here, as the extra may be missing, and the other verbs do without it.
        from twofold.map import CorpusMap, picture_kind

        picture_kind(target)
        with Index.open(folder, create=False, read_only=True) as source:
            drawn = CorpusMap.of(
                source, query or (), color=color, method=method.value, sample=sample, k=k
            )
        drawn.write(target)
        shown = len(drawn.passages)
        if as_json:
            print_json(
                {
                    "shown": shown,
                    "passages": drawn.total,
                    "method": drawn.method,
                    "file": str(target),
                }
            )
        else:
            out.print(
                f"{target}: {shown:,} of {drawn.total:,} passages, {drawn.method.upper()}",
                markup=False,
                soft_wrap=True,
            )
