"""The command ``calibrate``."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from twofold import tuning
from twofold.cli import console
from twofold.cli.tables import make_table, number_columns
from twofold.corpus import read_qrels, read_queries
from twofold.errors import InputError

_UNANSWERABLE = "Queries that no passage answers; without them, some answers are left out."
_FIRST = "An answer is right if one of the first so many hits is relevant."
_LEFT_OUT = "Share of the queries whose answers are left out, if none are unanswerable."
_NAME = "Name of the profile that gets the calibration."


def calibrate(
    target: console.Target,
    queries: console.Queries,
    qrels: console.Qrels,
    unanswerable: Annotated[Path | None, Option(metavar="FILE", help=_UNANSWERABLE)] = None,
    left_out: Annotated[float, Option(metavar="SHARE", help=_LEFT_OUT)] = 0.3,
    first: Annotated[int, Option(metavar="N", help=_FIRST)] = 1,
    mode: Annotated[
        console.ModeName | None, Option(help="Search mode.", show_default="the first of the index")
    ] = None,
    name: Annotated[
        str | None, Option(help=_NAME, show_default="the active one, else calibrated")
    ] = None,
    seed: Annotated[int, Option(help="Seed of the halves.")] = 0,
    dry_run: Annotated[bool, Option("--dry-run", help="Write nothing.")] = False,
    as_json: console.Json = False,
) -> None:
    """Learn how likely an answer is right, so that a search can give none.

    Saved with the search profile. `twofold search --abstain 0.1` then answers only where at most
    10% of queries are answered wrongly.
    """
    texts, judgments = read_queries(queries), read_qrels(qrels)
    lacking = read_queries(unanswerable) if unanswerable is not None else {}
    common = sorted(texts.keys() & lacking.keys())
    if common:
        raise InputError(f"{common[0]!r} is in both files of queries: give them other ids")
    with (
        console.open_target(target, read_only=dry_run) as index,
        console.progress("searching", len(texts) + len(lacking), quiet=as_json) as show,
    ):
        active = index.profiles.active
        if not dry_run:
            index.profiles.use(active)  # takes the write lock before the searches
        found = tuning.calibrate(
            index,
            texts | lacking,
            judgments,
            unanswerable=lacking,
            left_out=left_out,
            mode=mode.value if mode is not None else None,
            first=first,
            seed=seed,
            progress=show,
        )
        saved = None if dry_run else name or active or "calibrated"
        if active is not None and replace(index.profiles[active], calibration=None) != replace(
            found.profile, calibration=None
        ):
            raise InputError(
                f"the active profile {active!r} can't be used, such as for its query adapter: "
                "activate another one with `twofold profiles`"
            )
        if saved is not None:
            index.profiles.save(saved, found.profile, use=True)
    value: dict[str, Any] = asdict(found) | {"saved": saved}
    del value["profile"]
    lines = [
        f"{found.queries:,} queries, {found.unanswerable:,} without an answer; "
        f"{found.right:.0%} are answered rightly",
        f"calibration error of the confidence: {found.error:.3f}",
    ]
    if saved is not None:
        back = console.profiles_command(target, active)
        lines.append(f"saved with the profile {saved!r}, in use")
        if saved != active:
            lines[-1] += f"; to go back: {back}"
    table = make_table(*number_columns("abstain", "answered", "answered wrongly"))
    for risk in found.risks:
        table.add_row(f"{risk.bound:.2f}", f"{risk.answered:.1%}", f"{risk.wrong:.1%}")
    console.print_result(as_json, value, table, *lines)
