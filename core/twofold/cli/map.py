"""The command ``map``."""

from enum import Enum
from pathlib import Path
from typing import Annotated

from typer import Option

from twofold.cli.console import Folder, Json, print_result, report_errors
from twofold.index import Index


class MethodName(str, Enum):
    """The projection methods."""

    PCA = "pca"
    UMAP = "umap"


def draw_map(
    folder: Folder,
    target: Annotated[
        Path, Option("--out", metavar="FILE", help="The page (.html) or picture (.png) to write.")
    ],
    query: Annotated[
        list[str] | None, Option(metavar="TEXT", help="Query to show with its hits; repeatable.")
    ] = None,
    color: Annotated[
        str | None, Option(metavar="FIELD", help="Metadata field. Default: clusters.")
    ] = None,
    method: Annotated[MethodName, Option(help="Projection method.")] = MethodName.PCA,
    sample: Annotated[int, Option(help="Number of passages shown, besides hits.")] = 5000,
    k: Annotated[int, Option("-k", help="Hits per leg.")] = 10,
    as_json: Json = False,
) -> None:
    """Draw the passages of an index in two dimensions, and queries among their hits."""
    with report_errors():
        from twofold.map import CorpusMap, format_from_path  # may lack its extra

        format_from_path(target)
        with Index.open(folder, create=False, read_only=True) as index:
            drawn = CorpusMap.from_index(
                index, query or (), color=color, method=method.value, sample=sample, k=k
            )
        drawn.write(target)
        shown, total = len(drawn.passages), drawn.total
        print_result(
            as_json,
            {"shown": shown, "passages": total, "method": drawn.method, "file": str(target)},
            f"{target}: {shown:,} of {total:,} passages, {drawn.method.upper()}",
        )
