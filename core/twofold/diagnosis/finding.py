"""A finding of a diagnosis: what is wrong, how much of the index it affects, and what to do."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
MAX_IDS = 20
"""Ids of affected passages that a finding lists."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault, or one fact worth knowing.

    Attributes:
        name: The kind of fault, such as ``"missing-vectors"``; it stays between versions.
        severity: ``"error"`` if searches are wrong for many queries, ``"warning"`` if they may be,
            ``"note"`` for a fact that needs no action.
        summary: What was found, with its size.
        advice: What to do.
        evidence: The measurements behind it, one sentence each.
        share: The share of passages, fields or queries that are affected, 0 to 1; None if it has
            none.
        ids: Ids of up to 20 affected passages or queries.
    """

    name: str
    severity: Severity
    summary: str
    advice: str
    evidence: tuple[str, ...] = ()
    share: float | None = None
    ids: tuple[str, ...] = ()

    @property
    def is_alarm(self) -> bool:
        """Whether the finding is more than a note."""
        return self.severity != "note"

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as JSON values."""
        return asdict(self)


def order_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings by severity; of one severity, in the order given, causes before effects."""
    return tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))


def percent(share: float) -> str:
    """Return a share as a percentage, such as ``"12%"``; small ones keep a digit."""
    if 0 < share < 0.1:
        return f"{share:.1%}"
    return f"{share:.0%}"


def first_ids(ids: Iterable[str]) -> tuple[str, ...]:
    """Return the ids that a finding lists."""
    listed: list[str] = []
    for one in ids:
        if len(listed) == MAX_IDS:
            break
        listed.append(one)
    return tuple(listed)
