"""The command line: ``twofold index``, ``search``, ``eval`` and others."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from twofold import __version__
from twofold.cli import tables
from twofold.cli.console import (
    DAMAGE,
    Folder,
    Json,
    ModeName,
    err,
    out,
    print_json,
    progress,
    running,
)
from twofold.cli.dense import recall, reencode, reindex
from twofold.cli.export import export
from twofold.cli.map import draw_map
from twofold.corpus import Corpus, Splitting, read_qrels, read_queries
from twofold.dense import as_dict, kind_named
from twofold.errors import QueryError
from twofold.evaluation import MEASURES, evaluate
from twofold.index import AS_STORED, Index
from twofold.index.intake import Intake
from twofold.lexical import SCORERS, scorer_named
from twofold.protocols import Scorer
from twofold.retriever import Retriever

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.command("map")(draw_map)
for verb in (reindex, reencode, recall, export):
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
_SCORING = f"The lexical leg's scoring function: {', '.join(SCORERS)}."
Scoring = Annotated[str | None, typer.Option(help=_SCORING, show_default="lucene")]
K1 = Annotated[float | None, typer.Option("--k1", help="BM25's k1: what repeats of a word add.")]
B = Annotated[float | None, typer.Option("--b", help="BM25's b: how length counts, 0 to 1.")]
Delta = Annotated[float | None, typer.Option(help="The delta of bm25l, bm25+ and okapi-l.")]


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
        wanted = kind_named(kind) if kind is not None else None  # before anything is made
        passages = Corpus.at(
            corpus, Splitting(size, overlap if overlap is not None else min(150, size // 4))
        )
        checking = Intake()
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
def search(
    folder: Folder,
    query: Annotated[str, typer.Argument(metavar="QUERY")],
    k: Annotated[int, typer.Option("-k", help="Hits wanted.")] = 10,
    mode: Annotated[ModeName | None, typer.Option(help="Default: hybrid if possible.")] = None,
    where: Annotated[str | None, typer.Option(metavar="JSON", help="A filter.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say why each came back.")] = False,
    why_not: Annotated[
        str | None, typer.Option("--why-not", metavar="ID", help="Say why this passage did not.")
    ] = None,
    scoring: Scoring = None,
    k1: K1 = None,
    b: B = None,
    delta: Delta = None,
    exact: Annotated[bool, typer.Option("--exact", help="Look at all vectors.")] = False,
    effort: Annotated[
        float, typer.Option(help="What an approximate dense leg spends, times this.")
    ] = 1.0,
    as_json: Json = False,
) -> None:
    """Retrieve passages for a query."""
    with running(), Index.open(folder, create=False, read_only=True) as source:
        chosen = mode.value if mode is not None else source.modes[0]
        scorer = _scorer(scoring, k1, b, delta)
        retriever = Retriever(source, mode=chosen, k=k, scorer=scorer, exact=exact, effort=effort)
        hits = retriever.retrieve(query, where=_filter(where))
        if why_not is not None:
            why = hits.why_not(why_not)
            if as_json:
                print_json(why.to_dict())
            else:
                out.print(tables.why_not(why))
            return
        if as_json:
            print_json(tables.hits_as_dict(hits, explained=explain))
            return
        out.print(tables.hits_table(hits, explained=explain))
        for warning in hits.warnings:
            err.print(f"warning: {warning}", markup=False)


@app.command("eval")
def evaluation(
    folder: Folder,
    queries: Annotated[Path, typer.Option(help="queries.jsonl[.gz], or id and text by tab.")],
    qrels: Annotated[Path, typer.Option(help="Judgments, BEIR's or TREC's.")],
    mode: Annotated[ModeName | None, typer.Option(help="Default: every one possible.")] = None,
    measure: Annotated[
        list[str] | None, typer.Option(help="In ir_measures' grammar; may be repeated.")
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Hits measured.")] = 100,
    scoring: Scoring = None,
    k1: K1 = None,
    b: B = None,
    delta: Delta = None,
    as_json: Json = False,
) -> None:
    """Measure retrieval on judged queries."""
    with running(), Index.open(folder, create=False, read_only=True) as source:
        texts, judgments = read_queries(queries), read_qrels(qrels)
        modes = (mode.value,) if mode is not None else source.modes
        measures = measure if measure else list(MEASURES)
        scorer = _scorer(scoring, k1, b, delta)
        results = [
            evaluate(Retriever(source, mode=each, scorer=scorer), texts, judgments, measures, k=k)
            for each in modes
        ]
        if as_json:
            print_json(
                {
                    each.mode: {"queries": each.queries, "measures": dict(each.measures)}
                    for each in results
                }
            )
        else:
            out.print(tables.evaluations(results))


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


def _scorer(
    name: str | None, k1: float | None, b: float | None, delta: float | None
) -> Scorer | None:
    """Return the scoring function of the options, None if none was given."""
    if (name, k1, b, delta) == (None, None, None, None):
        return None
    return scorer_named(name if name is not None else "lucene", k1=k1, b=b, delta=delta)


def _filter(text: str | None) -> dict[str, Any] | None:
    """Return the filter in a JSON text; raise QueryError if it isn't JSON."""
    if text is None:
        return None
    try:
        value: dict[str, Any] = json.loads(text)
    except json.JSONDecodeError as error:
        raise QueryError(f"--where is JSON such as '{{\"year\": 2021}}': {error}") from None
    return value
