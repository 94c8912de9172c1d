"""Verbs for the dense leg: ``twofold reindex``, ``reencode`` and ``recall``."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from twofold.cli.console import Folder, Json, out, print_json, progress, running
from twofold.corpus import read_queries
from twofold.dense import as_dict
from twofold.index import Index


def reindex(
    folder: Folder,
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="auto, flat, hnsw, ivf, ivf-pq or one-bit; codes after a colon, as flat:int8.",
        ),
    ],
    as_json: Json = False,
) -> None:
    """Change what finds near vectors; nothing is encoded."""
    with running(), Index.open(folder, create=False) as target:
        started = time.perf_counter()
        chosen = target.reindex(kind)
        seconds = time.perf_counter() - started
        if as_json:
            print_json({"kind": as_dict(chosen), "passages": len(target), "seconds": seconds})
        else:
            out.print(f"{folder}: {chosen} over {len(target):,} passages in {seconds:.1f} s")


def reencode(
    folder: Folder,
    encoder: Annotated[str, typer.Argument(metavar="ENCODER", help="A model's name or folder.")],
    metric: Annotated[str | None, typer.Option(help="dot, cosine or euclidean.")] = None,
    as_json: Json = False,
) -> None:
    """Change to another encoder; the old vectors serve until all passages have new ones."""
    with running(), Index.open(folder, create=False) as target:
        started = time.perf_counter()
        with progress("encoding", len(target), quiet=as_json) as report:
            encoded = target.reencode(encoder, metric=metric, progress=report)
        seconds = time.perf_counter() - started
        if as_json:
            print_json({"encoder": encoder, "encoded": encoded, "seconds": seconds})
        else:
            out.print(f"{folder}: {encoded:,} texts encoded by {encoder} in {seconds:.1f} s")


def recall(
    folder: Folder,
    sample: Annotated[int, typer.Option(help="Stored vectors that ask for their nearest.")] = 200,
    k: Annotated[int, typer.Option("-k", help="Best ones compared.")] = 10,
    queries: Annotated[
        Path | None, typer.Option(help="Real queries instead: queries.jsonl[.gz], or id and text.")
    ] = None,
    effort: Annotated[float, typer.Option(help="What is spent on a search, times this.")] = 1.0,
    as_json: Json = False,
) -> None:
    """Measure how much of the exact answer the dense leg finds, and how long it takes."""
    with running(), Index.open(folder, create=False, read_only=True) as source:
        texts = list(read_queries(queries).values()) if queries is not None else None
        found = source.recall(sample, k=k, queries=texts, effort=effort)
        if as_json:
            print_json({**asdict(found), "kind": as_dict(source.kind)})
        else:
            out.print(
                f"{folder}: recall@{found.k} {found.mean:.4f} ({found.low:.4f} to "
                f"{found.high:.4f}) by {source.kind} for {found.queries} queries, "
                f"{found.milliseconds:.2f} ms each; exactly {found.exact_milliseconds:.2f} ms"
            )
