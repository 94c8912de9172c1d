"""One contract for metadata values, at every entry: what is converted, refused, and found again."""

import json
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path, PurePosixPath
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters

from langchain_twofold import TwofoldIndex, TwofoldVectorStore
from llama_index_twofold import TwofoldVectorStore as NodeStore
from twofold import Index, Passage
from twofold.corpus import Corpus
from twofold.errors import CorpusError, FilterError, PassageError


class Colour(str, Enum):
    RED = "red"


class Plain(Enum):
    WORD = "word"
    LIST = (1, 2)


class Level(IntEnum):
    HIGH = 3


UTC = timezone(timedelta(hours=2))
SAME = [
    "",
    "a",
    0,
    0.0,
    -0.5,
    True,
    False,
    None,
    [],
    {},
    [1, "b", None, {"c": []}],
    2**70,
    "\u00fc",
]
CONVERTED = [
    (date(2026, 1, 1), "2026-01-01"),
    (datetime(2026, 1, 1, 12), "2026-01-01T12:00:00"),
    (datetime(2026, 1, 1, 12, tzinfo=UTC), "2026-01-01T12:00:00+02:00"),
    (time(8, 30), "08:30:00"),
    (Colour.RED, "red"),
    (Plain.WORD, "word"),
    (Level.HIGH, 3),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (Path("a") / "b.txt", str(Path("a") / "b.txt")),
    (PurePosixPath("a/b"), "a/b"),
    (np.int64(7), 7),
    (np.uint8(0), 0),
    (np.float32(0.5), 0.5),
    (np.float64(0.1), 0.1),
    (np.bool_(False), False),
    (np.str_("x"), "x"),
    (np.datetime64("2026-01-01"), "2026-01-01"),
    (np.datetime64("2026-01-01T12:00:00"), "2026-01-01T12:00:00"),
    (np.datetime64("2026-01-01T12:00:00.000000000"), "2026-01-01T12:00:00"),
    (np.datetime64("2026-01-01T12:00:00.000000001"), "2026-01-01T12:00:00.000000001"),
    (Decimal("1.10"), 1.1),
    (Decimal("1E+2"), 100),
    (Decimal("-0.1"), -0.1),
    (Decimal("123456789012345678901234567890"), 123456789012345678901234567890),
    ({"b", "a"}, ["a", "b"]),
    (frozenset(), []),
    ({2, "b", 1}, [1, 2, "b"]),
    ({date(2026, 1, 2), date(2026, 1, 1)}, ["2026-01-01", "2026-01-02"]),
    ({(2, 1), (1, 2)}, [[1, 2], [2, 1]]),
    ((1, (2, "x")), [1, [2, "x"]]),
    (np.arange(3), [0, 1, 2]),
    (np.array([[0.5], [1.5]]), [[0.5], [1.5]]),
    (np.array(["2026-01-01"], "datetime64[D]"), ["2026-01-01"]),
    (np.array(5), 5),
    ([date(2026, 1, 1), {"in": Colour.RED}], ["2026-01-01", {"in": "red"}]),
]
REFUSED = [
    (float("nan"), "a finite number or None"),
    (float("-inf"), "a finite number or None"),
    (np.float32("nan"), "a finite number or None"),
    (Decimal("NaN"), "a finite number or None"),
    (Decimal("-Infinity"), "a finite number or None"),
    (Decimal("1E+999"), "a finite number or None"),
    (b"bytes", "value.decode"),
    (bytearray(b"x"), "value.decode"),
    ({b"a"}, "value.decode"),
    (timedelta(1), "total_seconds"),
    (np.datetime64("NaT"), "None, or leave"),
    (np.complex64(1), "pass a string"),
    (np.array([object()]), "value.tolist"),
    (Plain.LIST, "pass a string"),
    pytest.param(10**5000, "too many digits", id="digits"),
    ("half \ud800", "half a surrogate pair"),
    (object(), "of type object"),
    (range(3), "of type range"),
]


