"""Judged collections in the formats in which they are distributed."""

import gzip
import json

import pytest

from twofold import Index, Retriever, evaluate
from twofold.corpus import Corpus, read_qrels, read_queries, read_run, scale_grades
from twofold.errors import CorpusError, DegradedWarning, InputError

PASSAGES = [("1", "Tea", 'Green "tea" is steeped.'), ("2", "", "Coffee is ground, then brewed.")]
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def packed(text):
    return gzip.compress(text.encode())


def parquet(rows):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue().to_pybytes()


BEIR_ROWS = [{"_id": i, "title": t, "text": x} for i, t, x in PASSAGES]
MIRACL_ROWS = [{"docid": i, "title": t, "text": x} for i, t, x in PASSAGES]
PYSERINI_ROWS = [{"id": i, "contents": f"{t}\n{x}".strip()} for i, t, x in PASSAGES]
NAMED = "id\ttext\ttitle\n" + "".join(f"{i}\t{x}\t{t}\n" for i, t, x in PASSAGES)
CSV = (
    'doc_id,title,text\r\n1,Tea,"Green ""tea"" is steeped."\r\n'
    '2,,"Coffee is ground, then brewed."\r\n'
)
LAYOUTS = {
    "BEIR": {"corpus.jsonl": lines(BEIR_ROWS), "queries.jsonl": "x"},
    "BEIR, gzipped": {"corpus.jsonl.gz": packed(lines(BEIR_ROWS))},
    "MTEB": {"corpus/corpus-00000-of-00001.parquet": parquet(BEIR_ROWS), "README.md": "x"},
    "MTEB, two shards": {
        "corpus/test-00000-of-00002.parquet": parquet(BEIR_ROWS[:1]),
        "corpus/test-00001-of-00002.parquet": parquet(BEIR_ROWS[1:]),
    },
    "one Parquet file": {"corpus.parquet": parquet(BEIR_ROWS)},
    "MIRACL": {
        "docs-0.jsonl.gz": packed(lines(MIRACL_ROWS[:1])),
        "docs-1.jsonl.gz": packed(lines(MIRACL_ROWS[1:])),
    },
    "DPR": {"collection.tsv": NAMED},
    "CSV": {"corpus.csv": CSV},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layouts_of_corpora(tmp_path, layout):
    for name, data in LAYOUTS[layout].items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    found = [(p.id, p.title, p.text) for p in Corpus.from_path(tmp_path)]
    assert found == PASSAGES


def test_ms_marco_and_pyserini(tmp_path):
    (tmp_path / "collection.tsv").write_text("0\tsays \"hi\"\n1\tit's 5' tall\n")
    found = [(p.id, p.text) for p in Corpus.from_path(tmp_path)]
    assert found == [("0", 'says "hi"'), ("1", "it's 5' tall")]
    documents = tmp_path / "msmarco-docs.tsv"
    documents.write_text("D1\thttps://a.b\tTitle\tBody text\nD2\thttps://c.d\t\tMore\n")
    first, second = Corpus.from_path(documents)
    assert (first.id, first.title, first.text) == ("D1", "Title", "Body text")
    assert (second.title, second.metadata) == ("", {"url": "https://c.d"})
    folder = tmp_path / "pyserini"
    folder.mkdir()
    (folder / "docs00.jsonl").write_text(lines(PYSERINI_ROWS))
    assert [p.text for p in Corpus.from_path(folder)] == [r["contents"] for r in PYSERINI_ROWS]
    (tmp_path / "list.json").write_text(json.dumps(PYSERINI_ROWS))
    assert [p.id for p in Corpus.from_path(tmp_path / "list.json")] == ["1", "2"]


def test_json_lines_without_ids_are_files_of_a_folder(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    assert [passage.id for passage in Corpus.from_path(tmp_path)] == ["a.jsonl#0", "a.jsonl#1"]


QUERIES = {"301": "International Organized Crime", "302": "Poliomyelitis & Post-Polio"}
TREC = """<top>

<num> Number: 301
<title> International Organized Crime

<desc> Description:
Identify organizations that participate in crime.
</top>

<top>
<num> Number: 302
<title> Topic: Poliomyelitis &amp; Post-Polio
</top>
"""
XML = """<?xml version="1.0"?><topics>
<topic number="301"><query>International Organized Crime</query><question>What?</question></topic>
<topic number="302"><query>Poliomyelitis &amp; Post-Polio</query></topic></topics>
"""
CLINICAL = """<topics task="x">
<topic number="301">International
Organized Crime</topic><topic number='302'>Poliomyelitis &amp; Post-Polio</topic></topics>"""
ROWS = [{"_id": i, "text": text} for i, text in QUERIES.items()]
QUERY_FILES = {
    "topics.301-302": TREC,
    "topics.txt": TREC,
    "topics.gz": packed(TREC),
    "covid.xml": XML,
    "clinical.xml": CLINICAL,
    "queries.parquet": parquet([{**row, "language": "en"} for row in ROWS]),
    "queries.csv": "query_id,query\n" + "".join(f'{i},"{t}"\n' for i, t in QUERIES.items()),
    "topics.miracl-v1.0-en-dev.tsv": "".join(f"{i}\t{t}\n" for i, t in QUERIES.items()),
    "queries.json": json.dumps(ROWS),
}


@pytest.mark.parametrize("name", QUERY_FILES)
def test_the_formats_of_queries(tmp_path, name):
    data = QUERY_FILES[name]
    (tmp_path / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    assert read_queries(tmp_path / name) == QUERIES


JUDGED = [("301", "1", 2), ("301", "2", 0), ("302", "2", 1)]
HEADER = "query-id\tcorpus-id\tscore\n"
RECORDS = [{"score": float(g), "query-id": q, "corpus-id": p} for q, p, g in JUDGED]
QREL_FILES = {
    "qrels.trec": "".join(f"{q} 0 {p} {g}\n" for q, p, g in JUDGED),
    "qrels.miracl-v1.0-en-dev.tsv": "".join(f"{q}\tQ0\t{p}\t{g}\n" for q, p, g in JUDGED),
    "test.tsv": HEADER + "".join(f"{q}\t{p}\t{g}.0\n" for q, p, g in JUDGED),
    "test.csv": "qid,docno,label\n" + "".join(f"{q},{p},{g}\n" for q, p, g in JUDGED),
    "test.parquet": parquet(RECORDS),
    "test.tsv.gz": packed("".join(f"{q}\t{p}\t{g}\n" for q, p, g in JUDGED)),
}


@pytest.mark.parametrize("name", QREL_FILES)
def test_the_formats_of_judgments(tmp_path, name):
    data = QREL_FILES[name]
    (tmp_path / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    assert read_qrels(tmp_path / name) == {"301": {"1": 2, "2": 0}, "302": {"2": 1}}


def test_fractional_grades_are_scaled_and_keep_ndcg(tmp_path):
    path = tmp_path / "qrels.tsv"
    path.write_text("q\t1\t0.5\nq\t2\t1\nq\t3\t0.25\nq\t4\t0\nr\t1\t-1\n")
    assert read_qrels(path) == {"q": {"1": 50, "2": 100, "3": 25, "4": 0}, "r": {"1": -100}}
    assert scale_grades({"q": {"a": 1e-3, "b": 2.0}}) == {"q": {"a": 1, "b": 2000}}
    for bad in (float("nan"), float("inf"), 0.12345):
        with pytest.raises(InputError, match="finite number with at most 12 digits and 3 dec"):
            scale_grades({"q": {"a": bad}})
    with Index.open(None, encoder=None) as index:
        index.upsert([{"id": str(n), "text": "tea " * n} for n in range(1, 5)])
        halves = {"q": {"1": 0.5, "2": 1.0, "3": 1.5}}
        twice = {"q": {"1": 1, "2": 2, "3": 3}}
        found = [
            evaluate(Retriever(index, mode="lexical"), {"q": "tea"}, qrels, ["nDCG@10", "AP"])
            for qrels in (scale_grades(halves), twice)
        ]
    assert found[0].measures == pytest.approx(found[1].measures)
    assert 0 < found[0].measures["nDCG@10"] < 1


def test_runs_of_three_columns(tmp_path):
    path = tmp_path / "run.tsv"
    path.write_text("301\t2\t1\n301\t1\t2\n302\t2\t1\n")
    assert read_run(path) == {"301": {"2": 1.0, "1": 0.5}, "302": {"2": 1.0}}
    path.write_text("301\t2\t0\n")
    with pytest.raises(CorpusError, match="score must be a number, got 'rank 0'"):
        read_run(path)


BAD = [
    ("c.tsv", "one column\n", "line 1: expected 2 to 4 columns or a header, got 1"),
    ("c.tsv", "1\ta\n2\n", "line 2: expected 2 columns, got 1"),
    ("c.csv", "1,a\n", "line 1: expected a header with an id and a text"),
    ("c.csv", "id,text\n1\n", "line 2: expected 2 columns, got 1"),
    ("c.csv", 'id,text\n1,"a\n', "not CSV: unexpected end of data"),
    ("c.csv", b"id,text\n1,\xff\n", "is not UTF-8"),
    ("c.json", "{}", "must have a list of JSON objects"),
    ("c.json", "[1]", "item 1: must be a JSON object"),
    ("c.json", "[", "not JSON"),
    ("c.parquet", "PAR1", "can't be read as Parquet"),
    ("c.zip", "x", "is not a corpus: pass a folder"),
]


@pytest.mark.parametrize(("name", "data", "words"), BAD)
def test_bad_corpora_are_named_with_the_line(tmp_path, name, data, words):
    (tmp_path / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(CorpusError, match=words):
        list(Corpus.from_path(tmp_path / name))


def test_bad_topics_and_columns(tmp_path):
    path = tmp_path / "topics.txt"
    path.write_text("<top>\n<num> Number: 1\n</top>\n")
    with pytest.raises(CorpusError, match="line 1: topic '1' has no title, query or question"):
        read_queries(path)
    path.write_text("<top>\n<num> Number: 1\n")
    with pytest.raises(CorpusError, match="has no topics that end in </top>"):
        read_queries(path)
    bad = tmp_path / "q.parquet"
    bad.write_bytes(parquet([{"a": 1}]))
    with pytest.raises(CorpusError, match="must have columns query, text, got a"):
        read_queries(bad)
    with pytest.raises(CorpusError, match="there is no file"):
        read_qrels(tmp_path / "missing.parquet")


def test_other_folders_of_json_lines_are_no_collections(tmp_path):
    def ids_of(name, files):
        folder = tmp_path / name
        folder.mkdir()
        for file, text in files.items():
            (folder / file).write_text(text)
        return [passage.id for passage in Corpus.from_path(folder)]

    events = '{"id": 1, "event": "login"}\n'
    assert ids_of("events", {"events.jsonl": events}) == ["events.jsonl#1"]
    row = '{"id": 1, "text": "a"}\n'
    found = ids_of("two", {"chat.jsonl": row, "users.jsonl": row})
    assert found == ["chat.jsonl#1", "users.jsonl#1"]
    notes = {"notes.md": "x", "corpus.csv": "name,price\ntea,3\n", "collection.json": "[]"}
    with pytest.warns(DegradedWarning, match="no text was found"):
        assert ids_of("notes", notes) == ["corpus.csv#0", "notes.md#0"]
    (tmp_path / "col" / "corpus").mkdir(parents=True)
    (tmp_path / "col" / "corpus" / "events1.jsonl").write_text('{"event": "x"}\n')
    (tmp_path / "col" / "guide.md").write_text("guide")
    found = [passage.id for passage in Corpus.from_path(tmp_path / "col")]
    assert found == ["corpus/events1.jsonl#0", "guide.md#0"]
    path = tmp_path / "topics.tsv"
    path.write_text("1\tthe <topic> of a text\n")
    assert read_queries(path) == {"1": "the <topic> of a text"}


def test_topics_of_letters_that_grow_and_of_similar_tags(tmp_path):
    path = tmp_path / "topics.txt"
    topics = "".join(
        f"<top><num>{n}</num><title>\u0130\u0130 q{n}</title></top>\n" for n in range(6)
    )
    path.write_text(topics, encoding="utf-8")
    assert read_queries(path) == {str(n): f"\u0130\u0130 q{n}" for n in range(6)}
    path.write_text("<top><num>1</num><topic>x</topic><title>foo</title></top>")
    assert read_queries(path) == {"1": "foo"}


def test_huge_inputs_are_refused_in_a_moment(tmp_path):
    path = tmp_path / "topics.txt"
    path.write_text("<top>" * 200_000)
    with pytest.raises(CorpusError, match="has no topics that end in"):
        read_queries(path)
    path.write_text("q 0 d 1e9999999\n")
    with pytest.raises(CorpusError, match="at most 12 digits"):
        read_qrels(path)
    rows = tmp_path / "q.parquet"
    rows.write_bytes(parquet([{"_id": "1", "text": "a"}, {"_id": None, "text": None}]))
    with pytest.raises(CorpusError, match="line 2: the column '_id' has no value"):
        read_queries(rows)


def test_a_damaged_gzip_file_of_topics_is_named(tmp_path):
    path = tmp_path / "topics.gz"
    good = packed(TREC * 50)
    path.write_bytes(good[:20] + b"\xff" * 40 + good[60:])
    with pytest.raises(CorpusError, match="topics.gz can't be read"):
        read_queries(path)
