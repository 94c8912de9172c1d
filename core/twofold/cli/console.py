"""Output, errors and exit codes of all commands, and the options that several commands share."""

import codecs
import json
import os
import re
import shlex
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from typer import Abort, Argument, Exit, Option

from twofold.backends.urls import hide_password, is_url, open_url
from twofold.cli.escaping import Escaped, escape_json, escape_lines
from twofold.errors import CorruptIndexError, InputError, QueryError, TwofoldError
from twofold.fusion import FUSIONS, PRESETS, fusion_from_name
from twofold.index import DEFAULT, Index
from twofold.lexical import SCORERS, scorer_from_name
from twofold.rerank import reranker_from_name

if TYPE_CHECKING:
    from twofold.backends.remote_index import RemoteIndex

_DIGITS = 7  # of a number of tokens
DAMAGE, COULD_NOT_RUN, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141  # exit codes
_PROGRESS_SECONDS = 5.0  # between two lines where standard error is no terminal
_PIPE_WIDTH = 160  # columns where output goes to a file or a pipe


class _Output(Console):
    """An output stream, whose reader may stop before everything is printed."""

    def on_broken_pipe(self) -> None:
        """Raise BrokenPipeError, where rich exits with the code for damage."""
        raise BrokenPipeError


_is_terminal = sys.stdout is not None and sys.stdout.isatty()
out = _Output(highlight=False, emoji=False, width=None if _is_terminal else _PIPE_WIDTH)
err = _Output(stderr=True, highlight=False, emoji=False)


class ModeName(str, Enum):
    """The search modes."""

    HYBRID = "hybrid"
    DENSE = "dense"
    LEXICAL = "lexical"


QUERIES_HELP = "Queries: queries.jsonl[.gz], or id and text separated by a tab."
QRELS_HELP = "Relevance judgments in BEIR's or TREC's format."
Json = Annotated[bool, Option("--json", help="Print JSON.")]
Folder = Annotated[Path, Argument(metavar="DIR", help="Folder of an index.")]
Target = Annotated[
    str, Argument(metavar="DIR|URL", help="Folder of an index, or URL of one on a server.")
]
Queries = Annotated[Path, Option(help=QUERIES_HELP)]
Qrels = Annotated[Path, Option(help=QRELS_HELP)]
OptionalQueries = Annotated[Path | None, Option(help=QUERIES_HELP)]
OptionalQrels = Annotated[Path | None, Option(help=QRELS_HELP)]
Measure = Annotated[str, Option(help="Measure, in the syntax of ir_measures.")]
Where = Annotated[str | None, Option(metavar="JSON", help="Metadata filter.")]
Wait = Annotated[
    float, Option(metavar="SECONDS", help="How long to wait while another process writes.")
]
Metric = Annotated[str | None, Option(help="dot, cosine or euclidean.", show_default="the model's")]
_FUSION = f"Fusion of both legs: {', '.join(FUSIONS)}."
_PRESET = f"Fuse as another library does: {', '.join(PRESETS)}."
_SCORING = f"Scoring function of the lexical leg: {', '.join(SCORERS)}."
_RERANK = "Name or folder of a cross-encoder; 'NAME?candidates=30' sets options."
FusionName = Annotated[str | None, Option(help=_FUSION, show_default="guarded")]
Weight = Annotated[
    float | None, Option(help="Weight of the dense leg, 0 to 1.", show_default="the fusion's")
]
PresetName = Annotated[str | None, Option(help=_PRESET, show_default="none")]
Depth = Annotated[int | None, Option(help="Candidates per leg.", show_default="100")]
Rerank = Annotated[str | None, Option(help=_RERANK, show_default="none")]
Scoring = Annotated[str | None, Option(help=_SCORING, show_default="lucene")]
K1 = Annotated[
    float | None,
    Option("--k1", help="BM25's k1, the saturation of term frequency.", show_default="1.2"),
]
B = Annotated[
    float | None,
    Option("--b", help="BM25's b, the length normalization, 0 to 1.", show_default="0.75"),
]
Delta = Annotated[
    float | None,
    Option(help="The delta of bm25l, bm25+ and okapi-l.", show_default="0.5, 1 in bm25+"),
]


