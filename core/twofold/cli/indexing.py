"""The commands that fill an index: index, reindex, reencode, reanalyze and recall."""

import time
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from typer import Argument, Option

from twofold.backends.urls import hide_password, is_url, open_url
from twofold.cli.console import (
    Folder,
    Json,
    Metric,
    Wait,
    open_index,
    parse_windows,
    print_result,
    progress,
    spinner,
)
from twofold.cli.folders import describe_folder, folder_as_dict
from twofold.corpus import Corpus, FolderUpdate, Splitting, index_folder, read_queries
from twofold.corpus.folder import count_of
from twofold.dense import index_type_as_dict, index_type_from_name
from twofold.encoders import DEFAULT_ENCODER
from twofold.errors import CorpusError
from twofold.index import AS_STORED, Index
from twofold.index.writing.passage_input import PassageValidator
from twofold.retriever import Retriever

_CORPUS = (
    "A folder of files, or one file (Markdown, PDF, HTML, Word, code, ...), or a collection: a "
    "file of JSON lines, TSV, CSV or Parquet, or a folder as of BEIR, MTEB, MS MARCO or MIRACL."
)
_SIZE = "Most characters of a passage of a folder's files."
_ENCODER = (
    "A model's name or folder, 'openai:MODEL', 'ollama:MODEL', 'hashing', or 'none'; "
    "'NAME?pooling=cls' sets options, 'QUERIES | PASSAGES' two models."
)
_ANALYZER = (
    "A language ('english', 'de', ...; 'multilingual' doesn't stem), the import path of a function "
    "on PYTHONPATH ('package.module:function'), or 'none'."
)
if TYPE_CHECKING:
    from twofold.backends.remote_index import RemoteIndex

_TO = "The index, created if missing: a folder, or the URL of a server."
_KINDS = "auto, flat, hnsw, ivf, ivf-pq or one-bit; with a codec after a colon, such as flat:int8."
_NAME = "Name of a folder in the index; pass the old one if the folder has moved."
_ALLOW_EMPTY = "Accept a folder without files to read: all its passages are deleted."
_TITLE_WEIGHT = "How many times each term of a title counts."
_WINDOWS = (
    "Tokens of a window of passages longer than the encoder reads; 'auto': 200, or what it reads; "
    "'none': no windows."
)


def index(
    corpus: Annotated[Path, Argument(metavar="CORPUS", help=_CORPUS)],
    to: Annotated[str, Option("--to", metavar="DIR|URL", help=_TO)],
    encoder: Annotated[str | None, Option(help=_ENCODER, show_default=DEFAULT_ENCODER)] = None,
    metric: Metric = None,
    analyzer: Annotated[str | None, Option(help=_ANALYZER, show_default="english")] = None,
    title_weight: Annotated[int | None, Option(help=_TITLE_WEIGHT, show_default="1")] = None,
    windows: Annotated[str | None, Option(help=_WINDOWS, show_default="auto")] = None,
    name: Annotated[str | None, Option(help=_NAME, show_default="its own and a hash")] = None,
    allow_empty: Annotated[bool, Option("--allow-empty", help=_ALLOW_EMPTY)] = False,
    size: Annotated[
        int | None, Option(help=_SIZE, show_default="as before, or what the encoder reads")
    ] = None,
    overlap: Annotated[
        int | None, Option(help="Overlap in characters.", show_default="150")
    ] = None,
    kind: Annotated[str | None, Option(help="Dense index type.", show_default="auto")] = None,
    wait: Wait = 0.0,
    as_json: Json = False,
) -> None:
    """Add a corpus to an index, replacing stored passages with the same ids.

    If CORPUS is a folder of files, run this again after any change: edited files are read anew,
    and passages of files that are gone are deleted. Passages from elsewhere are kept.
    """
    index_type = index_type_from_name(kind) if kind is not None else None
    splitting = Splitting(size, overlap)
    source = _open_corpus(corpus, splitting, name, to, allow_empty=allow_empty)
    count = 0
    if source.folder is None:  # a bad line is found before anything is written
        validator = PassageValidator()
        count = sum(1 for passage in source if validator.validate(passage))
    started = time.perf_counter()
    options: dict[str, Any] = {
        "encoder": AS_STORED if encoder is None else _none_from_name(encoder),
        "metric": metric,
        "analyzer": AS_STORED if analyzer is None else _none_from_name(analyzer),
        "title_weight": title_weight,
        "windows": parse_windows(windows),
        **({"wait": wait} if wait else {}),
    }
    with _open_for_writing(to, options) as target:
        if index_type is not None:
            target.reindex(index_type)
        update: FolderUpdate | None = None
        if source.folder is None:
            with progress("indexing", count, quiet=as_json, first="loading the model") as show:
                result = target.upsert(source, progress=show)
        else:
            with progress("indexing", 1, quiet=as_json, first="reading files") as show:
                update = index_folder(
                    target,
                    source.folder,
                    splitting if (size, overlap) != (None, None) else None,
                    name=name,
                    allow_empty=allow_empty,
                    reading=partial(show, label="reading files") if show is not None else None,
                    progress=show,
                )
            result = update.result
        if result.added or result.updated:
            with spinner("preparing searches", quiet=as_json):
                _prepare_searches(target)
        counted = (field.name for field in fields(result) if field.name != "ids")
        value: dict[str, Any] = {name: getattr(result, name) for name in counted}
        value |= {
            "removed": update.removed if update is not None else 0,
            "passages": len(target),
            "modes": target.modes,
            "kind": index_type_as_dict(target.index_type) if "dense" in target.modes else None,
            "seconds": time.perf_counter() - started,
        }
    if update is not None:
        value |= folder_as_dict(update)
    text = (
        f"{hide_password(to)}: {count_of(value['passages'], 'passage')} ({value['added']:,} added, "
        f"{value['updated']:,} updated, {value['removed']:,} removed, {value['unchanged']:,} "
        f"unchanged) in {value['seconds']:.1f} s; modes {', '.join(value['modes'])}"
    )
    if value["kind"] is not None:
        text += f"; dense index {value['kind']['kind']}"
    if value["windowed"]:
        text += (
            f"; {value['windowed']:,} texts are longer than the encoder reads and were also "
            "encoded in windows"
        )
    if value["truncated"]:
        text += (
            f"; {value['truncated']:,} texts are longer than the encoder reads and were "
            "truncated: split them into shorter passages, such as by --size 500"
        )
    print_result(as_json, value, text, *(describe_folder(update) if update is not None else ()))


