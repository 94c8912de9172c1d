"""Strings that are dates and times with an offset from UTC, which compare as moments in time."""

import re
from bisect import bisect_left
from datetime import datetime, timedelta, timezone

import numpy as np
from numpy.typing import NDArray

from twofold.segments import PackedStrings

_INSTANT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9})\d*)?)?"
    r"(?:[Zz]|([+-])(\d\d)(?::?([0-5]\d)(?::?([0-5]\d))?)?)",
    re.ASCII,
)
_SHORTEST = len("2026-01-01T00:00Z")


def parse_instant(text: str) -> str | None:
    """Return a date and time with an offset as UTC, in a form that sorts by time.

    ISO 8601 with ``Z`` or an offset is recognized, with up to 9 digits of a second. Returns None
    for any other text.
    """
    if len(text) < _SHORTEST or text[4] != "-":
        return None
    found = _INSTANT.fullmatch(text)
    if found is None:
        return None
    *parts, fraction, sign, hours, minutes, seconds = found.groups()
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0), seconds=int(seconds or 0))
    if offset >= timedelta(days=1):
        return None
    try:
        year, month, day, hour, minute, second = (int(part or 0) for part in parts)
        local = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
        moment = local + offset if sign == "-" else local - offset
    except (ValueError, OverflowError):  # no such day, or before year 1
        return None
    return f"{moment:%Y%m%d%H%M%S}{fraction or '':0<9}".zfill(23)


class InstantRanks:
    """The order of the strings of a segment that are moments in time; built at the first use."""

    def __init__(self) -> None:
        self._built: tuple[list[str], NDArray[np.float64]] | None = None

    def find(self, strings: PackedStrings, instant: str) -> tuple[NDArray[np.float64], float]:
        """Return the rank of each string, NaN for one that is no moment, and that of ``instant``.

        ``instant`` is of `parse_instant`. If no string is this moment, its rank lies between two.
        """
        if self._built is None:
            parsed = [parse_instant(text) for text in strings.tolist()]
            moments = sorted({moment for moment in parsed if moment is not None})
            places = {moment: float(place) for place, moment in enumerate(moments)}
            found = [np.nan if moment is None else places[moment] for moment in parsed]
            self._built = moments, np.array(found, np.float64)
        moments, ranks = self._built
        place = bisect_left(moments, instant)
        is_there = place < len(moments) and moments[place] == instant
        return ranks, place if is_there else place - 0.5