def title_of(target: str) -> str:
    """Return the title of a report about an index: a name without a password."""
    if not is_url(target):
        return Path(target).resolve().name
    named = re.search(r"[?&](?:schema|collection)=([^&]+)", target)
    return named[1] if named else target.partition("?")[0].rsplit("/", 1)[-1]


def open_target(
    target: str, *, read_only: bool = False, wait: float = 0.0
) -> "Index | RemoteIndex":
    """Open an existing index, in a folder or on a server."""
    if not is_url(target):
        return open_index(Path(target), read_only=read_only, wait=wait)
    # Others hold the lock of a server for moments only, so that waiting is the default there.
    options: dict[str, Any] = {"wait": wait} if wait else {}
    return open_url(target, {**options, "create": False, "read_only": read_only})


def open_index(folder: Path, *, read_only: bool = False, wait: float = 0.0) -> Index:
    """Open an existing index."""
    return Index.open(folder, create=False, read_only=read_only, wait=wait)


def parse_filter(text: str | None) -> dict[str, Any] | None:
    """Return the filter of the option ``--where``; raise QueryError unless it is JSON."""
    if text is None:
        return None
    try:
        value: dict[str, Any] = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise QueryError(f"--where must be JSON, such as '{{\"year\": 2021}}': {error}") from None
    return value


@contextmanager
def report_errors() -> Iterator[None]:
    """Print errors and warnings on standard error, each warning once, and set the exit code.

    The exit code is 1 for damage and 2 for any other error, also for a fault in this program,
    which is reported by its type and place. It is 141, as of commands that SIGPIPE ends, if the
    reader of the output stops early.
    """
    printed: set[str] = set()

    def print_once(message: Warning | str) -> None:
        if str(message) not in printed:
            printed.add(str(message))
            print_error("warning", message)

    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: print_once(message)
        try:
            yield
        except CorruptIndexError as error:
            print_error("damage", error)
            raise Exit(DAMAGE) from error
        except BrokenPipeError as error:
            discard_output()
            raise Exit(BROKEN_PIPE) from error
        except (TwofoldError, OSError) as error:
            print_error("error", error)
            raise Exit(COULD_NOT_RUN) from error
        except KeyboardInterrupt as error:
            print_error("stopped", "committed work is kept; run the command again to continue")
            raise Exit(INTERRUPTED) from error
        except (Exit, Abort):
            raise
        except Exception as error:
            print_error("error", _describe_fault(error))
            raise Exit(COULD_NOT_RUN) from error


def print_error(kind: str, message: object) -> None:
    """Print ``kind: message`` on standard error; further lines of the message are indented."""
    text = escape_lines(f"{kind}: {message}").replace("\n", "\n  ")
    err.print(text, markup=False, soft_wrap=True)


def print_raw(text: str) -> None:
    """Write text, which has no control characters of data, on standard output as it is."""
    out.file.write(text)
    out.file.flush()


def discard_output() -> None:
    """Send what is still buffered nowhere, so that the end of the program doesn't fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _describe_fault(error: Exception) -> str:
    """Return an unexpected error on one line, with the place where it was raised."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"unexpected {type(error).__name__}: {error} ({Path(place.filename).name}, line "
        f"{place.lineno}): this is a fault in twofold; please report it with the command"
    )


