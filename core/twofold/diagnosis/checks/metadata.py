"""Checks of metadata: fields on which filters silently match less than they seem to."""

from collections.abc import Iterator

from twofold.diagnosis.finding import Finding, percent
from twofold.diagnosis.sample import IndexSample


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
    """Find fields whose names differ in case or spaces alone."""
    by_name: dict[str, list[str]] = {}
    for name in sample.scan.fields:
        by_name.setdefault("".join(name.lower().replace("_", " ").split()), []).append(name)
    for names in by_name.values():
        if len(names) < 2:
            continue
        counts = {name: sample.scan.fields[name].types.total() for name in names}
        rarer = sum(sorted(counts.values())[:-1])
        described = " and ".join(f"{name!r} ({count:,})" for name, count in sorted(counts.items()))
        yield Finding(
            "similar-fields",
            "warning",
            f"the fields {described} differ in case or spaces alone: a filter on one misses the "
            "others",
            "use one name: upsert the passages again",
            share=rarer / max(sum(counts.values()), 1),
            evidence=(
                f"{percent(rarer / max(len(sample.scan), 1))} of the passages have the rarer",
            ),
        )
