"""Held-out gains as a table."""

from collections.abc import Sequence

from rich import box
from rich.table import Table

from twofold.training import Gain


def gains_table(measure: str, gains: Sequence[Gain], forgotten: Gain | None) -> Table:
    """Return what held-out queries gain, by mode and group, and what others lose."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(f"{measure}, held out")
    for head in ("queries", "before", "after", "gain"):
        table.add_column(head, justify="right")
    rows: list[tuple[str, Gain]] = [
        (f"{each.mode}, {each.group} passages" if each.group != "all" else each.mode, each)
        for each in gains
    ]
    if forgotten is not None:
        rows.append((f"{forgotten.mode}, another kind of queries", forgotten))
    for label, each in rows:
        gain = each.interval
        table.add_row(
            label,
            f"{each.queries:,}",
            f"{each.before:.4f}",
            f"{each.after:.4f}",
            f"{gain.mean:+.4f} ({gain.low:+.3f} to {gain.high:+.3f})",
        )
    return table