def print_result(as_json: bool, value: Any, *texts: RenderableType) -> None:
    """Print ``value`` as JSON, or ``texts`` for people, on standard output.

    Control characters are escaped. The JSON is ASCII if standard output isn't UTF-8.
    """
    if as_json:
        encoding = codecs.lookup(out.encoding).name
        text = json.dumps(value, ensure_ascii=not encoding.startswith("utf"))
        print_raw(escape_json(text) + "\n")
        return
    for shown in texts:
        if isinstance(shown, str):
            out.print(escape_lines(shown), markup=False, soft_wrap=True)
        else:
            out.print(Escaped(shown), markup=False)


@contextmanager
def spinner(label: str, *, quiet: bool) -> Iterator[None]:
    """Draw a spinner on standard error during the block, unless ``quiet`` or it is no terminal."""
    if quiet or not err.is_terminal:
        yield
        return
    with err.status(label):
        yield


@contextmanager
def progress(
    label: str, total: int, *, quiet: bool, first: str | None = None
) -> Iterator[Callable[..., None] | None]:
    """Show on standard error how far the work is, with the label ``first`` until it begins.

    A terminal shows a bar. Elsewhere, a line is written every few seconds.

    Yields a function that sets the number done, and optionally a new total and a new label. Yields
    None if ``quiet``.
    """
    if quiet:
        yield None
        return
    if not err.is_terminal:
        yield _ProgressLines(label, total)
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeRemainingColumn(), console=err, transient=True) as bar:
        task = bar.add_task(first if first is not None else label, total=total)

        def report(done: float, total: float | None = None, label: str = label) -> None:
            bar.update(task, completed=done, total=total, description=label)

        yield report


class _ProgressLines:
    """Writes how far the work is, at most every few seconds."""

    def __init__(self, label: str, total: float) -> None:
        self._label = label
        self._total = total
        self._written = time.monotonic()

    def __call__(self, done: float, total: float | None = None, label: str | None = None) -> None:
        """Write the number done, if the last line is old enough."""
        now = time.monotonic()
        if now - self._written < _PROGRESS_SECONDS:
            return
        self._written = now
        label = label if label is not None else self._label
        total = total if total is not None else self._total
        err.print(f"{label}: {done:,.0f} of {total:,.0f}", markup=False, soft_wrap=True)


def retriever_options(
    fusion: str | None,
    weight: float | None,
    scoring: str | None,
    k1: float | None,
    b: float | None,
    delta: float | None,
    rerank: str | None,
) -> dict[str, Any]:
    """Convert command-line options, None if unset, to keyword arguments of ``Retriever``."""
    scorer = None
    if (scoring, k1, b, delta) != (None, None, None, None):
        name = scoring if scoring is not None else "lucene"
        scorer = scorer_from_name(name, k1=k1, b=b, delta=delta)
    return {
        "fusion": fusion_from_name(fusion, weight) if fusion is not None else None,
        "dense_weight": weight if fusion is None else None,
        "scorer": scorer,
        "reranker": reranker_from_name(rerank) if rerank is not None else None,
    }


def profiles_command(target: str, name: str | None) -> str:
    """Return the shell command that activates a profile; ``name`` None means the defaults."""
    chosen = name if name is not None else DEFAULT
    return shlex.join(["twofold", "profiles", hide_password(target), "--use", chosen])


def check_target(path: Path | None) -> None:
    """Raise InputError if ``path`` is a folder, or lies in a folder that doesn't exist."""
    if path is None:
        return
    if not path.parent.is_dir():
        raise InputError(f"can't write {path}: there is no folder {path.parent}; make it first")
    if path.is_dir():
        raise InputError(f"can't write {path}: it is a folder; name a file in it")


def parse_windows(text: str | None) -> bool | int | None:
    """Return the argument ``windows`` of `Index.open`; raise InputError for another text."""
    named: dict[str | None, bool | None] = {None: None, "auto": True, "none": False}
    if text in named:
        return named[text]
    if text is None or not text.isdecimal() or len(text) > _DIGITS or not int(text):
        raise InputError(
            f"--windows must be 'auto', 'none' or a number of tokens, got {text!r:.80}"
        )
    return int(text)
