"""The command line ``twofold``. Each command's module is imported when the command runs."""

import io
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from importlib import import_module
from typing import Annotated, Any

from typer import Exit, Option, Typer
from typer.core import TyperGroup
from typer.main import get_command

from twofold.cli.console import BROKEN_PIPE, discard_output, out, report_errors
from twofold.cli.escaping import escape_controls

_MODULES = {
    "index": "indexing",
    "search": "search",
    "eval": "evaluation",
    "tune": "tuning",
    "calibrate": "calibration",
    "profiles": "tuning",
    "train": "training",
    "map": "export",
    "doctor": "doctor",
    "check": "checking",
    "delete": "storage",
    "reencode": "indexing",
    "reanalyze": "indexing",
    "reindex": "indexing",
    "recall": "indexing",
    "push": "moving",
    "pull": "moving",
    "encode": "encoding",
    "load": "encoding",
    "copy": "storage",
    "backup": "storage",
    "restore": "storage",
    "export": "export",
    "import": "storage",
    "verify": "storage",
    "repair": "storage",
}
"""The module of each command in this package, in the order of the help: that of use."""
_EXAMPLES = {
    "index": "twofold index docs/ --to docs.twofold",
    "search": "twofold search docs.twofold 'how do I renew a certificate?' --explain",
    "eval": "twofold eval docs.twofold --queries queries.jsonl --qrels qrels.tsv",
    "tune": "twofold tune docs.twofold --queries queries.jsonl --qrels qrels.tsv",
    "calibrate": "twofold calibrate docs.twofold --queries queries.jsonl --qrels qrels.tsv",
    "profiles": "twofold profiles docs.twofold --use tuned",
    "train": "twofold train docs.twofold --queries queries.jsonl --qrels qrels.tsv",
    "map": "twofold map docs.twofold --query 'renew a certificate' --out map.html",
    "doctor": "twofold doctor docs.twofold --html doctor.html",
    "check": "twofold check docs.twofold --queries q.jsonl --qrels qrels.tsv --baseline base.json",
    "delete": "twofold delete docs.twofold --source old/notes.md",
    "reencode": "twofold reencode docs.twofold BAAI/bge-small-en-v1.5",
    "reanalyze": "twofold reanalyze docs.twofold german",
    "reindex": "twofold reindex docs.twofold hnsw",
    "recall": "twofold recall docs.twofold --queries queries.jsonl",
    "push": "twofold push docs.twofold postgresql://app@db/app?schema=docs",
    "pull": "twofold pull postgresql://app@db/app?schema=docs docs.twofold",
    "encode": "twofold encode corpus.jsonl --to shards/ --workers 4",
    "load": "twofold load corpus.jsonl shards/ --to docs.twofold",
    "copy": "twofold copy docs.twofold --to copy.twofold",
    "backup": "twofold backup docs.twofold --to backups.tar",
    "restore": "twofold restore backups.tar --to docs.twofold --overwrite",
    "export": "twofold export docs.twofold --to exported/",
    "import": "twofold import exported/ --to docs.twofold",
    "verify": "twofold verify docs.twofold --deep",
    "repair": "twofold repair docs.twofold --to saved.twofold",
}
"""An example of each command, shown at the end of its help."""
_FUNCTIONS = {"eval": "evaluation", "import": "import_export", "map": "draw_map"}
"""Functions with other names than their commands."""


class _LazyCommands(MutableMapping[str, Any]):
    """The commands by name, each imported when it is looked up."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            module = import_module(f"twofold.cli.{_MODULES[name]}")
            function = getattr(module, _FUNCTIONS.get(name, name))
            single = Typer(add_completion=False, pretty_exceptions_enable=False)
            single.command(name, epilog=f"Example: {_EXAMPLES[name]}")(report_errors()(function))
            self._loaded[name] = get_command(single)
        return self._loaded[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)


class _Commands(TyperGroup):
    """The commands, which escape the control characters of arguments that they don't understand."""

    def __init__(self, *args: Any, **options: Any) -> None:  # typer's signature
        super().__init__(*args, **options)
        self.commands = _LazyCommands()

    def make_context(self, *args: Any, **options: Any) -> Any:  # typer's signature
        """Parse the options before the command."""
        with _escaped_messages():
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        """Parse the command's arguments, and run it."""
        with _escaped_messages():
            return super().invoke(ctx)


@contextmanager
def _escaped_messages() -> Iterator[None]:
    """Escape the control characters in the message of a usage error."""
    try:
        yield
    except Exception as error:
        message = getattr(error, "message", None)
        if isinstance(message, str):
            error.message = escape_controls(message)  # type: ignore[attr-defined]
        raise


app = Typer(
    cls=_Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from twofold.cli.versions import describe_versions

        out.print(describe_versions(), markup=False, highlight=False)
        raise Exit


@app.callback()
def options(
    version: Annotated[  # handled by its callback
        bool,
        Option("--version", callback=_print_version, is_eager=True, help="Print versions."),
    ] = False,
) -> None:
    """Dense and lexical retrieval over one durable index."""


def main() -> None:
    """Run the command line. Characters that a stream's encoding lacks are printed as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app(prog_name="twofold")
    except BrokenPipeError:
        discard_output()
        sys.exit(BROKEN_PIPE)
