"""Tells what indexing a folder read, skipped, deleted and kept."""

from collections.abc import Mapping, Sequence
from typing import Any

from twofold.corpus import FolderReport, FolderUpdate
from twofold.corpus.documents.reasons import FILE_REASONS
from twofold.corpus.folder import NO_SUFFIX, count_of

_SHOWN = 8  # reasons for skipped files that are shown
_NAMED = 5  # files without a reader that are named


def folder_as_dict(update: FolderUpdate) -> dict[str, Any]:
    """Return what happened to a folder's files and passages as JSON values."""
    report, outdated = update.report, update.outdated
    return {
        "folder": update.name,
        "files": len(report.read),
        "guessed": list(report.guessed),
        "skipped": report.counts(),
        "skipped_files": [
            {"source": file.source, "reason": file.reason, "detail": file.detail}
            for file in report.skipped
            if file.reason in FILE_REASONS or _is_suffix(file.reason)
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


def describe_folder(update: FolderUpdate) -> list[str]:
    """Return lines for people: passages deleted and kept, files read, and files skipped."""
    lines: list[str] = []
    outdated = update.outdated
    for group, problem, outcome in (
        (outdated.missing, "gone or without text", "deleted"),
        (outdated.shortened, "shorter", "deleted"),
        (outdated.unreadable, "unreadable", "kept"),
    ):
        if group:
            passages = count_of(_count_passages(group), "passage")
            lines.append(f"{count_of(len(group), 'file')} {problem}: {passages} {outcome}")
    passages = count_of(len(update.result.ids), "passage")
    read = f"indexed {count_of(len(update.report.read), 'file')}, {passages}"
    return [*lines, f"{read}{_describe_skipped(update.report)}", *_name_unread(update.report)]


def _describe_skipped(report: FolderReport) -> str:
    """Return the number of skipped files with their reasons, "" for none."""
    counts = list(report.counts().items())
    if not counts:
        return ""
    shown = [
        f"{number:,} {reason}{' (no reader)' if _is_suffix(reason) else ''}"
        for reason, number in counts[:_SHOWN]
    ]
    others = sum(number for _, number in counts[_SHOWN:])
    shown += [f"{others:,} others"] if others else []
    return f"; skipped {len(report.skipped):,}: {', '.join(shown)}"


def _name_unread(report: FolderReport) -> list[str]:
    """Return a line with the names of some files that no reader is for, none without any."""
    names = [file.source for file in report.skipped if _is_suffix(file.reason)]
    if not names:
        return []
    shown = ", ".join(f"{name!r:.80}" for name in names[:_NAMED])
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return [f"no reader for {shown}{more}"]


def _is_suffix(reason: str) -> bool:
    return reason.startswith(".") or reason == NO_SUFFIX


def _count_passages(group: Mapping[str, Sequence[str]]) -> int:
    return sum(map(len, group.values()))
