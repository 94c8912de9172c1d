import gzip
import json
import math

import ir_measures
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twofold import Index, Passage, Retriever
from twofold.corpus import (
    Corpus,
    Splitting,
    read_qrels,
    read_queries,
    read_run,
    write_qrels,
    write_run,
)
from twofold.errors import CorpusError, InputError
from twofold.evaluation import evaluate


def write(path, text):
    """Write text as UTF-8; of a surrogate escape, its byte."""
    path.write_bytes(text.encode(errors="surrogateescape"))
    return path


def test_qrels_of_beir_and_of_trec_read_the_same(tmp_path):
    beir = write(tmp_path / "a.tsv", "query-id\tcorpus-id\tscore\nq1\td 1\t2\nq2\td2\t0\r\n\n")
    trec = write(tmp_path / "a.qrels", "q1 0 d1 2\nq2 0 d2 0\n")
    assert read_qrels(beir) == {"q1": {"d 1": 2}, "q2": {"d2": 0}}
    decimal = write(tmp_path / "b.tsv", "q1\td1\t1.0\nq2\td2\t1")
    assert read_qrels(decimal) == {"q1": {"d1": 1}, "q2": {"d2": 1}}
    assert read_qrels(trec) == {"q1": {"d1": 2}, "q2": {"d2": 0}}


def test_queries_as_json_lines_and_by_tab(tmp_path):
    lines = write(tmp_path / "q.jsonl", '{"_id": 7, "text": "seven"}\n{"id": "x", "text": ""}')
    tabs = write(tmp_path / "q.tsv", "7\tseven\nx\t\n")
    assert read_queries(lines) == read_queries(tabs) == {"7": "seven", "x": ""}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.tsv", "q1\td1\thigh\nq2\td2\t1\n", "line 1: grade must be a number, got 'high'"),
        ("a.tsv", "q1\td1\t\nq2\td2\t1\n", "line 1: expected query, passage and grade"),
        ("a.tsv", "qid\tdocid\trel\nqid\tdocid\trel\n", "line 2: grade must be a number"),
        ("a.tsv", "q1\td1\t1\nq2\tcaf\udce9\t1\n", "line 2: not UTF-8"),
        ("a.tsv", "q1\td1\t1\nq2\td2\thigh\n", "line 2: grade must be a number, got 'high'"),
        ("a.tsv", "q1\td1\t1\nq2 d2\n", "line 2: expected query, passage and grade"),
        ("a.tsv", "query-id\tcorpus-id\tscore\n", "has no judgments"),
        ("a.tsv", "q1\td1\t0.1234\n", "3 decimals, got 0.1234"),
    ],
)
def test_bad_qrels_name_the_line(tmp_path, name, text, words):
    with pytest.raises(CorpusError, match=words):
        read_qrels(write(tmp_path / name, text))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (
            "q.jsonl",
            '{"_id": "a", "text": "x"}\n{"_id": "a", "text": "y"}',
            "line 2: duplicate query 'a'",
        ),
        ("q.jsonl", '{"text": "x"}', "line 1: the query has no id"),
        (
            "q.jsonl",
            '{"_id": true, "text": "x"}',
            "line 1: an id must be a string or an integer, got True",
        ),
        ("q.jsonl", "", "has no queries"),
        ("q.tsv", "no tab", "line 1: no tab between query id and text"),
    ],
)
def test_bad_queries_name_the_line(tmp_path, name, text, words):
    with pytest.raises(CorpusError, match=words):
        read_queries(write(tmp_path / name, text))


def test_splitting_is_checked(tmp_path):
    for size, overlap in [(0, 0), (10, 10), (10, -1)]:
        with pytest.raises(InputError, match="must be an integer"):
            Splitting(size, overlap)
    with pytest.raises(CorpusError, match="has no corpus"):
        Corpus.from_path(tmp_path)


def test_a_corpus_is_read_as_often_as_wanted(tmp_path):
    corpus = Corpus.from_path(
        write(tmp_path / "c.jsonl", '{"_id": "1", "text": "a", "lang": "en", "title": null}')
    )
    assert list(corpus) == list(corpus)
    assert next(iter(corpus)).metadata == {"lang": "en"}


def test_evaluation_counts_what_was_not_found(tmp_path):
    with Index.open(tmp_path / "i", encoder="hashing") as index:
        index.upsert([{"id": "1", "text": "apple"}, {"id": "2", "text": "pear"}])
        queries = {"q1": "apple", "q2": "unheard", "unjudged": "pear"}
        qrels = {"q1": {"1": 1}, "q2": {"2": 1}}
        result = evaluate(Retriever(index, mode="lexical"), queries, qrels, ["nDCG@10", "P@1"])
        assert result.queries == 2
        assert result.measures == {"nDCG@10": 0.5, "P@1": 0.5}
        assert result.run["q2"] == {}
        with pytest.raises(InputError, match="none of the queries has judgments"):
            evaluate(Retriever(index), {"z": "apple"}, qrels)


