"""What all verbs share: where output goes, how errors end a run, and the options' types."""

import json
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from twofold.errors import CorruptIndexError, InputError, TwofoldError

DAMAGE, COULD_NOT_RUN, INTERRUPTED = 1, 2, 130
_WIDE = 160  # columns where output goes to a file or a pipe
out = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)
err = Console(stderr=True, highlight=False)


class ModeName(str, Enum):
    """The modes of a retriever, as the command line lists them."""

    HYBRID = "hybrid"
    DENSE = "dense"
    LEXICAL = "lexical"


Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of an index.")]


def print_json(value: Any) -> None:
    """Print a value for machines, on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


@contextmanager
def running() -> Iterator[None]:
    """Say errors and warnings on standard error, and end with the exit code they mean.

    Damage is 1, anything else that keeps a command from running is 2. What several parts of a
    command warn of is said once.
    """
    said: set[str] = set()

    def say_once(message: Warning | str) -> None:
        if str(message) not in said:
            said.add(str(message))
            _say("warning", message)

    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: say_once(message)
        try:
            yield
        except CorruptIndexError as error:
            _say("damage", error)
            raise typer.Exit(DAMAGE) from error
        except (TwofoldError, OSError) as error:
            _say("error", error)
            raise typer.Exit(COULD_NOT_RUN) from error
        except KeyboardInterrupt as error:
            _say("stopped", "what was committed is kept; run the command again to go on")
            raise typer.Exit(INTERRUPTED) from error


@contextmanager
def progress(label: str, total: int, *, quiet: bool) -> Iterator[Callable[[int], None] | None]:
    """Draw a progress bar on standard error; give None where nothing is to be drawn."""
    if quiet or not err.is_terminal:
        yield None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda done: bar.update(task, completed=done)


def check_target(path: Path | None) -> None:
    """Raise InputError where no file can be written to a path, before anything is retrieved."""
    if path is None:
        return
    if not path.parent.is_dir():
        raise InputError(
            f"{path} can't be written: there is no folder {path.parent}; make it first"
        )
    if path.is_dir():
        raise InputError(f"{path} can't be written: it is a folder; name a file in it")


def _say(kind: str, message: object) -> None:
    err.print(f"{kind}: {message}", markup=False, soft_wrap=True)
