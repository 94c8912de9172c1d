import gzip
import json
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twofold import Index, Passage
from twofold.errors import CorpusError, DegradedWarning, InputError
from twofold.training import Example, TrainingSet
from twofold.training.data.readers import read_dpr, read_id_triples, read_triples

ROWS = [
    ("what is bm25", "a ranking function", "a kind of tea"),
    ("what is bm25", "a ranking function", "a bird"),
    ("what is tea", "a kind of tea", "a bird"),
]


def write(path, text):
    data = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def as_lines(rows):
    return "".join("\t".join(row) + "\n" for row in rows)


def texts(training_set):
    """Query to texts of positives and of negatives, as a plain reading of the file has them."""
    known = {each.id: each.text for each in training_set.passages}
    return {
        each.query: ({known[i] for i in each.positives}, {known[i] for i in each.negatives})
        for each in training_set
    }


@pytest.mark.parametrize("name", ["t.tsv", "t.tsv.gz"])
def test_triples_of_one_query_are_one_example_and_equal_texts_one_passage(tmp_path, name):
    read = read_triples(write(tmp_path / name, "\ufeff" + as_lines(ROWS) + "\n"))
    assert texts(read) == {
        "what is bm25": ({"a ranking function"}, {"a kind of tea", "a bird"}),
        "what is tea": ({"a kind of tea"}, {"a bird"}),
    }
    assert len(read.passages) == len({each.text for each in read.passages}) == 3


def test_real_triples_have_the_ids_that_an_index_derives(tmp_path, abstracts, claims):
    rows = [(claims[n], abstracts[n]["text"], abstracts[n + 1]["text"]) for n in range(0, 40, 2)]
    read = read_triples(write(tmp_path / "t.tsv", as_lines(rows)))
    with Index.open(None, encoder=None) as index:
        index.upsert(Passage(text) for row in rows for text in row[1:])
        found = index.get([each.id for each in read.passages])
    assert [each.text for each in found] == [each.text for each in read.passages]
    assert texts(read) == {query: ({good}, {bad}) for query, good, bad in rows}


words = st.sampled_from(["red", "green", "blue", "grey"])


@given(st.lists(st.tuples(words, words, words), min_size=1, max_size=30))
def test_a_positive_is_never_a_negative_and_nothing_else_is_lost(tmp_path_factory, rows):
    path = write(tmp_path_factory.mktemp("triples") / "t.tsv", as_lines(rows))
    good = {q: {p for own, p, _ in rows if own == q} for q, _, _ in rows}
    bad = {q: {n for own, _, n in rows if own == q} for q, _, _ in rows}
    both = sum(len(good[q] & bad[q]) for q in good)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        by_text, by_id = read_triples(path), read_id_triples(path, {q: f"{q}?" for q in good})
    assert texts(by_text) == {q: (good[q], bad[q] - good[q]) for q in good}
    assert by_id.queries == {q: f"{q}?" for q in good}
    assert {e.query_id: (set(e.positives), set(e.negatives)) for e in by_id} == {
        q: (good[q], bad[q] - good[q]) for q in good
    }
    assert len(said) == (2 if both else 0)
    assert all(f" {both} negatives" in str(each.message) for each in said)
    assert all(each.filename == __file__ for each in said)


def test_ids_without_a_query_are_left_out_and_said(tmp_path):
    path = write(tmp_path / "ids.tsv", as_lines([("1", "10", "11"), ("2", "10", "12")]))
    with pytest.warns(DegradedWarning, match="1 query ids have no text in queries.*'2'"):
        assert list(read_id_triples(path, {"1": "one"}).queries) == ["1"]
    with pytest.warns(DegradedWarning), pytest.raises(CorpusError, match="has no query"):
        read_id_triples(path, {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a b\tc\td\na\tb\n", "line 2: expected query, positive and negative"),
        ("a\t \tc\n", "line 1: .*none of them blank"),
        ("a\tb\tc\td\n", "line 1: expected query, positive"),
        (b"a\tb\tc\na\t\xff\tc\n", "line 2: not UTF-8"),
        ("\n", "has no query"),
    ],
)
def test_bad_triples_name_the_line(tmp_path, text, said):
    with pytest.raises(CorpusError, match=said):
        read_triples(write(tmp_path / "t.tsv", text))


@pytest.mark.parametrize(
    "header",
    [
        "query\tpositive\tnegative",
        "Query\tPositive Passage\tNegative Passage",
        "qid\tpos_id\tneg_id",
        "query_id\tpid-pos\tpid-neg",
        "anchor\tpos_doc\thard_negative",
        "question\tdoc_positive\tdoc_negative\t",
    ],
)
def test_a_header_of_triples_is_known_by_its_names(tmp_path, header):
    for start in ("", "\ufeff", "\n\n"):
        path = write(tmp_path / "t.tsv", f"{start}{header}\n1\t10\t11\n")
        assert list(read_triples(path).queries.values()) == ["1"]
        assert list(read_id_triples(path, {"1": "one"}).queries) == ["1"]


def test_what_is_no_header_is_an_example(tmp_path):
    rows = [("query", "a positive example", "negative"), ("query", "positive", "a bird")]
    assert texts(read_triples(write(tmp_path / "t.tsv", as_lines(rows)))) == {
        "query": ({"a positive example", "positive"}, {"negative", "a bird"})
    }


def test_files_that_are_not_there_or_cut_short(tmp_path):
    cut = tmp_path / "cut.gz"
    cut.write_bytes(gzip.compress(as_lines(ROWS * 50).encode())[:60])
    for read in (read_triples, read_dpr):
        with pytest.raises(CorpusError, match="there is no file"):
            read(tmp_path / "none.tsv")
        with pytest.raises(CorpusError, match="can't be read"):
            read(cut)


