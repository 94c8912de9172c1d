"""The command ``doctor``."""

from datetime import date
from enum import Enum
from pathlib import Path
from typing import Annotated

from typer import Exit, Option

from twofold.cli import console
from twofold.corpus import read_qrels, read_queries
from twofold.diagnosis import SEVERITIES, diagnose, to_html, to_markdown
from twofold.diagnosis.scan import LIMIT

FOUND = 1  # exit code
_HTML = "Write a page with plots, which needs no network."
_REPORT = "Write a Markdown report."
_LIMIT = "The most passages to read; of more, a sample is drawn."
_PROBE = "Search with questions made of the passages: negation, numbers, typing errors and others."
_FAIL_ON = "The least severe finding for which the exit code is 1."


class Severity(str, Enum):
    """The severities of findings, and none."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"
    NEVER = "never"


def doctor(
    target: console.Target,
    queries: console.OptionalQueries = None,
    qrels: console.OptionalQrels = None,
    probe: Annotated[bool, Option("--probe", help=_PROBE)] = False,
    limit: Annotated[int, Option(help=_LIMIT)] = LIMIT,
    fail_on: Annotated[Severity, Option(help=_FAIL_ON)] = Severity.WARNING,
    html: Annotated[Path | None, Option(metavar="FILE", help=_HTML)] = None,
    report_to: Annotated[Path | None, Option("--report", metavar="FILE", help=_REPORT)] = None,
    as_json: console.Json = False,
) -> None:
    """Find what makes searches fail without a sign. Needs no judgments.

    The exit code is 0 if nothing is found but notes, 1 for warnings and errors, 2 if the index
    can't be searched.
    """
    for path in (html, report_to):
        console.check_target(path)
    texts = read_queries(queries) if queries is not None else {}
    judgments = read_qrels(qrels) if qrels is not None else None
    with (
        console.open_target(target, read_only=True) as index,
        console.progress("reading", len(index), quiet=as_json) as show,
    ):
        found = diagnose(
            index, queries=texts, qrels=judgments, limit=limit, probe=probe, progress=show
        )
    title, today = f"Diagnosis of {console.title_of(target)}", date.today().isoformat()
    if html is not None:
        html.write_text(to_html(found, title=title, date=today), encoding="utf-8")
    if report_to is not None:
        report_to.write_text(to_markdown(found, title=title, date=today), encoding="utf-8")
    console.print_result(as_json, found.to_dict(), str(found))
    if fail_on is Severity.NEVER:
        return
    failing = SEVERITIES[: SEVERITIES.index(fail_on.value) + 1]
    if any(finding.severity in failing for finding in found.findings):
        raise Exit(FOUND)
