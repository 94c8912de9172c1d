"""Checks of metadata: fields on which filters silently match less than they seem to."""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import combinations

from twofold.diagnosis.finding import Finding, percent
from twofold.diagnosis.sample import IndexSample

_SOME = 0.01
_CATEGORIES = 200
"""Different values of a field up to which it is a category, whose values are compared."""
_MOST_FIELDS = 200  # whose names are compared
_WHOLE = 0.9
"""The share of passages with one of two fields from which they are one that was renamed."""
_MISSING = re.compile(r"\s*|null|none|nan|n/?a|undefined", re.IGNORECASE)
_DATES = {
    "like 2026-11-30": re.compile(r"\d{4}-\d{2}-\d{2}([T ].*)?"),
    "like 30.11.2026": re.compile(r"\d{1,2}\.\d{1,2}\.\d{2,4}"),
    "like 11/30/2026": re.compile(r"\d{1,4}/\d{1,2}/\d{1,4}"),
    "like November 30, 2026": re.compile(r"(\d{1,2}\.? )?[^\W\d_]{3,9}\.?,? (\d{1,2},? )?\d{4}"),
    "like 20261130": re.compile(r"(19|20)\d{2}[01]\d[0-3]\d"),
}


def check_types(sample: IndexSample) -> Iterator[Finding]:
    """Find fields with values of several types, which a comparison never mixes."""
    for name, values in sorted(sample.scan.fields.items()):
        if len(values.types) < 2:
            continue
        total = values.types.total()
        (major, _), *minor = values.types.most_common()
        others = sum(count for _, count in minor)
        described = ", ".join(f"{count:,} {kind}" for kind, count in values.types.most_common())
        yield Finding(
            "mixed-types",
            "warning",
            f"the field {name!r} has {described}: a filter on {major} misses the others",
            "store values of one type: upsert the passages again",
            evidence=tuple(
                f"{kind}: such as in {values.examples[kind]!r}" for kind in values.examples
            ),
            share=others / total,
            ids=tuple(values.examples[kind] for kind, _ in minor),
        )


def check_numbers(sample: IndexSample) -> Iterator[Finding]:
    """Find fields whose numbers are stored as strings."""
    for name, values in sorted(sample.scan.fields.items()):
        strings = values.types["strings"]
        if strings < 10 or values.numeric < 0.95 * strings or len(values.types) > 1:
            continue
        yield Finding(
            "numbers-as-strings",
            "note",
            f"the values of the field {name!r} are numbers stored as strings: {{'$gt': 5}} matches "
            "none of them",
            "store numbers, if filters are to compare them",
            share=values.numeric / strings,
        )


def check_names(sample: IndexSample) -> Iterator[Finding]:
    """Find fields of which one looks like another one's name, and that no passage has together."""
    scan = sample.scan
    counts = {name: values.types.total() for name, values in scan.fields.items()}
    names = sorted(name for name, count in counts.items() if count)[:_MOST_FIELDS]
    for first, second in combinations(names, 2):
        both = counts[first] + counts[second]
        if both > len(scan) * 1.02 or not _are_similar_names(first, second):
            continue
        if not _differ_in_case(first, second) and both < _WHOLE * len(scan):
            continue  # two rare fields may well be two
        rarer, other = sorted((first, second), key=lambda name: counts[name])
        yield Finding(
            "similar-fields",
            "warning",
            f"the fields {other!r} ({counts[other]:,}) and {rarer!r} ({counts[rarer]:,}) look like "
            "one field with two names: a filter on one misses the others",
            "use one name: upsert the passages again",
            share=counts[rarer] / both,
            evidence=(
                f"{percent(counts[rarer] / max(len(scan), 1))} of the passages have the rarer, and "
                "hardly any has both",
            ),
        )


def check_values(sample: IndexSample) -> Iterator[Finding]:
    """Find values in two spellings, dates in several formats, and times in two units."""
    for name, values in sorted(sample.scan.fields.items()):
        total = values.types.total()
        yield from _find_spellings(name, values.strings)
        yield from _find_missing(name, values.strings, total)
        yield from _find_dates(name, values.strings)
        rarer = min(values.seconds, values.milliseconds)
        if rarer and values.seconds + values.milliseconds >= 0.9 * values.types["numbers"]:
            yield Finding(
                "mixed-units",
                "warning",
                f"the field {name!r} has times in seconds ({values.seconds:,}) and in milliseconds "
                f"({values.milliseconds:,})",
                "store one unit: upsert the passages again",
                share=rarer / total,
            )