def context(text, **others):
    return {"text": text, "title": "T", **others}


RECORDS = [
    {
        "question": "who?",
        "positive_ctxs": [context("she", passage_id="7"), context("her")],
        "negative_ctxs": [context("it", psg_id=8)],
        "hard_negative_ctxs": [context("he", passage_id=9), context("she", passage_id="7")],
    },
    {"question": "why?", "positive_ctxs": [], "negative_ctxs": [context("so")]},
    {"question": " who? ", "positive_ctxs": [context("they", passage_id="5")]},
]


@pytest.mark.parametrize("name", ["q.json", "q.json.gz", "q.jsonl", "q.jsonl.gz"])
def test_dpr_in_all_its_forms(tmp_path, name):
    text = json.dumps(RECORDS, indent=1)
    if ".jsonl" in name:
        text = "\n".join(map(json.dumps, RECORDS))
    with pytest.warns(DegradedWarning) as said:
        read = read_dpr(write(tmp_path / name, text))
    assert {str(each.message).split(": ")[1].split(",")[0] for each in said} == {
        "1 of 2 questions have no positive",
        "1 negatives are positives of the same query too",
    }
    (only,) = read
    assert only.query == "who?"
    assert only.positives[0::2] == ("7", "5")
    assert only.negatives == ("9", "8")
    by_id = {each.id: each for each in read.passages}
    assert by_id[only.positives[1]] == Passage("her", only.positives[1], "T")
    assert {each.text for each in read.passages} == {"she", "her", "it", "he", "they"}


def test_an_id_with_two_texts_keeps_the_first_and_says_so(tmp_path):
    record = {"question": "q?", "positive_ctxs": [context("a", passage_id="1")]}
    other = {"question": "r?", "positive_ctxs": [context("b", passage_id="1")]}
    with pytest.warns(DegradedWarning, match="1 passages repeat an id with another text"):
        read = read_dpr(write(tmp_path / "q.json", json.dumps([record, other])))
    assert [each.text for each in read.passages] == ["a"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[{"question": ""}]', "record 1: 'question' must be text"),
        ('[{"question": "a", "positive_ctxs": {}}]', "record 1: 'positive_ctxs' must be a list"),
        ('[{"question": "a", "positive_ctxs": [3]}]', "record 1: .* must hold objects, got 3"),
        ('[{"question": "a", "positive_ctxs": [{"title": ""}]}]', "no text and no id"),
        ('[{"question": "a", "positive_ctxs": [{"text": 3}]}]', "'text' in .* must be a string"),
        ('[{"question": "a", "positive_ctxs": [{"text": "a", "psg_id": 1.5}]}]', "'psg_id'"),
        ('[{"question": "a"}, 5]', "record 2: expected a JSON object"),
        ('[{"question": "a"}]', "has no query with a relevant passage"),
        ('[{"question": ', "q.json: not JSON"),
        ('{"question": "a"}\n{"question": 3}', "line 2: 'question' must be text"),
        ('[{"question": "a"}, {"question": "b", "x": NaN}]', "record 2: .*pass a finite number"),
        ('[{"question": "a"}, {"question": "\\ud800"}]', "record 2: .* half a surrogate pair"),
        (
            '[{"question": "a", "x": ' + "[" * 200 + "]" * 200 + "}]",
            "record 1: .*than 100 levels",
        ),
        ("[" * 100_000, "q.json: nested more than"),
        ('{"question": "a"}\n{"question": "b", "x": NaN}', "line 2: .*pass a finite number"),
    ],
)
def test_bad_dpr_names_the_record(tmp_path, text, said):
    with pytest.raises(CorpusError, match=said):
        read_dpr(write(tmp_path / "q.json", text))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"query": " "}, "query must be text"),
        ({"positives": ()}, "must have at least one id"),
        ({"positives": ["a"]}, "positives of the example 'q' must be a tuple of ids"),
        ({"negatives": ("b", "a")}, "passage 'a' is a positive and a negative"),
        ({"weight": 0.0}, "must be a number > 0, got 0.0"),
        ({"weight": float("nan")}, "must be a number > 0"),
        ({"grades": (1, 2)}, "one integer >= 1 for each of 1 positives"),
        ({"grades": (0,)}, "one integer >= 1 for each"),
    ],
)
def test_examples_that_teach_nothing_are_refused(values, said):
    with pytest.raises(InputError, match=said):
        Example(**{"query": "q", "positives": ("a",), **values})


def test_qrels_go_in_and_come_out():
    qrels = {"1": {"a": 2, "b": 0, "c": 1}, "2": {"a": 0}, "3": {"b": 1}}
    own = TrainingSet.from_qrels({"1": "one", "2": "two", "3": " "}, qrels)
    assert own.qrels == {"1": qrels["1"]}
    assert own.positives == {"a", "c"}
    assert own[0].query_id == "1"
    with pytest.raises(InputError, match="no query has a passage of grade 1"):
        TrainingSet.from_qrels({"2": "two"}, {"2": qrels["2"]})


def test_sets_join_choose_and_know_their_data():
    one, two = Example("one", ("a",)), Example("two", ("b", "a"), grades=(2, 1))
    own = TrainingSet((one,), (Passage("A", "a"),)).join(TrainingSet((two,)))
    assert list(own) == [one, two]
    assert own.select(["two"])[:] == (two,)
    assert own.select(["two"]).passages == (Passage("A", "a"),)
    turned = TrainingSet((Example("two", ("a", "b"), grades=(1, 2)), one))
    assert own.digest == turned.digest
    assert own.digest != TrainingSet((one, Example("two", ("b", "a")))).digest
    with pytest.raises(InputError, match="2 examples have 'one'"):
        own.join(TrainingSet((one,)))
