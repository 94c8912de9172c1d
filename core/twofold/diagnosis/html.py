"""Writes a diagnosis as one HTML page with plots, which needs no other file and no network."""

from collections.abc import Iterator, Sequence
from html import escape

from twofold.diagnosis.diagnose import Diagnosis, describe_size
from twofold.diagnosis.finding import SEVERITIES, Finding, percent
from twofold.diagnosis.probes import ProbeResult
from twofold.diagnosis.report import TITLES

_LISTED = 20
_SHOWN = 300  # characters of a text
_MODES = {"hybrid": "#1b5e9e", "dense": "#b26a00", "lexical": "#666"}
_BAR = 240  # pixels of a share of 100%
# The policy keeps the page off the network, whatever the passages contain.
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem;
  color: #222; background: #fff; }}
h1 {{ font-size: 1.6rem; }} h2 {{ font-size: 1.2rem; margin-top: 2rem; }}
article {{ border-left: 4px solid #999; padding: .1rem 1rem; margin: 1rem 0; background: #f7f7f7; }}
article.error {{ border-color: #b3261e; }} article.warning {{ border-color: #b26a00; }}
code {{ background: #eee; padding: 0 .2rem; overflow-wrap: anywhere; }}
svg text {{ font-size: 12px; fill: #222; }} .ids {{ font-size: .9rem; overflow-wrap: anywhere; }}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def to_html(diagnosis: Diagnosis, *, title: str, date: str) -> str:
    """Return a diagnosis as an HTML page.

    Args:
        diagnosis: The findings.
        title: The page's title.
        date: The day of the diagnosis, as text.
    """
    return _PAGE.format(title=escape(title), body="\n".join(_body(diagnosis, title, date)))


def _body(diagnosis: Diagnosis, title: str, date: str) -> Iterator[str]:
    yield f"<h1>{escape(title)}</h1>"
    yield f"<p>{escape(date)}. {escape(describe_size(diagnosis))}.</p>"
    shares = [one for one in diagnosis.findings if one.share is not None]
    if shares:
        yield "<h2>Shares that are affected</h2>"
        yield _plot(shares)
    for severity in SEVERITIES:
        findings = [one for one in diagnosis.findings if one.severity == severity]
        if findings:
            yield f"<h2>{TITLES[severity]}</h2>"
        for finding in findings:
            yield from _article(finding)
    if diagnosis.probes:
        yield "<h2>Probes</h2>"
        yield "<p>The share of questions, made of the passages, that each mode puts right.</p>"
        yield _plot_probes(diagnosis.probes)
        yield from map(_examples, diagnosis.probes)


def _article(finding: Finding) -> Iterator[str]:
    yield f'<article class="{finding.severity}">'
    yield f"<h3><code>{escape(finding.name)}</code></h3>"
    yield f"<p>{_sentence(finding.summary)}</p>"
    if finding.evidence:
        yield f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in finding.evidence)}</ul>"
    if finding.ids:
        listed = ", ".join(f"<code>{escape(one)}</code>" for one in finding.ids[:_LISTED])
        yield f'<p class="ids">Such as {listed}</p>'
    yield f"<p><strong>What to do:</strong> {_sentence(finding.advice)}</p>"
    yield "</article>"


def _plot(findings: list[Finding]) -> str:
    """Return a bar for the share of each finding, as SVG."""
    colors = {"error": "#b3261e", "warning": "#b26a00", "note": "#666"}
    rows = []
    for at, finding in enumerate(findings):
        share = min(finding.share or 0.0, 1.0)
        rows.append(
            f'<text x="0" y="{at * 24 + 16}">{escape(finding.name)}</text>'
            f'<rect x="230" y="{at * 24 + 4}" width="{max(share * _BAR, 1):.0f}" height="16" '
            f'fill="{colors[finding.severity]}"><title>{escape(finding.summary)}</title></rect>'
            f'<text x="{236 + share * _BAR:.0f}" y="{at * 24 + 16}">{percent(share)}</text>'
        )
    height = len(findings) * 24 + 8
    return (
        f'<svg role="img" viewBox="0 0 540 {height}" width="540" height="{height}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(rows)}</svg>'
    )


def _plot_probes(results: Sequence[ProbeResult]) -> str:
    """Return a bar for each kind of probe and mode, as SVG."""
    rows: list[str] = []
    height = 8
    for result in results:
        rows.append(f'<text x="0" y="{height + 12}">{result.kind} ({result.count:,})</text>')
        for mode, share in result.shares.items():
            rows.append(
                f'<rect x="230" y="{height}" width="{max(share * _BAR, 1):.0f}" height="14" '
                f'fill="{_MODES[mode]}"></rect>'
                f'<text x="{236 + share * _BAR:.0f}" y="{height + 12}">'
                f"{mode} {percent(share)}</text>"
            )
            height += 18
        height += 8
    return (
        f'<svg role="img" viewBox="0 0 600 {height}" width="600" height="{height}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(rows)}</svg>'
    )


def _examples(result: ProbeResult) -> str:
    """Return what a mode got wrong, as a list that opens on demand."""
    items = [
        f"<li>{escape(example.query[:_SHOWN])}<br>"
        f"<em>right:</em> {escape(example.expected[:_SHOWN])}<br>"
        f"<em>{example.mode} found:</em> {escape(example.found[:_SHOWN])}</li>"
        for example in result.examples
    ]
    if not items:
        return ""
    return f"<details><summary>{result.kind}</summary><ul>{''.join(items)}</ul></details>"


def _sentence(text: str) -> str:
    """Return a message as a sentence with a full stop, escaped."""
    return escape(text[:1].upper() + text[1:] + ("" if text.endswith(".") else "."))