columns = st.text(
    st.characters(exclude_categories=("Cs",)).filter(lambda char: not char.isspace()), min_size=1
).filter(lambda text: not text.startswith("\ufeff"))
scores = st.floats(allow_nan=False, allow_infinity=False)
run_files = st.dictionaries(columns, st.dictionaries(columns, scores, min_size=1), min_size=1)
qrels_files = st.dictionaries(
    columns, st.dictionaries(columns, st.integers(-2, 4), min_size=1), min_size=1
)


@settings(deadline=None)
@given(run=run_files, name=columns, packed=st.booleans())
def test_a_run_comes_back_as_it_was_written(tmp_path_factory, run, name, packed):
    file = tmp_path_factory.mktemp("run") / ("a.run.gz" if packed else "a.run")
    write_run(file, run, name)
    assert read_run(file) == run
    with (
        gzip.open(file, "rt", encoding="utf-8", newline="\n")
        if packed
        else file.open(encoding="utf-8", newline="\n") as opened
    ):
        rows = [line.split() for line in opened.read().split("\n")[:-1]]
    assert len(rows) == sum(map(len, run.values()))
    assert {(row[1], row[5]) for row in rows} == {("Q0", name)}
    for query_id, found in run.items():
        own = [row for row in rows if row[0] == query_id]
        assert [int(row[3]) for row in own] == list(range(1, len(found) + 1))
        keys = [(-found[row[2]], row[2]) for row in own]
        assert keys == sorted(keys)


@settings(deadline=None)
@given(qrels=qrels_files, packed=st.booleans())
def test_judgments_come_back_as_they_were_written(tmp_path_factory, qrels, packed):
    file = tmp_path_factory.mktemp("qrels") / ("a.qrels.gz" if packed else "a.qrels")
    write_qrels(file, qrels)
    assert read_qrels(file) == qrels


def test_other_readers_of_trec_files_read_the_same(tmp_path):
    run = {"q1": {"d1": 0.1, "d2": 1 / 3, "ä": 7.0}, "q2": {"d1": -2.5e-9}, "nothing": {}}
    qrels = {"q1": {"d1": 2, "ä": 0}, "q3": {"d9": 1}}
    write_run(tmp_path / "a.run", run, "mine")
    write_qrels(tmp_path / "a.qrels", qrels)
    found: dict[str, dict[str, float]] = {}
    for each in ir_measures.read_trec_run(str(tmp_path / "a.run")):
        found.setdefault(each.query_id, {})[each.doc_id] = each.score
    assert found == {"q1": run["q1"], "q2": run["q2"]}
    judged = {
        (each.query_id, each.doc_id): each.relevance
        for each in ir_measures.read_trec_qrels(str(tmp_path / "a.qrels"))
    }
    assert judged == {("q1", "d1"): 2, ("q1", "ä"): 0, ("q3", "d9"): 1}
    assert (tmp_path / "a.run").read_text(encoding="utf-8").startswith("q1 Q0 ä 1 7.0 mine\n")


def test_ids_that_columns_cannot_hold_are_refused_before_anything_is_written(tmp_path):
    file = tmp_path / "a"
    for write_bad, words in (
        (lambda: write_run(file, {"q": {"a b": 1.0}}, "x"), "passage id 'a b'"),
        (lambda: write_run(file, {"q\u2003": {"a": 1.0}}, "x"), "query id"),
        (lambda: write_run(file, {"q": {"": 1.0}}, "x"), "passage id '' is empty"),
        (lambda: write_run(file, {"q": {"a": 1.0}}, "RRF 60"), "name 'RRF 60'"),
        (lambda: write_run(file, {"q": {"a": math.nan}}, "x"), "finite"),
        (lambda: write_run(file, {"q": {"\ud800": 1.0}}, "x"), "half a surrogate"),
        (lambda: write_qrels(file, {"q": {"a\tb": 1}}), "passage id"),
    ):
        with pytest.raises(InputError, match=words):
            write_bad()
    assert not file.exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "q1 Q0 d1 1 0.5 x\nq1 Q0 d2 2 0.4\n",
            "line 2: expected query, Q0, passage, rank, score and name",
        ),
        ("q1 Q0 d1 1 high x\n", "line 1: score must be a number, got 'high'"),
        ("q1 Q0 d1 1 nan x\n", "line 1: score must be a number, got 'nan'"),
        ("q1 Q0 d1 1 2 x\n\nq1 Q0 d1 2 1 x\n", "line 3: duplicate passage 'd1'"),
        ("\n", "has no hits"),
    ],
)
def test_bad_runs_name_the_line(tmp_path, text, words):
    with pytest.raises(CorpusError, match=words):
        read_run(write(tmp_path / "a.run", text))


