"""When structures are built: for a long tail, for neighbours of a size, and after many deletes."""

from collections.abc import Sequence
from dataclasses import dataclass

from twofold import tiers
from twofold.dense.kinds import Auto, Flat, Kind, resolved

TAIL = 10_000
"""So many rows that no structure holds yet are scanned; more become a structure."""


@dataclass(frozen=True, slots=True)
class Held:
    """A structure of ``rows`` rows, of which ``live`` are not deleted."""

    kind: Kind
    rows: int
    live: int


@dataclass(frozen=True, slots=True)
class Piece:
    """The live rows of some structures, by number, and of the tail, whose number comes after.

    ``stays``: it is one structure as it stands; else one is built.
    """

    kind: Kind
    members: tuple[int, ...]
    stays: bool


def upkeep(
    kind: Kind | Auto, dim: int, held: Sequence[Held], tail: int, *, compact: bool
) -> list[Piece] | None:
    """Return what should stand instead of the structures ``held``, None if nothing is due.

    ``tail`` rows came after them. A structure goes when most of its rows are deleted. ``compact``
    leaves one structure of the kind for all rows.
    """
    total = sum(each.live for each in held) + tail
    chosen = resolved(kind, total, dim)
    sparse = [2 * each.live < each.rows for each in held]
    if chosen == Flat() or not total:
        return [] if held and (compact or any(sparse)) else None
    live = [*(each.live for each in held), tail]
    if compact:
        whole = [Held(chosen, total, total)]
        everything = tuple(number for number, count in enumerate(live) if count)
        return None if list(held) == whole else [Piece(chosen, everything, stays=False)]
    pieces = [
        Piece(chosen, (number,), stays=False)
        if sparse[number]
        else Piece(each.kind, (number,), stays=True)
        for number, each in enumerate(held)
        if each.live
    ]
    if tail > TAIL:
        pieces.append(Piece(chosen, (len(held),), stays=False))
    while (run := tiers.due([sum(live[at] for at in each.members) for each in pieces])) is not None:
        members = tuple(number for each in pieces[run] for number in each.members)
        pieces[run] = [Piece(chosen, members, stays=False)]
    as_it_is = len(pieces) == len(held) and all(each.stays for each in pieces)
    return None if as_it_is else pieces
