"""The command line: ``twofold index``, ``search``, ``eval`` and others."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from twofold import __version__
from twofold.cli import tables
from twofold.cli.console import DAMAGE, Folder, Json, out, print_json, progress, running
from twofold.cli.evaluation import evaluation
from twofold.cli.export import export
from twofold.cli.map import draw_map
from twofold.cli.search import search
from twofold.cli.training import train
from twofold.cli.tuning import settings, tune
from twofold.cli.vectors import recall, reencode, reindex
from twofold.corpus import Corpus, Splitting
from twofold.dense import as_dict, index_type_from_name
from twofold.index import AS_STORED, Index
from twofold.index.writing.passage_input import PassageValidator

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.command("map")(draw_map)
app.command("eval")(evaluation)
for verb in (search, reindex, reencode, recall, export, tune, settings, train):
    app.command()(verb)


def _version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        out.print(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[  # acted upon by its callback
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Dense and lexical retrieval over one durable index."""


_ANALYZER = (
    "A language ('english', 'de', ... ; 'multilingual' takes words as they are), the import path "
    "of a function on PYTHONPATH ('package.module:function'), or 'none'."
)


@app.command()
def index(
    corpus: Annotated[
        Path,
        typer.Argument(
            metavar="CORPUS",
            help="A BEIR folder, a .jsonl[.gz] file, or a folder of .txt and .md files.",
        ),
    ],
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="The index, made if missing.")],
    encoder: Annotated[
        str | None,
        typer.Option(
            help="A model's name or folder, 'hashing', or 'none'; "
            "'NAME?pooling=cls' has options, 'QUERIES | PASSAGES' two towers."
        ),
    ] = None,
    metric: Annotated[str | None, typer.Option(help="dot, cosine or euclidean.")] = None,
    analyzer: Annotated[str | None, typer.Option(help=_ANALYZER)] = None,
    title_weight: Annotated[
        int | None, typer.Option(help="How often the words of a title count.", show_default="1")
    ] = None,
    size: Annotated[int, typer.Option(help="Longest passage of a split file, characters.")] = 1000,
    overlap: Annotated[
        int | None, typer.Option(help="Characters that neighbours share.", show_default="150")
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="What finds near vectors: see reindex.", show_default="auto")
    ] = None,
    as_json: Json = False,
) -> None:
    """Add a corpus to an index; passages that are there already are updated.

    Parts that a file of a folder no longer has are removed; nothing else ever is.
    """
    with running():
        wanted = index_type_from_name(kind) if kind is not None else None  # before anything is made
        passages = Corpus.at(
            corpus, Splitting(size, overlap if overlap is not None else min(150, size // 4))
        )
        checking = PassageValidator()
        count = sum(1 for each in passages if checking.checked(each))
        started = time.perf_counter()
        with Index.open(
            to,
            encoder=AS_STORED if encoder is None else _or_none(encoder),
            metric=metric,
            analyzer=AS_STORED if analyzer is None else _or_none(analyzer),
            title_weight=title_weight,
        ) as target:
            if wanted is not None:
                target.reindex(wanted)
            with progress("indexing", count, quiet=as_json) as report:
                result = target.upsert(passages, progress=report)
            removed = target.delete(_left_over(target, set(result.ids))) if passages.folder else 0
            total, modes, near = len(target), target.modes, target.kind
        summary: dict[str, Any] = {
            name: getattr(result, name)
            for name in ("added", "updated", "unchanged", "truncated", "empty")
        }
        summary |= {
            "removed": removed,
            "passages": total,
            "modes": modes,
            "kind": as_dict(near) if "dense" in modes else None,
            "seconds": time.perf_counter() - started,
        }
        if as_json:
            print_json(summary)
        else:
            out.print(tables.indexed(to, summary), soft_wrap=True)


@app.command()
def reanalyze(
    folder: Folder,
    analyzer: Annotated[
        str, typer.Argument(metavar="ANALYZER", help="A language, or a function's import path.")
    ],
    title_weight: Annotated[
        int | None, typer.Option(help="How often the words of a title count: as it was.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Build an index's postings anew with another analyzer; nothing is encoded."""
    with running(), Index.open(folder, create=False) as target:
        started = time.perf_counter()
        target.reanalyze(analyzer, title_weight=title_weight)
        seconds = time.perf_counter() - started
        if as_json:
            print_json({"analyzer": analyzer, "passages": len(target), "seconds": seconds})
        else:
            out.print(f"{folder}: {len(target):,} passages analysed in {seconds:.1f} s")


@app.command()
def copy(
    folder: Folder,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="A new or empty folder.")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Take the place of an index that is there.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Copy an index as it is now, beside readers and a writer."""
    with running(), Index.open(folder, create=False, read_only=True) as source:
        source.copy(to, overwrite=overwrite)
        if as_json:
            print_json({"to": str(to), "passages": len(source)})
        else:
            out.print(f"{to}: {len(source):,} passages copied", soft_wrap=True)


@app.command()
def verify(
    folder: Folder,
    deep: Annotated[bool, typer.Option("--deep", help="Rebuild and compare, too.")] = False,
    as_json: Json = False,
) -> None:
    """Check every byte of an index; exit code 1 if anything is damaged."""
    with running(), Index.open(folder, create=False, read_only=True) as source:
        report = source.verify(deep=deep)
        if as_json:
            print_json({**asdict(report), "ok": report.ok})
        else:
            out.print(tables.verification(folder, report), soft_wrap=True)
        if not report.ok:
            raise typer.Exit(DAMAGE)


def _left_over(target: Index, ids: set[str]) -> list[str]:
    """Return stored parts of files that were just read again, and no longer have them."""
    sources = {name.rpartition("#")[0] for name in ids}
    return [
        each.id
        for each in target
        if each.id not in ids
        and each.metadata.get("source") in sources
        and each.id == f"{each.metadata['source']}#{each.metadata.get('part')}"
    ]


def _or_none(name: str) -> str | None:
    """Return a name, None for the word that stands for none."""
    return None if name == "none" else name