def test_packed_files_are_read_like_others(tmp_path):
    for name, text in (("q.tsv.gz", "7\tseven\n"), ("r.tsv.gz", "q1\td1\t2\n")):
        with gzip.open(tmp_path / name, "wt", encoding="utf-8") as file:
            file.write(text)
    assert read_queries(tmp_path / "q.tsv.gz") == {"7": "seven"}
    assert read_qrels(tmp_path / "r.tsv.gz") == {"q1": {"d1": 2}}
    broken = tmp_path / "b.tsv.gz"
    broken.write_bytes((tmp_path / "r.tsv.gz").read_bytes()[:-9])
    with pytest.raises(CorpusError, match=r"b.tsv.gz can't be read"):
        read_qrels(broken)
    with pytest.raises(CorpusError, match="there is no file"):
        read_run(tmp_path / "none.gz")


@pytest.mark.parametrize(("record", "wanted"), [({"_id": None, "id": "5"}, "5"), ({"id": 0}, "0")])
def test_an_id_of_null_is_no_id(tmp_path, record, wanted):
    (tmp_path / "c.jsonl").write_text(json.dumps({**record, "text": "a text"}) + "\n")
    assert [each.id for each in Corpus.from_path(tmp_path / "c.jsonl")] == [wanted]


@pytest.mark.parametrize(
    ("record", "wanted"),
    [
        ({"docid": "7#1"}, "7#1"),
        ({"docid": 7}, "7"),
        ({"_id": None, "id": None, "docid": "x"}, "x"),
        ({"_id": "7", "id": 7, "docid": "7"}, "7"),
    ],
)
def test_the_id_is_one_of_three_fields(tmp_path, record, wanted):
    line = json.dumps({**record, "text": "a text", "lang": "en"})
    (passage,) = Corpus.from_path(write(tmp_path / "c.jsonl", line))
    assert passage == Passage("a text", wanted, "", {"lang": "en"})
    assert read_queries(write(tmp_path / "q.jsonl", line)) == {wanted: "a text"}


@pytest.mark.parametrize(
    "record", [{"_id": "1", "docid": "2"}, {"_id": "1", "id": "2"}, {"id": 1, "docid": "01"}]
)
def test_two_different_ids_are_refused(tmp_path, record):
    lines = f'{{"text": "a"}}\n{json.dumps({**record, "text": "b"})}'
    with pytest.raises(CorpusError, match="line 2: two different ids, '.*id' '1' and '.*id' '"):
        list(Corpus.from_path(write(tmp_path / "c.jsonl", lines)))


@pytest.mark.parametrize(
    ("record", "text", "metadata"),
    [
        ({"contents": "c"}, "c", {}),
        ({"contents": "c", "text": None}, "c", {}),
        ({"contents": "c", "text": "t"}, "t", {"contents": "c"}),
        ({"contents": "c", "text": "", "year": 1}, "", {"contents": "c", "year": 1}),
    ],
)
def test_contents_is_the_text_if_there_is_no_text(tmp_path, record, text, metadata):
    corpus = Corpus.from_path(write(tmp_path / "c.jsonl", json.dumps({"id": "1", **record})))
    assert list(corpus) == [Passage(text, "1", "", metadata)]


@pytest.mark.parametrize(
    "text",
    ['{"id": "1", "contents": 3}', '{"id": "1", "body": "x"}', '{"text": null, "contents": null}'],
)
def test_a_record_without_text_is_refused(tmp_path, text):
    with pytest.raises(CorpusError, match="line 1: '(text|contents)' must be a string"):
        list(Corpus.from_path(write(tmp_path / "c.jsonl", text)))


HEADERS = [
    "query-id\tcorpus-id\tscore",
    "query_id\tdoc_id\trelevance",
    "qid 0 docno rel",
    "Topic\titer\tDocument\tJudgment",
    "query id\tproduct id\tesci label\t",
    "qid\tpid\tgrade",
]


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_of_judgments_is_known_by_its_names(tmp_path, header):
    for rows in ("q1 0 d1 1\n", "q1\td1\t1\t\n", "\nq1\t0\td1\t1 \r\n"):
        for text in (f"\ufeff{header}\n{rows}", f"\n{header}\r\n{rows}", rows):
            assert read_qrels(write(tmp_path / "a.tsv", text)) == {"q1": {"d1": 1}}