def _find_spellings(name: str, strings: Counter[str]) -> Iterator[Finding]:
    """Find values that differ in case or spaces, or by one letter from a much more frequent one."""
    by_key: dict[str, list[str]] = {}
    for value in strings:
        by_key.setdefault(" ".join(value.lower().split()), []).append(value)
    pairs = [sorted(same, key=lambda one: -strings[one])[:2] for same in by_key.values()]
    pairs = [pair for pair in pairs if len(pair) == 2]
    if not pairs and len(strings) <= _CATEGORIES:
        frequent = [value for value, count in strings.items() if count >= 10]
        pairs = [
            [value, other]
            for value in frequent
            for other, count in strings.items()
            if count * 4 <= strings[value] and _is_misspelt(value, other)
        ]
    if not pairs:
        return
    value, other = max(pairs, key=lambda pair: strings[pair[1]])
    affected = sum(strings[pair[1]] for pair in pairs)
    if affected < _SOME / 2 * strings.total():
        return
    yield Finding(
        "similar-values",
        "warning",
        f"the field {name!r} has {value!r} ({strings[value]:,}) and {other!r} "
        f"({strings[other]:,}), which look like one value: a filter on one misses the other",
        "store one spelling: upsert the passages again",
        share=affected / strings.total(),
    )


def _find_missing(name: str, strings: Counter[str], total: int) -> Iterator[Finding]:
    """Find strings that stand for no value."""
    missing = {value: count for value, count in strings.items() if _MISSING.fullmatch(value)}
    share = sum(missing.values()) / max(total, 1)
    if share < _SOME or len(missing) == len(strings):
        return
    yield Finding(
        "missing-as-strings",
        "warning",
        f"{percent(share)} of the values of the field {name!r} are strings for no value, such as "
        f"{next(iter(missing))!r}: {{'$exists': False}} doesn't match them",
        "leave the field out, or store None",
        share=share,
    )


def _find_dates(name: str, strings: Counter[str]) -> Iterator[Finding]:
    """Find dates in several formats, or among other strings."""
    counts = Counter[str]()
    for value, count in strings.items():
        format_ = next((label for label, one in _DATES.items() if one.fullmatch(value)), "other")
        counts[format_] += 0 if _MISSING.fullmatch(value) else count
    counts = +counts
    known = counts.total() - counts["other"]
    if len(counts) < 2 or known < counts.total() / 2:
        return
    (_, major), *_ = counts.most_common()
    described = ", ".join(f"{count:,} {label}" for label, count in counts.most_common())
    yield Finding(
        "mixed-dates",
        "warning",
        f"the field {name!r} has dates in several formats ({described}): comparisons and $date "
        "filters are wrong for some",
        "store ISO 8601 dates, such as '2026-11-30'",
        share=1 - major / counts.total(),
    )


def _differ_in_case(first: str, second: str) -> bool:
    """Return whether names differ in case, spaces, hyphens or underscores alone."""
    return _plain_name(first) == _plain_name(second)


def _plain_name(name: str) -> str:
    return re.sub(r"[\s_-]", "", name.lower())


def _are_similar_names(first: str, second: str) -> bool:
    """Return whether two names may be one: by case, a letter, a beginning or a last part."""
    a, b = _plain_name(first), _plain_name(second)
    if a == b or _is_misspelt(a, b):
        return True
    short, long = sorted((a, b), key=len)
    return len(short) >= 3 and (long.startswith(short) or long.endswith(f".{short}"))


def _is_misspelt(first: str, second: str) -> bool:
    """Return whether words of five letters or more differ by one letter, or by a swap of two."""
    if min(len(first), len(second)) < 5 or not (first + second).isalpha():
        return False
    if abs(len(first) - len(second)) > 1 or first == second:
        return False
    at = next((at for at, (a, b) in enumerate(zip(first, second)) if a != b), -1)  # noqa: B905
    rest, other = first[at:], second[at:]
    swapped = rest[:2][::-1] == other[:2] and rest[2:] == other[2:]
    return swapped or rest[1:] == other[1:] or rest[1:] == other or rest == other[1:] or at < 0
