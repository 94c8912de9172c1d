"""The commands that delete from, copy, back up, verify and repair an index."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option

from twofold.backends.urls import hide_password
from twofold.cli.console import (
    DAMAGE,
    Folder,
    Json,
    Target,
    Wait,
    Where,
    open_index,
    open_target,
    parse_filter,
    print_result,
)
from twofold.encoders import encoder_from_name
from twofold.errors import InputError
from twofold.index import Backup, Index, list_backups, verify_backups

_SHOWN = 20
"""Ids that are printed of those that were lost; JSON has all."""
_ARCHIVE = "The archive (one tar file), created if missing."
_NEW = "A new or empty folder."
Overwrite = Annotated[bool, Option("--overwrite", help="Replace an index there.")]
NewFolder = Annotated[Path, Option("--to", metavar="DIR", help=_NEW)]
Archive = Annotated[Path, Argument(metavar="ARCHIVE", help="File that `twofold backup` wrote.")]


def copy(
    folder: Folder, to: NewFolder, overwrite: Overwrite = False, as_json: Json = False
) -> None:
    """Copy an index, which other processes may read and write meanwhile."""
    with open_index(folder, read_only=True) as source:
        source.copy(to, overwrite=overwrite)
        value = {"to": str(to), "passages": len(source)}
        print_result(as_json, value, f"{to}: {len(source):,} passages copied")


def delete(
    index: Target,
    ids: Annotated[
        list[str] | None, Option("--id", metavar="ID", help="Id of a passage; may be repeated.")
    ] = None,
    where: Where = None,
    source: Annotated[
        str | None, Option(metavar="PATH", help="File, as in the passages' field 'source'.")
    ] = None,
    wait: Wait = 0.0,
    as_json: Json = False,
) -> None:
    """Delete passages that satisfy all of the options given: ids, a filter, a source file."""
    condition = parse_filter(where)
    if source is not None:
        condition = {"$and": [{"source": source}, *([condition] if condition is not None else [])]}
    if not ids and condition is None:
        raise InputError("delete takes --id, --where or --source; to delete all, --where '{}'")
    with open_target(index, wait=wait) as target:
        value = {"deleted": target.delete(ids or None, where=condition), "passages": len(target)}
        left = f"{value['passages']:,} left"
        text = f"{hide_password(index)}: {value['deleted']:,} passages deleted, {left}"
        print_result(as_json, value, text)


def backup(
    folder: Folder,
    to: Annotated[Path, Option("--to", metavar="ARCHIVE", help=_ARCHIVE)],
    as_json: Json = False,
) -> None:
    """Add a backup to an archive, which stores vectors and segments once.

    Other processes may read and write the index meanwhile.
    """
    with open_index(folder, read_only=True) as source:
        made = source.backup(to)
    text = f"{to}: backup {_describe(made)}, {made.added / 1e6:.1f} MB added"
    print_result(as_json, {"archive": str(to), **asdict(made)}, text)


def restore(
    archive: Archive,
    to: Annotated[Path | None, Option("--to", metavar="DIR", help=_NEW)] = None,
    number: Annotated[
        int | None, Option(help="Number of the backup.", show_default="newest")
    ] = None,
    overwrite: Overwrite = False,
    show: Annotated[bool, Option("--list", help="List the backups, and restore none.")] = False,
    as_json: Json = False,
) -> None:
    """Restore a backup to a folder, or list the backups of an archive."""
    if show:
        backups = list_backups(archive)
        lines = [f"{archive}: {len(backups)} backups", *(f"  {_describe(b)}" for b in backups)]
        print_result(as_json, [asdict(each) for each in backups], "\n".join(lines))
        return
    if to is None:
        raise InputError("restore needs --to DIR, or --list to see the backups")
    with Index.from_backup(archive, to, number=number, overwrite=overwrite) as restored:
        value = {"to": str(to), "passages": len(restored)}
        print_result(as_json, value, f"{to}: {len(restored):,} passages restored")


def import_export(
    exported: Annotated[Path, Argument(metavar="EXPORT", help="Folder of `twofold export DIR`.")],
    to: NewFolder,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Make an index of exported passages and vectors. Nothing is encoded."""
    with Index.from_export(exported, to, overwrite=overwrite) as imported:
        value = {"to": str(to), "passages": len(imported)}
        print_result(as_json, value, f"{to}: {len(imported):,} passages imported")


def verify(
    folder: Annotated[Path, Argument(metavar="DIR|ARCHIVE", help="An index, or backups of one.")],
    deep: Annotated[bool, Option("--deep", help="Also rebuild and compare indexes.")] = False,
    as_json: Json = False,
) -> None:
    """Check every byte of an index or of an archive; the exit code is 1 if anything is damaged."""
    if folder.is_file():
        _verify_archive(folder, as_json=as_json)
        return
    with open_index(folder, read_only=True) as source:
        report = source.verify(deep=deep)
        verdict = "all as written" if report.ok else f"{len(report.problems)} problems"
        text = (
            f"{folder}: generation {report.generation}, {report.passages:,} passages, "
            f"{report.vectors:,} vectors, {report.segments} segments: {verdict}"
        )
        lines = [text, *(f"  {problem}" for problem in report.problems)]
        print_result(as_json, {**asdict(report), "ok": report.ok}, "\n".join(lines))
        if not report.ok:
            raise Exit(DAMAGE)


def _verify_archive(archive: Path, *, as_json: bool) -> None:
    backups, problems = list_backups(archive), verify_backups(archive)
    verdict = f"{len(problems)} problems" if problems else "all as written"
    lines = [f"{archive}: {len(backups)} backups: {verdict}", *(f"  {each}" for each in problems)]
    value = {"backups": len(backups), "problems": problems, "ok": not problems}
    print_result(as_json, value, "\n".join(lines))
    if problems:
        raise Exit(DAMAGE)


def repair(
    folder: Folder,
    to: NewFolder,
    encoder: Annotated[
        str | None, Option(help="The model of the stored vectors, if it has moved.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Save what a damaged index still holds into a new folder.

    The damaged folder stays as it is. The exit code is 1 if anything was lost.
    """
    model = encoder_from_name(encoder) if encoder is not None else None
    report = Index.repair(folder, to, encoder=model)
    lost = len(report.lost) + report.lost_unnamed
    lines = [
        f"{to}: {report.passages:,} passages saved, {report.vectors:,} with a vector "
        f"({report.encoded:,} encoded again); {lost:,} passages lost",
        *(f"  {problem}" for problem in report.problems),
        *_list_ids("lost", report.lost),
        *_list_ids("without a vector", report.without_vector),
    ]
    print_result(as_json, {**asdict(report), "ok": report.ok}, "\n".join(lines))
    if not report.ok:
        raise Exit(DAMAGE)


def _describe(made: Backup) -> str:
    return (
        f"{made.number} of {made.created}: generation {made.generation}, {made.passages:,} "
        f"passages, {made.vectors:,} vectors, {made.size / 1e6:.1f} MB"
    )


def _list_ids(what: str, ids: tuple[str, ...]) -> list[str]:
    """Return a line with the first ids, none without ids."""
    if not ids:
        return []
    more = f" and {len(ids) - _SHOWN:,} more" if len(ids) > _SHOWN else ""
    return [f"  {what}: {', '.join(map(repr, ids[:_SHOWN]))}{more}"]
