"""Faults of texts, metadata, queries and judgments, planted in real abstracts without vectors."""

import base64
import random
from dataclasses import replace

import pytest

from twofold import Index, Passage
from twofold.diagnosis import diagnose


@pytest.fixture(scope="module")
def passages(abstracts):
    return [
        Passage(one["text"], one["_id"], one["title"], {"year": 1990 + at % 30})
        for at, one in enumerate(abstracts[:300])
    ]


def find(passages, **options):
    with Index.open(None, encoder=None, analyzer="english") as index:
        index.upsert(passages)
        return diagnose(index, **options).findings


def with_text(change, every=1):
    return lambda passages: [
        replace(one, text=change(one.text)) if at % every == 0 else one
        for at, one in enumerate(passages)
    ]


def with_field(name, value):
    return lambda passages: [
        replace(one, metadata={name: value(at)}) for at, one in enumerate(passages)
    ]


def fields_of(change):
    return lambda passages: [replace(one, metadata=change(at)) for at, one in enumerate(passages)]


RUSSIAN = "Москва является столицей России. "
DATA = base64.b64encode(random.Random(0).randbytes(300)).decode()
HEADER = "Access to this page is restricted to members of the institute. "

PLANTS = {
    "damaged-texts: encoding": with_text(lambda t: RUSSIAN.encode().decode("latin-1") + t, 4),
    "damaged-texts: encoding: cp1251": with_text(
        lambda t: RUSSIAN.encode().decode("cp1251", "replace") + t, 4
    ),
    "damaged-texts: encoding: bytes": with_text(
        lambda t: RUSSIAN.encode("cp1251").decode("latin-1") + t, 4
    ),
    "damaged-texts: question marks": with_text(lambda t: t.replace("e", "?"), 4),
    "damaged-texts: escaped": with_text(lambda t: t.replace("e", "\\u0065"), 4),
    "damaged-texts: control": with_text(lambda t: t.replace(" ", "\x0c "), 4),
    "damaged-texts: blanks between": with_text(lambda t: " ".join(t), 4),
    "damaged-texts: divided": with_text(lambda t: t.replace("th", "t-\nh"), 4),
    "damaged-texts: invisible": with_text(lambda t: t.replace("th", "t\u00adh"), 4),
    "damaged-texts: ligatures": with_text(lambda t: t.replace("f", "\ufb01"), 4),
    "damaged-texts: glyphs": with_text(lambda t: t.replace("e", "(cid:12)"), 4),
    "damaged-texts: encoded data": with_text(lambda t: t + " " + DATA, 4),
    "damaged-texts: without blanks": with_text(lambda t: t.replace(" ", ""), 4),
    "damaged-texts: object of a program": with_text(lambda t: repr(t.encode()), 4),
    "damaged-texts: a path": with_text(lambda t: "/data/file.txt", 4),
    "damaged-texts: missing value": with_text(lambda t: "None", 20),
    "damaged-texts: tags": with_text(lambda t: f"<section><h2>{t}</h2></section>", 3),
    "damaged-texts: LaTeX": with_text(lambda t: "\\textbf{a} " + t, 3),
    "texts-end-early: within a sentence": with_text(
        lambda t: t.encode()[: 300 + len(t) % 90].decode(errors="ignore").rsplit(" ", 1)[0], 2
    ),
    "texts-end-early: 64 characters": with_text(lambda t: t[:64]),
    "boilerplate": with_text(lambda t: HEADER + t, 3),
    "duplicates": lambda p: [*p, *(replace(one, id=f"c{one.id}", text=one.text.upper(),
                                          title=one.title.upper()) for one in p[::4])],
    "near-duplicates": lambda p: [
        *p, *(replace(one, id=f"c{one.id}", text=one.text + " Revised in 2021.") for one in p[::3])
    ],
    "titles-of-other-texts": lambda p: [
        replace(one, title=other.title) for one, other in zip(p, [*p[7:], *p[:7]], strict=True)
    ],
    "titles-alone": with_text(lambda t: "", 10),
    "similar-fields: 'publishedat'": fields_of(
        lambda at: {"publishedAt" if at % 3 else "publishedat": at}
    ),
    "similar-fields: 'catgory'": fields_of(lambda at: {"category" if at % 3 else "catgory": "a"}),
    "similar-fields: 'lang'": fields_of(lambda at: {"language" if at % 3 else "lang": "en"}),
    "similar-fields: 'meta.year'": fields_of(
        lambda at: {"year": at} if at % 3 else {"meta": {"year": at}}
    ),
    "similar-values: 'EN'": with_field("lang", lambda at: "en" if at % 3 else "EN"),
    "similar-values: 'engish'": with_field("lang", lambda at: "english" if at % 9 else "engish"),
    "missing-as-strings: 'N/A'": with_field("lang", lambda at: "english" if at % 9 else "N/A"),
    "mixed-dates: 30.11.2026": with_field(
        "date", lambda at: f"2026-11-{at % 28 + 1:02}" if at % 3 else f"{at % 28 + 1}.11.2026"
    ),
    "mixed-units: milliseconds": with_field(
        "time", lambda at: (1_700_000_000 + at) * (1 if at % 3 else 1000)
    ),
}  # fmt: skip