def core(metadata):
    with Index.open(None, encoder=None) as index:
        index.upsert([Passage("tea", id="a", metadata=metadata)])
        return index.get(["a"])[0].metadata


def langchain_texts(metadata):
    return (
        TwofoldVectorStore.from_texts(["tea"], "hashing", [metadata])
        .index.get(where={})[0]
        .metadata
    )


def langchain_documents(metadata):
    store = TwofoldIndex(index=Index.open(None, encoder=None))
    store.upsert([Document("tea", id="a", metadata=metadata)])
    return store.get(["a"])[0].metadata


def llama_index(metadata):
    store = NodeStore(embed_model="hashing")
    store.add([TextNode(id_="a", text="tea", metadata=metadata)])
    return store.get_nodes(["a"])[0].metadata


def llama_index_document(metadata):
    """The metadata of a node's document, which the node's relationship holds."""
    store = NodeStore(embed_model="hashing")
    source = RelatedNodeInfo(node_id="d", metadata=metadata)
    store.add([TextNode(id_="a", text="tea", relationships={NodeRelationship.SOURCE: source})])
    return store.get_nodes(["a"])[0].source_node.metadata


ENTRIES = [core, langchain_texts, langchain_documents, llama_index, llama_index_document]


@pytest.mark.parametrize("entry", ENTRIES)
def test_json_values_are_stored_as_they_are(entry):
    given = {f"f{n}": value for n, value in enumerate(SAME)}
    stored = entry(given)
    assert stored == given
    assert [type(stored[name]) for name in given] == list(map(type, SAME))


@pytest.mark.parametrize("entry", ENTRIES)
def test_values_with_one_json_form_are_converted_alike(entry):
    stored = entry({f"f{n}": value for n, (value, _) in enumerate(CONVERTED)})
    for n, (value, wanted) in enumerate(CONVERTED):
        assert json.dumps(stored[f"f{n}"]) == json.dumps(wanted), value


@pytest.mark.parametrize("entry", [core, langchain_texts, langchain_documents, llama_index])
@pytest.mark.parametrize(("value", "advice"), REFUSED)
def test_other_values_are_refused_with_their_path(entry, value, advice):
    with pytest.raises(PassageError, match=advice) as caught:
        entry({"fine": 1, "a": {"b": [0, 1, 2, value]}})
    assert 'metadata["a"]["b"][3]' in str(caught.value)
    assert str(caught.value).startswith("passage ")


@pytest.mark.parametrize("entry", [core, langchain_texts, langchain_documents])
@pytest.mark.parametrize("key", [1, 1.5, True, None, (1, 2), date(2026, 1, 1)])
def test_keys_that_json_would_change_are_refused(entry, key):
    with pytest.raises(
        PassageError, match=r'metadata\["a"\]\[0\].*keys must be strings, got'
    ) as caught:
        entry({"a": [{key: 1}]})
    assert repr(key) in str(caught.value)


def test_values_that_contain_themselves_or_nest_too_deeply_are_refused():
    loop, deep = [], {}
    loop.append(loop)
    inner = deep
    for _ in range(200):
        inner["a"] = inner = {}
    for value in (loop, deep, [[loop]]):
        with pytest.raises(PassageError, match="contains itself, or more than 100 levels"):
            core({"a": value})
    allowed = {}
    inner = allowed
    for _ in range(98):
        inner["a"] = inner = {}
    assert core({"a": allowed}) == {"a": allowed}


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_json_lines_have_the_same_contract(tmp_path, number):
    path = tmp_path / "corpus.jsonl"
    given = {f"f{n}": value for n, value in enumerate(SAME)}
    path.write_text(json.dumps({"_id": "a", "text": "tea", "metadata": given}) + "\n")
    with Index.open(None, encoder=None) as index:
        index.upsert(Corpus.from_path(path))
        assert index.get(["a"])[0].metadata == given
        path.write_text(f'{{"_id": "b", "text": "tea", "year": [{number}]}}\n')
        with pytest.raises(CorpusError, match=r"corpus.jsonl, line 1: .*pass a finite number"):
            index.upsert(Corpus.from_path(path))


