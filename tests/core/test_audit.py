"""Audits: what was kept back, written for a person to decide on, and read again."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twofold import Index, Passage
from twofold.corpus import read_qrels, read_queries
from twofold.errors import CorpusError, InputError
from twofold.training import Example, TrainingSet
from twofold.training.negatives.audit import read_audit, suspected_share, with_verdicts, write_audit
from twofold.training.negatives.candidates import MinedNegatives, Negative, Suspect, turnover
from twofold.training.negatives.mining import Mining, mine

DATA = "examples/data/scifact-1000"


@pytest.fixture(scope="module")
def passages(abstracts):
    return [Passage(each["text"], each["_id"], each["title"]) for each in abstracts]


@pytest.fixture(scope="module")
def science(tmp_path_factory, passages):
    with Index.open(tmp_path_factory.mktemp("science"), encoder="hashing") as index:
        index.upsert([*passages, *(replace(each, id=f"{each.id}-copy") for each in passages[::5])])
        yield index


@pytest.fixture(scope="module")
def asked(pytestconfig):
    folder = pytestconfig.rootpath / DATA
    qrels = read_qrels(folder / "qrels" / "test.tsv")
    return TrainingSet(TrainingSet.of_qrels(read_queries(folder / "queries.jsonl"), qrels)[:40])


class Overlap:
    """Reads by the share of the query's words that a passage has."""

    candidates, threshold = 8, None

    def __init__(self):
        self.read = []

    def rerank(self, queries, texts, progress=None):
        self.read += list(zip(queries, texts, strict=True))
        return [
            np.array([self.score(query, text) for text in own])
            for query, own in zip(queries, texts, strict=True)
        ]

    @staticmethod
    def score(query, text):
        words = set(query.casefold().split())
        return len(words & set(text.casefold().split())) / len(words)


@pytest.fixture(scope="module")
def mined(science, asked):
    return mine(science, asked, Mining(reranker=Overlap()))


@pytest.mark.parametrize("threshold", [None, 0.3])
def test_a_reranker_keeps_back_what_it_ranks_with_the_answers(science, asked, threshold, passages):
    some, reader = TrainingSet(asked[:20]), Overlap()
    texts = {each.id: f"{each.title} {each.text}" for each in passages}
    texts |= {f"{own}-copy": text for own, text in texts.items()}
    mining = Mining(reranker=reader, reranker_threshold=threshold)
    found = mine(science, some, mining)
    assert len(reader.read) == 20
    kept_back = [each for each in found.suspects if each.reason == "reranker"]
    assert kept_back
    for example in some:
        scores = [Overlap.score(example.query, texts[own]) for own in example.positives]
        limit = min(max(scores), threshold if threshold is not None else 1)
        for each in found[example.query_id]:
            if each.source != "random":
                assert Overlap.score(example.query, texts[each.id]) < limit
        for each in kept_back:
            if each.query_id == example.query_id:
                assert each.score == Overlap.score(example.query, texts[each.id]) >= limit
                assert each.positive_score == max(scores)


def test_turnover_is_the_share_of_what_is_gone():
    one, two, three = (Negative(each, "dense") for each in "abc")
    before = MinedNegatives({"q": (one, two), "r": (three,), "s": (one,)})
    after = {"q": (two, three), "r": (Negative("c", "random"),)}
    assert turnover(before, after) == pytest.approx(1 / 3)
    assert turnover(before, before) == turnover({}, after) == 0.0


def rows_of(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.split("\n")[:-1]]
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


def decide(path, decisions):
    """Fill in verdicts as a person would, who sees ids and texts."""
    rows = rows_of(path)
    for row in rows:
        row["verdict"] = decisions.get((row["query_id"], row["id"]), row["verdict"])
    with path.open("w", encoding="utf-8-sig", newline="") as file:  # as spreadsheets save
        if path.suffix == ".jsonl":
            file.writelines(json.dumps(row) + "\n" for row in rows)
            return
        writer = csv.DictWriter(file, rows[0], delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv"])
def test_an_audit_has_what_a_person_needs_and_brings_back_what_it_decides(
    tmp_path, mined, asked, science, passages, suffix
):
    path = tmp_path / f"audit{suffix}"
    write_audit(path, mined, asked, science)
    rows = rows_of(path)
    assert len(rows) == len(mined.suspects)
    assert {row["reason"] for row in rows} == {"near-duplicate", "reranker", "above-margin"}
    for row in rows:
        passage = next(each for each in passages if each.id == row["id"].removesuffix("-copy"))
        whole = " ".join(f"{passage.title} {passage.text}".split())
        assert whole.startswith(row["text"])
        assert len(row["text"]) >= min(len(whole), 200)
        assert row["query"] == asked.queries[row["query_id"]]
        assert row["verdict"] == ""
    for reason in ("near-duplicate", "reranker", "above-margin"):
        own = [
            float(each["score"]) - float(each["positive_score"])
            for each in rows
            if each["reason"] == reason
        ]
        assert own == sorted(own, reverse=True)
    assert read_audit(path) == {}
    first, second = rows[0], rows[-1]
    decided = {
        (first["query_id"], first["id"]): " Positive",
        (second["query_id"], second["id"]): "negative",
    }
    decide(path, decided)
    verdicts = read_audit(path)
    assert verdicts[first["query_id"]][first["id"]] == "positive"
    assert verdicts[second["query_id"]][second["id"]] == "negative"
    assert sum(map(len, verdicts.values())) == 2
    again = with_verdicts(asked, verdicts)
    assert again.qrels[first["query_id"]][first["id"]] == 1
    assert again.qrels[second["query_id"]][second["id"]] == 0
    remined = mine(science, again, Mining(reranker=Overlap()))
    assert Negative(second["id"], "given") in remined[second["query_id"]]
    settled = {(row["query_id"], row["id"]) for row in (first, second)}
    assert not settled & {(each.query_id, each.id) for each in remined.suspects}
    with pytest.raises(InputError, match="already, and verdicts"):
        write_audit(path, mined, asked, science)


AWKWARD = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8
)