@pytest.mark.parametrize("plant", PLANTS)
def test_a_fault_of_texts_or_metadata_is_found_first(passages, plant):
    name, _, detail = plant.partition(": ")
    findings = [one for one in find(PLANTS[plant](passages[:120])) if one.is_alarm][:2]
    found = [one for one in findings if one.name == name and detail.split(":")[0] in one.summary]
    assert found, [one.summary for one in findings]
    assert found[0].advice


def test_texts_and_metadata_without_a_fault_raise_no_alarm(passages):
    chunks = [
        Passage(one.text[start : start + 400], f"{one.id}-{start}")
        for one in passages
        for start in range(0, len(one.text), 400)
    ]
    logs = [
        Passage(f"2026-11-30 12:{at % 60:02} INFO {at} jobs are done", str(at)) for at in range(200)
    ]
    fields = [
        replace(one, metadata={"CO": 1, "Co": 2, "lang": "en", "date": f"2026-11-{at % 28 + 1:02}"})
        for at, one in enumerate(passages)
    ]
    text = "Stra\u00dfe, Flu\u00df \u2013 \u201egro\u00df\u201c, "
    text += "5\u00b0, \u00e0\u00a0Paris: \u00abcaf\u00e9\u00bb"
    european = [Passage(text, str(at)) for at in range(5)]
    for healthy in (passages, chunks, logs, fields, [*passages[:120], *european]):
        alarms = [one.summary for one in find(healthy) if one.is_alarm]
        assert alarms == []


def test_faults_of_queries_and_judgments_are_found(passages):
    queries = {one.id: one.title for one in passages[:60]}
    right = {one: {one: 1} for one in queries}
    german = "Wie ist die Wirkung der Zellen auf das Herz und wann werden sie von dem Arzt gesehen"
    cases = {
        "judgments-of-other-queries": (
            queries, {one: {passages[200 + at].id: 1} for at, one in enumerate(queries)}
        ),
        "no-relevant-passages": (queries, {one: {one: 0} for one in queries}),
        "repeated-queries": (dict.fromkeys(queries, "the same"), right),
        "blank-queries": ({one: "" if at % 3 else text for at, (one, text) in
                           enumerate(queries.items())}, right),
        "queries-of-another-language": (
            {one: f"{german} {at}" for at, one in enumerate(queries)}, right
        ),
        "damaged-queries": (
            {one: RUSSIAN.encode().decode("latin-1") + one for one in queries}, right
        ),
    }  # fmt: skip
    for name, (texts, qrels) in cases.items():
        alarms = [one.name for one in find(passages, queries=texts, qrels=qrels) if one.is_alarm]
        assert name in alarms[:2], (name, alarms)
    assert not [one for one in find(passages, queries=queries, qrels=right) if one.is_alarm]
