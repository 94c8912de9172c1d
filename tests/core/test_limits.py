"""Each limit raises at once, names itself and the way to change it, and can be changed."""

import gzip
import subprocess
import sys

import numpy as np
import pytest

from commands import command
from twofold import HashingEncoder, Index, Retriever
from twofold.corpus import Corpus, read_qrels, read_queries
from twofold.errors import CorpusError, FilterError, InputError, PassageError, QueryError
from twofold.filters import ColumnSegment, match_rows, parse_filter
from twofold.limits import Limits, check_limit, limit_variable
from twofold.results.dense_evidence import MEASURED
from twofold.training.data.readers import read_dpr


@pytest.fixture(scope="module")
def fruit():
    with Index.open(None, encoder=HashingEncoder()) as opened:
        opened.upsert([{"id": "1", "text": "red apples", "metadata": {"year": 2000}}])
        yield opened


def tags(count):
    return {"$or": [{"tag": number} for number in range(count)]}


CASES = [
    (
        "query_characters",
        QueryError,
        100_000,
        lambda index, n: Retriever(index).retrieve("x" * n),
    ),
    ("filter_conditions", FilterError, 10_000, lambda index, n: index.count(tags(n))),
    (
        "filter_values",
        FilterError,
        1_000_000,
        lambda index, n: index.count({"year": {"$in": [1] * n}}),
    ),
    (
        "filter_values",
        FilterError,
        1_000_000,
        lambda index, n: index.count({"year": {"$nin": np.ones(n, np.int64)}}),
    ),
    (
        "passage_bytes",
        PassageError,
        10_000_000,
        lambda index, n: index.upsert([{"text": "word " * (n // 5) + "x" * (n % 5)}]),
    ),
    (
        "passage_bytes",
        PassageError,
        10_000_000,
        lambda index, n: index.upsert([{"text": "x", "metadata": {"x": "y" * (n - 8)}}]),
    ),
    (
        "word_characters",
        PassageError,
        1_000_000,
        lambda index, n: index.upsert([{"text": f"red {'x' * n} apples"}]),
    ),
    (
        "word_characters",
        PassageError,
        1_000_000,
        lambda index, n: index.upsert([{"title": "x" * n, "text": "red"}]),
    ),
]


@pytest.mark.parametrize(("name", "error", "default", "use"), CASES)
def test_a_limit_names_itself_the_value_and_the_way_to_change_it(
    fruit, monkeypatch, name, error, default, use
):
    assert getattr(Limits(), name) == default
    variable = limit_variable(name)
    monkeypatch.setenv(variable, "2_000")  # the cases stay small
    use(fruit, 2000)
    with fruit.view() as view:
        generation = view.corpus.generation
    with pytest.raises(error, match=rf"at most 2,000 .*\(limit {name}\), got 2,001: .*{variable}"):
        use(fruit, 2001)
    with fruit.view() as view:
        assert view.corpus.generation == generation
    monkeypatch.setenv(variable, "2001")
    use(fruit, 2001)
    monkeypatch.setenv(variable, "many")
    with pytest.raises(InputError, match=rf"{variable} must be an integer >= 1,000, got 'many'"):
        use(fruit, 2001)


def test_the_limits_in_use(monkeypatch):
    for name in ("QUERY_CHARACTERS", "LINE_BYTES"):
        monkeypatch.delenv(f"TWOFOLD_MAX_{name}", raising=False)
    assert Limits.from_environment() == Limits()
    monkeypatch.setenv("TWOFOLD_MAX_LINE_BYTES", "1000")
    assert Limits.from_environment() == Limits(line_bytes=1000)
    for wrong in ("999", "-1000", "1e9", "", "9" * 30):
        monkeypatch.setenv("TWOFOLD_MAX_LINE_BYTES", wrong)
        with pytest.raises(InputError, match=f"TWOFOLD_MAX_LINE_BYTES must be .*, got '{wrong}'"):
            Limits.from_environment()


def test_the_defaults_hold():
    for name, error in (("query_characters", QueryError), ("filter_conditions", FilterError)):
        limit = getattr(Limits(), name)
        check_limit(name, limit, "it", "parts", "use less", error=error)
        with pytest.raises(error, match=f"{limit:,} parts.*got {limit + 1:,}: use less"):
            check_limit(name, limit + 1, "it", "parts", "use less", error=error)


def test_every_query_of_a_batch_is_limited(fruit, monkeypatch):
    monkeypatch.setenv("TWOFOLD_MAX_QUERY_CHARACTERS", "1000")
    with pytest.raises(QueryError, match="query_characters"):
        Retriever(fruit).retrieve_many(["short", "x" * 1001])


LINE = b'{"id": "1", "text": "%s"}\n'


@pytest.mark.parametrize("name", ["c.jsonl", "c.jsonl.gz"])
def test_a_long_line_names_file_and_line(tmp_path, monkeypatch, name):
    path = tmp_path / name
    lines = [LINE % (b"x" * 900), b"\n", LINE.replace(b"1", b"2") % (b"y" * 1500)]
    with gzip.open(path, "wb") if name.endswith("gz") else path.open("wb") as file:
        file.writelines(lines)
    assert [len(passage.text) for passage in Corpus.from_path(path)] == [900, 1500]
    monkeypatch.setenv("TWOFOLD_MAX_LINE_BYTES", str(len(lines[2])))
    assert len(list(Corpus.from_path(path))) == 2
    monkeypatch.setenv("TWOFOLD_MAX_LINE_BYTES", "1200")
    words = rf"{name}, line 3: .*at most 1,200 bytes \(limit line_bytes\).*TWOFOLD_MAX_LINE_BYTES"
    with pytest.raises(CorpusError, match=words):
        list(Corpus.from_path(path))


@pytest.mark.parametrize(("name", "read"), [("q.tsv", read_queries), ("qrels.tsv", read_qrels)])
def test_other_files_are_limited_alike(tmp_path, monkeypatch, name, read):
    path = tmp_path / name
    path.write_text("1\t0\tx\t1\n2\t0\t" + "x" * 1000 + "\t1\n")
    monkeypatch.setenv("TWOFOLD_MAX_LINE_BYTES", "1000")
    with pytest.raises(CorpusError, match=f"{name}, line 2: .*line_bytes"):
        read(path)


def test_a_json_list_on_one_line_has_no_limit(tmp_path, monkeypatch):
    monkeypatch.setenv("TWOFOLD_MAX_LINE_BYTES", "1000")
    record = '{"question": "q%d", "positive_ctxs": [{"text": "a text"}], "negative_ctxs": []}'
    path = tmp_path / "dpr.json"
    path.write_text("\n  [" + ",".join(record % number for number in range(100)) + "]")
    assert len(read_dpr(path).examples) == 100


def test_the_command_line_has_the_same_limits(tmp_path, monkeypatch):
    path = tmp_path / "c.jsonl"
    path.write_bytes(LINE % (b"x" * 1500))
    monkeypatch.setenv("TWOFOLD_MAX_LINE_BYTES", "1000")
    done = command("index", path, "--to", tmp_path / "i", "--encoder", "none")
    assert done.returncode != 0
    assert "TWOFOLD_MAX_LINE_BYTES" in done.stderr.replace("\n", "")


MEMORY = """
import resource, sys
from pathlib import Path
from twofold.corpus import Corpus
from twofold.errors import CorpusError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    list(Corpus.from_path(Path(sys.argv[1])))
except CorpusError as error:
    assert "line_bytes" in str(error), error
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_line_is_decompressed_up_to_the_limit(tmp_path, monkeypatch):
    path = tmp_path / "c.jsonl.gz"
    with gzip.open(path, "wb", 1) as file:
        for _ in range(200):
            file.write(b"x" * (1 << 20))
    monkeypatch.setenv("TWOFOLD_MAX_LINE_BYTES", "1000000")
    done = subprocess.run([sys.executable, "-c", MEMORY, path], capture_output=True, check=True)
    assert int(done.stdout) < 30_000  # KiB; the line has 200 MiB


def segment(count):
    rows = [{"tag": number, "name": f"n{number}"} for number in range(count)]
    return ColumnSegment.build(np.arange(count), [f"id{n}" for n in range(count)], rows)


def test_equalities_on_one_field_are_one_condition():
    parts = [segment(3000)]
    chosen = range(0, 3000, 3)
    wanted = np.isin(np.arange(3000), list(chosen))
    united = parse_filter({"$or": [{"tag": number} for number in chosen]})
    assert united == parse_filter({"$or": [{"tag": {"$in": list(chosen)}}]})
    for where in (
        {"$or": [{"tag": number} for number in chosen]},
        {"$or": [{"name": f"n{number}"} for number in chosen]},
        {"$or": [{"$id": f"id{number}"} for number in chosen]},
        {"$or": [{"tag" if number % 2 else "name": number if number % 2 else f"n{number}"}
                 for number in chosen]},
        {"name": {"$in": [f"n{number}" for number in chosen]}},
        {"name": {"$in": [*(f"n{number}" for number in chosen), "other", 3.5, None]}},
    ):  # fmt: skip
        assert (match_rows(parse_filter(where), parts) == wanted).all()
    mixed = {"$or": [{"tag": 1}, {"tag": {"$gt": 2997}}, {"tag": {"$in": [5, "x"]}}]}
    assert np.flatnonzero(match_rows(parse_filter(mixed), parts)).tolist() == [1, 5, 2998, 2999]


def nested(depth):
    where = {"tag": 1}
    for level in range(depth):
        where = {"$or": [where, {"tag": -1}]} if level % 2 else {"$not": where}
    return where


def test_a_filter_nests_up_to_a_hundred_levels():
    match_rows(parse_filter(nested(99)), [segment(3)])
    for depth in (100, 5000):
        with pytest.raises(FilterError, match="nested too deeply"):
            parse_filter(nested(depth))
    deep = 1
    for _ in range(50_000):
        deep = [deep]
    with pytest.raises(FilterError, match="nested too deeply"):
        parse_filter({"tag": deep})


@pytest.mark.parametrize("value", ["\ud800", ["fine", "a\udfff"]])
def test_half_a_surrogate_pair_is_no_id(fruit, value):
    where = {"$id": {"$in": value} if isinstance(value, list) else value}
    with pytest.raises(FilterError, match=r"\$id takes ids, which are strings of valid Unicode"):
        fruit.count(where)


def test_an_integer_of_many_digits_is_compared(fruit):
    assert fruit.count({"year": {"$lt": 10**400}}) == 1
    assert fruit.count({"year": 10**400}) == 0


def test_deep_metadata_names_its_path(fruit):
    deep = {}
    for _ in range(50_000):
        deep = {"a": deep}
    with pytest.raises(PassageError, match="more than 100 levels"):
        fruit.upsert([{"text": "x", "metadata": deep}])


def test_explaining_a_long_query_measures_its_first_words(fruit):
    words = [f"word{number}" for number in range(MEASURED + 40)]
    explained = Retriever(fruit).retrieve(" ".join(["red", *words])).explain()
    measured = [word for word, _ in explained.hits[0].meaning.words]
    assert measured == ["red", *words[: MEASURED - 1]]
    assert explained.warnings[-1].startswith("the query has 297 words: the effect of its first 256")
    short = Retriever(fruit).retrieve("red " * MEASURED).explain()
    assert len(short.hits[0].meaning.words) == MEASURED
    assert not any("effect of" in warning for warning in short.warnings)


@pytest.mark.parametrize("dim", [65_537, 10**30])
def test_dimensions_are_bounded(dim):
    with pytest.raises(InputError, match="dim must be an integer from 1 to 65,536"):
        Index.open(None, dim=dim)


def test_options_beyond_the_corpus_need_no_memory():
    with Index.open(None, encoder=HashingEncoder()) as index:
        index.upsert([{"id": f"{n}", "text": f"apple pear{n}"} for n in range(30)])
        for huge in (2**31, 2**63, 10**30):
            retriever = Retriever(index, k=huge, depth=huge)
            for mode in ("hybrid", "dense", "lexical"):
                assert len(retriever.retrieve("apple", mode=mode)) == 30
            grouped = Retriever(index, k=huge, per_group=huge, group_by="x", diversity=0.5)
            assert len(grouped.retrieve("apple")) == 30
            assert index.recall(sample=huge, k=huge).mean == 1.0