@given(st.lists(st.tuples(AWKWARD, AWKWARD), min_size=1, max_size=4, unique_by=lambda each: each))
def test_any_ids_come_back_as_they_were(tmp_path_factory, science, pairs):
    queries = {query_id: "calcium" for query_id, _ in pairs}
    examples = [Example(text, ("x" * 9,), query_id=own) for own, text in queries.items()]
    suspects = [Suspect(*pair, "above-margin", 0.5, None) for pair in pairs]
    mined = MinedNegatives(dict.fromkeys(queries, ()), tuple(suspects))
    for suffix in (".jsonl", ".csv", ".tsv"):
        path = tmp_path_factory.mktemp("audit") / f"audit{suffix}"
        write_audit(path, mined, TrainingSet(tuple(examples)), science)
        decide(path, dict.fromkeys(pairs, "negative"))
        found = {(q, own) for q, each in read_audit(path).items() for own in each}
        assert found == set(pairs)


def test_a_verdict_moves_a_passage_and_keeps_the_rest():
    example = Example("q", ("a",), ("b", "c"), weight=2.0, source="clicks", grades=(3,))
    other = Example("r", ("a",))
    before = TrainingSet((example, other), (Passage("text", "a"),))
    after = with_verdicts(before, {"q": {"b": "positive", "d": "positive", "e": "negative"}})
    assert after.examples == (
        Example("q", ("a", "b", "d"), ("c", "e"), 2.0, "clicks", grades=(3, 1, 1)),
        other,
    )
    assert after.passages == before.passages
    assert with_verdicts(after, {"q": {"b": "positive", "e": "negative"}}) == after
    with pytest.raises(InputError, match="'a' is decided to be a negative.*'q'"):
        with_verdicts(before, {"q": {"a": "negative"}})
    with pytest.raises(InputError, match="'s', which is not in the training set"):
        with_verdicts(before, {"s": {"a": "positive"}})
    with pytest.raises(InputError, match="'maybe'"):
        with_verdicts(before, {"q": {"d": "maybe"}})


def test_the_suspected_share_is_of_all_that_was_judged():
    taken = (Negative("a", "given"), Negative("b", "dense", 1, 0.5), Negative("c", "random"))
    suspects = (Suspect("q", "d", "reranker", 1.0, 0.5),) * 2
    assert suspected_share(MinedNegatives({"q": taken}, suspects)) == 0.5
    assert suspected_share(MinedNegatives({"q": ()})) == 0.0


def test_what_cannot_be_read_is_refused_by_line(tmp_path, science, asked):
    def told(name, text, message, error=CorpusError):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        with pytest.raises(error, match=message):
            read_audit(path)

    head = "query_id,id,verdict\n"
    told("a.csv", head + "q,a,\nq,b,perhaps\n", "line 3: the verdict is 'perhaps'")
    told("a.csv", head + "q,a,positive\nq,a,negative\n", "line 3.*negative.*and positive before")
    told("a.csv", head + ",a,positive\n", "line 2: 'query_id' is an id")
    told("a.tsv", head, "line 1: there is no column")
    told("b.csv", "", "no column")
    told("a.jsonl", '{"query_id": "q", "id": 5, "verdict": "positive"}', "line 1: 'id'")
    told("a.jsonl", "{", "line 1: not JSON")
    told("a.xlsx", "", ".jsonl, .csv or .tsv", InputError)
    (tmp_path / "c.csv").write_bytes(b"query_id,id,verdict\n\xff,a,b\n")
    with pytest.raises(CorpusError, match="can't be read"):
        read_audit(tmp_path / "c.csv")
    with pytest.raises(CorpusError, match="no file"):
        read_audit(tmp_path / "none.csv")
    strange = MinedNegatives({}, (Suspect("else", "a", "reranker", 1.0, None),))
    with pytest.raises(InputError, match="'else' has suspects"):
        write_audit(tmp_path / "d.csv", strange, asked, science)
    assert not (tmp_path / "d.csv").exists()