@pytest.mark.parametrize(
    "value", [value for value, wanted in CONVERTED if not isinstance(wanted, list)]
)
def test_a_filter_finds_what_was_stored(value):
    store = TwofoldVectorStore.from_texts(
        ["tea", "tea"], "hashing", [{"f": value, "n": 0}, {"n": 1}]
    )
    nodes = NodeStore(index=store.index)
    for where in ({"f": value}, {"f": {"$in": [value]}}, {"f": {"$in": (None, value)}}):
        assert [p.metadata["n"] for p in store.index.get(where=where)] == [0], where
        assert [d.metadata["n"] for d in store.similarity_search("tea", filter=where)] == [0]
        assert [node.metadata["n"] for node in nodes.get_nodes(filters=where)] == [0]
    assert [p.metadata["n"] for p in store.index.get(where={"f": {"$ne": value}})] == [1]


def test_a_nodes_text_has_the_values_that_come_back():
    store = NodeStore(embed_model="hashing")
    store.add([TextNode(id_="a", text="tea", metadata={"at": datetime(2026, 1, 1), "set": (1,)})])
    (node,) = store.get_nodes()
    (before,) = store.index.get(["a"])
    assert before.text == "at: 2026-01-01T00:00:00\nset: [1]\n\ntea"
    store.add([node])
    assert store.index.get(["a"]) == [before]


def test_ranges_sets_and_arrays_in_filters():
    days = [date(2025, 12, 31), date(2026, 1, 1), datetime(2026, 1, 2, 8)]
    metadatas = [{"n": n, "day": day, "tags": np.array([n, 9])} for n, day in enumerate(days)]
    store = TwofoldVectorStore.from_texts(["tea"] * 3, "hashing", metadatas)
    for where, found in [
        ({"day": {"$gte": date(2026, 1, 1)}}, [1, 2]),
        ({"day": {"$lt": np.datetime64("2026-01-02")}}, [0, 1]),
        ({"day": {"$in": {date(2026, 1, 1), date(1999, 1, 1)}}}, [1]),
        ({"n": {"$in": np.array([0, 2])}}, [0, 2]),
        ({"n": {"$gt": np.int16(1)}}, [2]),
        ({"tags": np.array([1, 9])}, [1]),
        ({"tags": {"$contains": np.int64(2)}}, [2]),
        ({"day": {"$exists": np.bool_(True)}}, [0, 1, 2]),
        ({"$not": {"day": {"$gte": date(2026, 1, 1)}}}, [0]),
    ]:
        assert [p.metadata["n"] for p in store.index.get(where=where)] == found, where
    assert len(store.similarity_search("tea", filter={"n": np.array([0, 2])})) == 2  # as a list


TOKYO, NEW_YORK = timezone(timedelta(hours=9)), timezone(timedelta(hours=-5))
MOMENTS = [
    datetime(2026, 1, 1, 8, tzinfo=TOKYO),  # 2025-12-31T23:00Z
    datetime(2025, 12, 31, 19, tzinfo=NEW_YORK),  # 2026-01-01T00:00Z
    "2026-01-01T01:00:00Z",
    datetime(2026, 1, 1, 10, 0, 0, 500_000, tzinfo=TOKYO),  # 2026-01-01T01:00:00.5Z
    "2026-01-01 03:30+01:30",  # 2026-01-01T02:00Z
]
BY_TIME = [
    ({"$gte": datetime(2026, 1, 1, tzinfo=timezone.utc)}, [1, 2, 3, 4]),
    ({"$gt": "2026-01-01T09:00:00+09:00"}, [2, 3, 4]),
    ({"$lt": "2026-01-01T00:00:00Z"}, [0]),
    ({"$lte": datetime(2026, 1, 1, 1, tzinfo=timezone.utc)}, [0, 1, 2]),
    ({"$eq": datetime(2026, 1, 1, tzinfo=timezone.utc)}, [1]),
    ({"$eq": "2026-01-01T10:00:00.500+09:00"}, [3]),
    ({"$in": [datetime(2026, 1, 1, 2, tzinfo=timezone.utc), "2025-12-31T18:00-05:00"]}, [0, 4]),
    ({"$ne": "2026-01-01T01:00:00.000Z"}, [0, 1, 3, 4]),
    ({"$gt": "2026-01-01t01:00:00z"}, [3, 4]),
    ({"$gt": "2026-01-01 01:00:00.0000000000+00"}, [3, 4]),
    ({"$lt": "2026-01-01T01:00:30+01:00:29"}, [0, 1]),
    ({"$gte": "2026"}, [0, 2, 3, 4]),  # text, as written
    ({"$gte": date(2026, 1, 1), "$lt": date(2026, 1, 2)}, [0, 2, 3, 4]),
]


