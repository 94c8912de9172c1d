"""Writes a diagnosis as Markdown."""

import re
from collections.abc import Iterator, Sequence

from twofold.diagnosis.diagnose import Diagnosis, describe_size
from twofold.diagnosis.finding import SEVERITIES, Finding, percent
from twofold.diagnosis.probes import ProbeResult

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|])")
TITLES = {"error": "Errors", "warning": "Warnings", "note": "Notes"}
_LISTED = 5
_SHOWN = 200  # characters of a text


def to_markdown(diagnosis: Diagnosis, *, title: str, date: str) -> str:
    """Return a diagnosis as a Markdown page.

    Args:
        diagnosis: The findings.
        title: The page's title.
        date: The day of the diagnosis, as text.
    """
    return "\n".join(_lines(diagnosis, title, date)) + "\n"


def _lines(diagnosis: Diagnosis, title: str, date: str) -> Iterator[str]:
    yield f"# {_escape(title)}"
    yield ""
    yield f"{date}. {describe_size(diagnosis)}."
    for severity in SEVERITIES:
        findings = [one for one in diagnosis.findings if one.severity == severity]
        if findings:
            yield ""
            yield f"## {TITLES[severity]}"
        for finding in findings:
            yield from _describe(finding)
    if diagnosis.probes:
        yield from _describe_probes(diagnosis.probes)


def _describe(finding: Finding) -> Iterator[str]:
    yield ""
    yield f"### {finding.name}"
    yield ""
    yield f"{_sentence(finding.summary)}"
    if finding.evidence or finding.ids:
        yield ""
    for text in finding.evidence:
        yield f"- {_escape(text)}"
    if finding.ids:
        yield f"- such as {_escape(', '.join(map(repr, finding.ids[:_LISTED])))}"
    yield ""
    yield f"What to do: {_sentence(finding.advice)}"


def _describe_probes(results: Sequence[ProbeResult]) -> Iterator[str]:
    modes = list(dict.fromkeys(mode for result in results for mode in result.shares))
    yield ""
    yield "## Probes"
    yield ""
    yield "The share of questions, made of the passages by rules, that each mode puts right."
    yield ""
    yield f"| difficulty | probes | {' | '.join(modes)} |"
    yield "|---|" + "---|" * (len(modes) + 1)
    for result in results:
        shares = (percent(result.shares[mode]) if mode in result.shares else "" for mode in modes)
        yield f"| {result.kind} | {result.count:,} | {' | '.join(shares)} |"
    for result in results:
        for example in result.examples[:1]:
            yield ""
            yield f"- {result.kind}, {example.mode}: {_escape(example.query[:_SHOWN])}"
            yield f"  - right: {_escape(example.expected[:_SHOWN])}"
            yield f"  - found: {_escape(example.found[:_SHOWN])}"


def _sentence(text: str) -> str:
    """Return a message as a sentence with a full stop."""
    return _escape(text[:1].upper() + text[1:] + ("" if text.endswith(".") else "."))


def _escape(text: str) -> str:
    """Return text on one line, with the special characters of Markdown and HTML escaped."""
    line = "".join(char if char.isprintable() else " " for char in text)
    return _SPECIAL.sub(r"\\\1", " ".join(line.split()))