@pytest.mark.parametrize(
    "header", ["id\ttext", "query_id\tquery", "qid\tQuestion", "Q-ID\tTitle\t"]
)
def test_a_header_of_queries_is_known_by_its_names(tmp_path, header):
    path = write(tmp_path / "q.tsv", f"{header}\n7\tseven\n")
    assert read_queries(path) == {"7": "seven"}
    with pytest.raises(CorpusError, match="line 2: duplicate query"):
        read_queries(write(path, "7\tseven\n7\teight\n"))


def test_what_is_no_header_is_a_query(tmp_path):
    lines = "id\ta text about ids\nquery\ttext of a query\n"
    wanted = {"id": "a text about ids", "query": "text of a query"}
    assert read_queries(write(tmp_path / "q.tsv", lines)) == wanted


def test_a_header_of_a_run_is_known_by_its_names(tmp_path):
    lines = "qid Q0 docno rank score run_name\nq1 Q0 d1 1 0.5 x\n"
    assert read_run(write(tmp_path / "a.run", lines)) == {"q1": {"d1": 0.5}}


DEEP = '{"a": ' * 101 + "1" + "}" * 101
BAD_JSON = [
    (
        '{"id": "2", "text": "x", "n": NaN}',
        r"record\[\"n\"\] .*got nan of type float: pass a finite",
    ),
    (
        '{"id": "2", "text": "x", "n": [1, -Infinity]}',
        r"record\[\"n\"\]\[1\] .*got -inf of type float",
    ),
    ('{"id": "2", "text": "x", "n": {"a": 1e999}}', "got inf of type float"),
    (f'{{"id": "2", "text": "x", "n": 1{"0" * 400}.0}}', "got inf of type float"),
    (f'{{"id": "2", "text": "x", "n": {"1" * 5000}}}', "a number can't be read"),
    (r'{"id": "2", "text": "a \ud800 b"}', "half a surrogate pair"),
    (r'{"id": "\uDFFF", "text": "x"}', "half a surrogate pair"),
    (r'{"id": "2", "text": "x", "\ude00\ud83d": 1}', "half a surrogate pair"),
    (f'{{"id": "2", "text": "x", "n": {DEEP}}}', "more than 100 levels: pass fewer levels"),
    ("[" * 100_000, "nested more than 100 levels deep"),
    ('{"id": "2", "text": "caf\udce9"}', "not UTF-8"),
]


@pytest.mark.parametrize(("line", "words"), BAD_JSON)
@pytest.mark.parametrize("read", [lambda path: list(Corpus.from_path(path)), read_queries])
def test_bad_json_names_file_and_line(tmp_path, read, line, words):
    path = write(tmp_path / "c.jsonl", f'{{"id": "1", "text": "x"}}\n\n{line}\n')
    with pytest.raises(CorpusError, match=f"c.jsonl, line 3: .*{words}"):
        read(path)


def test_odd_but_valid_json_is_read(tmp_path):
    metadata = {"a": "NaN Infinity", "b": 1e100, "c": "\U0001f600", "d": [[["deep"]]], "e": "1e999"}
    lines = json.dumps({"id": "1", "text": "x", "metadata": metadata})
    assert next(iter(Corpus.from_path(write(tmp_path / "c.jsonl", lines)))).metadata == metadata


@pytest.mark.parametrize("ids", [("7", "8", "7"), (7, 8, "7"), ("\u00e4", "8", "\u00e4")])
def test_an_id_given_twice_names_file_and_line(tmp_path, ids):
    lines = "\n".join(json.dumps({"_id": each, "text": f"t{n}"}) for n, each in enumerate(ids))
    with pytest.raises(CorpusError, match=f"c.jsonl, line 3: passage id '{ids[2]}' is given twice"):
        list(Corpus.from_path(write(tmp_path / "c.jsonl", lines)))


def test_passages_without_ids_may_repeat(tmp_path):
    path = write(tmp_path / "c.jsonl", '{"text": "a"}\n{"text": "a"}\n{"id": null, "text": "a"}')
    assert len(list(Corpus.from_path(path))) == 3


def test_an_id_that_begins_with_a_byte_order_mark_is_refused(tmp_path):
    with pytest.raises(InputError, match="begins with a byte order mark"):
        write_qrels(tmp_path / "q.tsv", {"\ufeffq": {"1": 1}})
    assert not (tmp_path / "q.tsv").exists()
