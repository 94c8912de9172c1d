"""The commands for the dense leg: ``reindex``, ``reencode`` and ``recall``."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from twofold.cli.console import Folder, Json, Metric, open_index, print_result, progress
from twofold.corpus import read_queries
from twofold.dense import index_type_as_dict

_KINDS = "auto, flat, hnsw, ivf, ivf-pq or one-bit; with a codec after a colon, such as flat:int8."


def reindex(
    folder: Folder,
    kind: Annotated[str, Argument(metavar="KIND", help=_KINDS)],
    as_json: Json = False,
) -> None:
    """Change the type of the dense index; nothing is encoded."""
    with open_index(folder) as index:
        started = time.perf_counter()
        chosen = index.reindex(kind)
        seconds = time.perf_counter() - started
        print_result(
            as_json,
            {"kind": index_type_as_dict(chosen), "passages": len(index), "seconds": seconds},
            f"{folder}: {chosen} over {len(index):,} passages in {seconds:.1f} s",
        )


def reencode(
    folder: Folder,
    encoder: Annotated[str, Argument(metavar="ENCODER", help="A model's name or folder.")],
    metric: Metric = None,
    as_json: Json = False,
) -> None:
    """Change the encoder; the old vectors serve until all passages have new ones."""
    with open_index(folder) as index:
        started = time.perf_counter()
        with progress("encoding", len(index), quiet=as_json) as report:
            encoded = index.reencode(encoder, metric=metric, progress=report)
        seconds = time.perf_counter() - started
        print_result(
            as_json,
            {"encoder": encoder, "encoded": encoded, "seconds": seconds},
            f"{folder}: {encoded:,} texts encoded by {encoder} in {seconds:.1f} s",
        )


def recall(
    folder: Folder,
    sample: Annotated[int, Option(help="Number of stored vectors used as queries.")] = 200,
    k: Annotated[int, Option("-k", help="Number of nearest passages compared.")] = 10,
    queries: Annotated[Path | None, Option(help="Real queries, used instead of a sample.")] = None,
    effort: Annotated[float, Option(help="Factor of the search effort.")] = 1.0,
    as_json: Json = False,
) -> None:
    """Measure the recall of the dense leg against an exact search, and its latency."""
    with open_index(folder, read_only=True) as index:
        texts = list(read_queries(queries).values()) if queries is not None else None
        found = index.recall(sample, k=k, queries=texts, effort=effort)
        print_result(
            as_json,
            {**asdict(found), "kind": index_type_as_dict(index.index_type)},
            f"{folder}: recall@{found.k} {found.mean:.4f} ({found.low:.4f} to "
            f"{found.high:.4f}) by {index.index_type} for {found.queries} queries, "
            f"{found.milliseconds:.2f} ms each; exactly {found.exact_milliseconds:.2f} ms",
        )
