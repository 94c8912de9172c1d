"""Tells what indexing a folder deleted, kept and left out."""

from collections.abc import Mapping, Sequence
from typing import Any

from twofold.corpus import FolderReport, Outdated
from twofold.corpus.folder import TEXT_FILE_REASONS, count_of

_SHOWN = 8  # reasons for files left out that are shown


def folder_as_dict(name: str, report: FolderReport, outdated: Outdated) -> dict[str, Any]:
    """Return what happened to a folder's files and passages as JSON values."""
    return {
        "folder": name,
        "files": len(report.read),
        "guessed": list(report.guessed),
        "skipped": report.counts(),
        "skipped_files": [
            {"source": file.source, "reason": file.reason, "detail": file.detail}
            for file in report.skipped
            if file.reason in TEXT_FILE_REASONS
        ],
        **{
            key: {"files": len(group), "passages": _count_passages(group)}
            for key, group in (
                ("missing", outdated.missing),
                ("shortened", outdated.shortened),
                ("unreadable", outdated.unreadable),
            )
        },
    }


def describe_folder(report: FolderReport, outdated: Outdated) -> list[str]:
    """Return lines for people: passages deleted and kept, and files left out, by reason."""
    lines: list[str] = []
    for group, problem, outcome in (
        (outdated.missing, "gone or without text", "deleted"),
        (outdated.shortened, "shorter", "deleted"),
        (outdated.unreadable, "unreadable", "kept"),
    ):
        if group:
            passages = count_of(_count_passages(group), "passage")
            lines.append(f"{count_of(len(group), 'file')} {problem}: {passages} {outcome}")
    counts = list(report.counts().items())
    if counts:
        shown = [f"{number:,} {reason}" for reason, number in counts[:_SHOWN]]
        others = sum(number for _, number in counts[_SHOWN:])
        lines.append("left out: " + ", ".join(shown + ([f"{others:,} others"] if others else [])))
    return lines


def _count_passages(group: Mapping[str, Sequence[str]]) -> int:
    return sum(map(len, group.values()))