@pytest.mark.parametrize(("condition", "found"), BY_TIME)
def test_dates_with_offsets_compare_as_moments(condition, found):
    metadatas = [{"n": n, "at": at, "all": [at, "x"]} for n, at in enumerate(MOMENTS)]
    store = TwofoldVectorStore.from_texts([f"tea {n}" for n in range(5)], "hashing", metadatas)
    index = store.index
    assert [p.metadata["n"] for p in index.get(where={"at": condition})] == found
    documents = store.similarity_search("tea", k=5, filter={"at": condition})
    assert sorted(document.metadata["n"] for document in documents) == found
    nodes = NodeStore(embed_model="hashing")
    nodes.add([TextNode(id_=str(n), text="tea", metadata=m) for n, m in enumerate(metadatas)])
    operators = {"$eq": "==", "$ne": "!=", "$gte": ">=", "$gt": ">", "$lt": "<", "$lte": "<="}
    for values in [condition] if "$in" not in condition else []:
        conditions = [
            MetadataFilter(
                key="at",
                value=value if isinstance(value, str) else value.isoformat(),
                operator=operators[name],
            )
            for name, value in values.items()
        ]
        chosen = nodes.get_nodes(filters=MetadataFilters(filters=conditions))
        assert [node.metadata["n"] for node in chosen] == found
    stored = index.get(where={"n": {"$in": [0, 2]}})
    assert [p.metadata["at"] for p in stored] == [
        "2026-01-01T08:00:00+09:00",
        "2026-01-01T01:00:00Z",
    ]
    if "$eq" in condition:
        among = index.get(where={"all": {"$any": [condition["$eq"]]}})
        assert [passage.metadata["n"] for passage in among] == found


@given(
    st.lists(st.datetimes(timezones=st.sampled_from([timezone.utc, TOKYO, NEW_YORK])), min_size=1),
    st.datetimes(timezones=st.sampled_from([timezone.utc, TOKYO, NEW_YORK])),
)
def test_any_moments_compare_as_python_compares_them(moments, bound):
    with Index.open(None, encoder=None) as index:
        rows = [(str(n), {"at": at}) for n, at in enumerate(moments)]
        index.upsert([{"id": id_, "text": "tea", "metadata": metadata} for id_, metadata in rows])
        for operator, compare in (("$lt", "__lt__"), ("$gte", "__ge__"), ("$eq", "__eq__")):
            wanted = [str(n) for n, at in enumerate(moments) if getattr(at, compare)(bound)]
            assert [p.id for p in index.get(where={"at": {operator: bound}})] == wanted


@pytest.mark.parametrize(
    ("value", "advice"), [(Decimal("NaN"), "finite"), (b"x", "decode"), (object(), "a date")]
)
def test_a_filter_refuses_what_cant_be_stored(value, advice):
    with Index.open(None, encoder=None) as index:
        for operator in ("$eq", "$gte", "$contains"):
            with pytest.raises(FilterError, match=f"on field 'f'.*{advice}"):
                index.count({"f": {operator: value}})