def _open_for_writing(to: str, options: dict[str, Any]) -> "Index | RemoteIndex":
    """Open the index in a folder or on a server, or create it there."""
    if not is_url(to):
        return Index.open(to, **options)
    return open_url(to, options)


def reanalyze(
    folder: Folder,
    analyzer: Annotated[str, Argument(metavar="ANALYZER", help=_ANALYZER)],
    title_weight: Annotated[
        int | None, Option(help=_TITLE_WEIGHT, show_default="unchanged")
    ] = None,
    wait: Wait = 0.0,
    as_json: Json = False,
) -> None:
    """Rebuild the lexical leg with another analyzer. The vectors stay as they are."""
    with open_index(folder, wait=wait) as target:
        started = time.perf_counter()
        target.reanalyze(analyzer, title_weight=title_weight)
        seconds = time.perf_counter() - started
        print_result(
            as_json,
            {"analyzer": analyzer, "passages": len(target), "seconds": seconds},
            f"{folder}: {len(target):,} passages analyzed in {seconds:.1f} s",
        )


def reindex(
    folder: Folder,
    kind: Annotated[str, Argument(metavar="KIND", help=_KINDS)],
    wait: Wait = 0.0,
    as_json: Json = False,
) -> None:
    """Change the type of the dense index. The passages are not encoded again."""
    with open_index(folder, wait=wait) as target:
        started = time.perf_counter()
        chosen = target.reindex(kind)
        seconds = time.perf_counter() - started
        print_result(
            as_json,
            {"kind": index_type_as_dict(chosen), "passages": len(target), "seconds": seconds},
            f"{folder}: {chosen} over {len(target):,} passages in {seconds:.1f} s",
        )


def reencode(
    folder: Folder,
    encoder: Annotated[str, Argument(metavar="ENCODER", help="A model's name or folder.")],
    metric: Metric = None,
    windows: Annotated[str | None, Option(help=_WINDOWS, show_default="unchanged")] = None,
    wait: Wait = 0.0,
    as_json: Json = False,
) -> None:
    """Encode all passages anew, by another model or in other windows.

    Until the end, searches use the old vectors.
    """
    size = parse_windows(windows)
    with open_index(folder, wait=wait) as target:
        started = time.perf_counter()
        with progress("encoding", len(target), quiet=as_json) as report:
            encoded = target.reencode(encoder, metric=metric, windows=size, progress=report)
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
    queries: Annotated[
        Path | None, Option(help="Real queries, used instead of a sample.", show_default="none")
    ] = None,
    effort: Annotated[float, Option(help="Factor of the search effort.")] = 1.0,
    as_json: Json = False,
) -> None:
    """Measure the dense leg's recall against an exact search, and the latency of both."""
    with open_index(folder, read_only=True) as target:
        texts = list(read_queries(queries).values()) if queries is not None else None
        found = target.recall(sample, k=k, queries=texts, effort=effort)
        print_result(
            as_json,
            {**asdict(found), "kind": index_type_as_dict(target.index_type)},
            f"{folder}: recall@{found.k} {found.mean:.4f} ({found.low:.4f} to "
            f"{found.high:.4f}) by {target.index_type} for {found.queries} queries, "
            f"{found.milliseconds:.2f} ms each; exact search {found.exact_milliseconds:.2f} ms",
        )


def _prepare_searches(index: "Index | RemoteIndex") -> None:
    """Search once, so that the first query doesn't wait for the kernels to be compiled."""
    passage = next(iter(index), None)
    if passage is None or not index.modes:
        return
    dim = index.dim if "dense" in index.modes else None
    vector = np.ones(dim, np.float32) if dim is not None else None
    text = passage.text.split(maxsplit=1)[0] if passage.text.split() else "none"
    Retriever(index, mode=index.modes[0], k=1).retrieve(text, vector=vector)


def _open_corpus(
    path: Path, splitting: Splitting, name: str | None, to: str, *, allow_empty: bool
) -> Corpus:
    """Return the corpus; for a folder without one, say how its passages in ``to`` are deleted."""
    try:
        return Corpus.from_path(path, splitting, name=name, allow_empty=allow_empty)
    except CorpusError as error:
        if path.is_dir() and (is_url(to) or Path(to).is_dir()):
            raise CorpusError(
                f"{error}; if its files are gone for good, --allow-empty deletes their passages "
                f"from {hide_password(to)}"
            ) from error
        raise


def _none_from_name(name: str) -> str | None:
    return None if name == "none" else name
