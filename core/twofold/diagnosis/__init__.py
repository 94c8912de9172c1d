"""Finds the faults of an index that make searches fail without a sign."""

from twofold.diagnosis.diagnose import Diagnosis, describe_size, diagnose
from twofold.diagnosis.finding import SEVERITIES, Finding, Severity
from twofold.diagnosis.html import to_html
from twofold.diagnosis.probes import ProbeExample, ProbeResult
from twofold.diagnosis.report import to_markdown

__all__ = [
    "SEVERITIES",
    "Diagnosis",
    "Finding",
    "ProbeExample",
    "ProbeResult",
    "Severity",
    "describe_size",
    "diagnose",
    "to_html",
    "to_markdown",
]
