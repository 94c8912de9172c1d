"""The commands that encode a corpus in shards, and load them into an index."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from twofold.backends.urls import hide_password, is_url, open_url
from twofold.batch_encoding import (
    DaskRunner,
    EncodingJob,
    ProcessRunner,
    RayRunner,
    Runner,
    SerialRunner,
)
from twofold.cli.console import Json, Metric, parse_windows, print_result, progress
from twofold.corpus import Corpus
from twofold.encoders import DEFAULT_ENCODER
from twofold.errors import InputError
from twofold.validation import check_choice

_CORPUS = "A corpus, as for index."
_SHARDS = "Folder of the shards."
_RUNNERS = ("processes", "dask", "ray")
_CLUSTER = "Address of a Dask scheduler or a Ray cluster; default: one on this machine."
CorpusPath = Annotated[Path, Argument(metavar="CORPUS", help=_CORPUS)]


def encode(
    corpus: CorpusPath,
    to: Annotated[Path, Option("--to", metavar="SHARDS", help=_SHARDS)],
    encoder: Annotated[
        str | None, Option(help="The model's name.", show_default=DEFAULT_ENCODER)
    ] = None,
    metric: Metric = None,
    windows: Annotated[str | None, Option(help="As for index.", show_default="auto")] = None,
    size: Annotated[int, Option(help="Passages in a shard.")] = 1024,
    workers: Annotated[
        int | None, Option(help="How many workers; 1 means this process.", show_default="cores")
    ] = None,
    runner: Annotated[
        str, Option(help="What runs the workers: processes, dask or ray.")
    ] = "processes",
    cluster: Annotated[str | None, Option(help=_CLUSTER)] = None,
    as_json: Json = False,
) -> None:
    """Encode a corpus in shards, by many workers.

    Run it again after it was stopped, or after passages were added at the corpus's end: shards
    that are there are left alone.
    """
    chosen = _open_runner(runner, workers, cluster)
    job = EncodingJob(
        to,
        encoder=encoder if encoder is not None else DEFAULT_ENCODER,
        metric=metric,
        windows=parse_windows(windows),
        size=size,
    )
    source = Corpus.from_path(corpus)
    count = sum(1 for _ in source)
    with progress("encoding", count, quiet=as_json) as show:
        report = job.run(source, chosen, progress=show)
    text = (
        f"{to}: {report.passages:,} passages in {report.shards:,} shards, of which "
        f"{report.encoded:,} were encoded now; {report.windowed:,} texts have windows, and "
        f"{report.truncated:,} were truncated"
    )
    print_result(as_json, asdict(report), text)


def load(
    corpus: CorpusPath,
    shards: Annotated[Path, Argument(metavar="SHARDS", help=_SHARDS)],
    to: Annotated[str, Option("--to", metavar="DIR|URL", help="A new folder, or a server.")],
    analyzer: Annotated[
        str | None, Option(help="Analyzer of a new index.", show_default="english")
    ] = None,
    overwrite: Annotated[bool, Option("--overwrite", help="Replace an index there.")] = False,
    as_json: Json = False,
) -> None:
    """Store a corpus with the vectors of its shards."""
    job = EncodingJob.open(shards)
    source = Corpus.from_path(corpus)
    count = sum(1 for _ in source)
    chosen = {} if analyzer is None else {"analyzer": None if analyzer == "none" else analyzer}
    with progress("loading", count, quiet=as_json) as show:
        if is_url(to):
            with open_url(to, {**job.options, **chosen}) as backend:
                stored = job.load(source, backend, progress=show)
        else:
            stored = job.load(source, to, overwrite=overwrite, progress=show, **chosen)  # type: ignore[arg-type]  # mypy takes the analyzer for any argument
    print_result(as_json, {"passages": stored}, f"{hide_password(to)}: {stored:,} passages stored")


def _open_runner(name: str, workers: int | None, cluster: str | None) -> Runner:
    check_choice("runner", name, _RUNNERS)
    if name == "dask":
        return DaskRunner(cluster, workers)
    if name == "ray":
        return RayRunner(cluster, workers)
    if cluster is not None:
        raise InputError(f"cluster is for dask and ray, got {cluster!r:.80}: leave it out")
    return SerialRunner() if workers == 1 else ProcessRunner(workers)
