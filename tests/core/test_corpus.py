import pytest

from twofold import Index, Retriever
from twofold.corpus import Corpus, Splitting, read_qrels, read_queries
from twofold.errors import CorpusError, InputError
from twofold.evaluation import evaluate


def write(path, text):
    path.write_text(text, encoding="utf-8")
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
        ("a.tsv", "q1\td1\t1\nq2\td2\thigh\n", "line 2: grade 'high' is no whole number"),
        ("a.tsv", "q1\td1\t1\nq2 d2\n", "line 2: query, passage and grade are wanted"),
        ("a.tsv", "query-id\tcorpus-id\tscore\n", "holds no judgments"),
        ("a.tsv", "q1\td1\t0.5\n", "line 1: grade '0.5' is no whole number"),
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
            "line 2: query 'a' is there twice",
        ),
        ("q.jsonl", '{"text": "x"}', "line 1: the query has no id"),
        ("q.jsonl", '{"_id": true, "text": "x"}', "line 1: an id is a string or a number"),
        ("q.jsonl", "", "holds no queries"),
        ("q.tsv", "no tab", "line 1: no tab between id and text"),
    ],
)
def test_bad_queries_name_the_line(tmp_path, name, text, words):
    with pytest.raises(CorpusError, match=words):
        read_queries(write(tmp_path / name, text))


def test_splitting_is_checked(tmp_path):
    for size, overlap in [(0, 0), (10, 10), (10, -1)]:
        with pytest.raises(InputError, match="at least 1 character"):
            Splitting(size, overlap)
    with pytest.raises(CorpusError, match="holds no corpus"):
        Corpus.at(tmp_path)
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(CorpusError, match=r"latin.txt is not UTF-8.*at byte 3"):
        list(Corpus.at(tmp_path))


def test_a_corpus_is_read_as_often_as_wanted(tmp_path):
    corpus = Corpus.at(
        write(tmp_path / "c.jsonl", '{"_id": "1", "text": "a", "lang": "en", "title": null}')
    )
    assert list(corpus) == list(corpus)
    assert next(iter(corpus)).metadata == {"lang": "en"}


def test_evaluation_counts_what_was_not_found(tmp_path):
    with Index.open(tmp_path / "i", encoder="hashing") as index:
        index.upsert([{"id": "1", "text": "apple"}, {"id": "2", "text": "pear"}])
        queries = {"q1": "apple", "q2": "unheard", "unjudged": "pear"}
        qrels = {"q1": {"1": 1}, "q2": {"2": 1}, "other": {"1": 1}}
        result = evaluate(Retriever(index, mode="lexical"), queries, qrels, ["nDCG@10", "P@1"])
        assert result.queries == 2
        assert result.measures == {"nDCG@10": 0.5, "P@1": 0.5}
        assert result.run["q2"] == {}
        with pytest.raises(InputError, match="none of the queries has judgments"):
            evaluate(Retriever(index), {"z": "apple"}, qrels)
