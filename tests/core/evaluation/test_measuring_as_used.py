"""Evaluation: retrievers are measured as they are used, and bad input is said to be bad."""

import gzip
import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from twofold import Index, Retriever
from twofold.cli import app
from twofold.corpus import read_qrels, read_queries, read_run, write_qrels, write_run
from twofold.errors import CorpusError, DegradedWarning, InputError
from twofold.evaluation import compare, evaluate, evaluate_run, plot_differences
from twofold.fusion import EnsembleFusion, QueryFusion

QRELS = {"q": {"a": 1}}


class Gold:
    """Prefers texts with a word."""

    candidates, threshold = 3, None

    def __init__(self):
        self.read = []

    def rerank(self, queries, texts, progress=None):
        self.read += [len(each) for each in texts]
        return [np.array([float("gold" in text) for text in own]) for own in texts]


@pytest.fixture(scope="module")
def apples():
    """Passages that repeat a word less and less; the one with gold is the sixteenth."""
    with Index.open(None, encoder=None) as index:
        index.upsert(
            {"id": f"d{at:02}", "text": "apple " * (20 - at) + ("gold" if at == 15 else "x")}
            for at in range(20)
        )
        yield index


def test_a_reranker_reads_no_more_than_it_would(apples):
    retriever = Retriever(apples, mode="lexical", k=10, reranker=Gold())
    assert "d15" not in retriever.retrieve("apple").ids
    for k in (100, 10, 5):
        retriever.reranker.read.clear()
        found = evaluate(retriever, {"q": "apple"}, {"q": {"d15": 1}}, ["nDCG@5"], k=k)
        assert retriever.reranker.read == [10]
        assert found.measures["nDCG@5"] == 0
        assert list(found.run["q"]) == retriever.retrieve("apple").ids[:k]
    few = replace(retriever, k=2)
    assert len(evaluate(few, {"q": "apple"}, {"q": {"d15": 1}}, ["P@1"]).run["q"]) == 3


@pytest.mark.parametrize(
    "settings",
    [
        {"preset": "langchain"},
        {"preset": "llamaindex"},
        {"fusion": EnsembleFusion(0.7), "depth": 10},
        {"fusion": QueryFusion("relative_score"), "depth": 10},
    ],
)
def test_presets_are_asked_for_their_own_k(library, claims, settings):
    retriever = Retriever(library, k=10, **settings)
    queries = {f"q{at}": claim for at, claim in enumerate(claims[:10])}
    used = dict(zip(queries, retriever.retrieve_many(list(queries.values())), strict=True))
    judged = {each: {hits.ids[3]: 1} for each, hits in used.items()}
    with pytest.warns(DegradedWarning, match="R@100 see only the 10 hits.*retriever's own k"):
        found = evaluate(retriever, queries, judged, ["nDCG@10", "R@100"])
    for each, hits in used.items():
        assert found.run[each] == dict(zip(hits.ids, hits.scores.tolist(), strict=True))
    less = evaluate(retriever, queries, judged, ["nDCG@5"], k=5)
    assert all(list(less.run[each]) == hits.ids[:5] for each, hits in used.items())


def test_other_retrievers_are_asked_for_more(library, claims):
    found = evaluate(Retriever(library, k=1), {"q": claims[0]}, {"q": {"x": 0, "y": 0}}, ["P@5"])
    assert len(found.run["q"]) == 100


@pytest.mark.parametrize(
    "name",
    ["nDCG(foo=1)@10", "P(rel=0)@5", "nDCG@'a'", "nDCG@10.5", "P@99999999999999999999", None, 5,
     "nDCG(cutoff=None)", "RBP(p='a')", "nDCG", "P@True"],
)  # fmt: skip
def test_measures_that_cannot_be_taken_are_refused(name):
    if name == "nDCG":
        assert evaluate_run({"q": {"a": 1.0}}, QRELS, [name], name="x").measures == {"nDCG": 1}
        return
    with pytest.raises(InputError, match="measure|cutoff|rel"):
        evaluate_run({"q": {"a": 1.0}}, QRELS, [name], name="x")


@pytest.mark.parametrize("grade", [1.5, "1", None, 99999999999999999999, -(10**10)])
def test_grades_that_cannot_be_counted_are_refused(grade, library):
    for call in (
        lambda: evaluate_run({"q": {"a": 1.0}}, {"q": {"a": grade}}, ["AP"], name="x"),
        lambda: evaluate(Retriever(library), {"q": "cells"}, {"q": {"a": grade}}, ["AP"]),
    ):
        with pytest.raises(
            InputError, match="grade of passage .* must be an integer up to 1,000,000"
        ):
            call()


@pytest.mark.parametrize("score", ["x", None, float("nan"), float("inf"), True])
def test_scores_that_cannot_be_ranked_are_refused(score):
    with pytest.raises(InputError, match="the score of passage .* must be a finite number"):
        evaluate_run({"q": {"a": score}}, QRELS, ["AP"], name="x")
    with pytest.raises(InputError, match="must map query 'q' to scores by passage id"):
        evaluate_run({"q": ["a"]}, QRELS, ["AP"], name="x")


def test_judged_queries_without_a_text_are_counted(library, claims):
    judged = {"q": {"1": 0}, "gone": {"1": 1}, "too": {"2": 1}, "empty": {}}
    with pytest.warns(DegradedWarning) as said:
        assert evaluate(Retriever(library), {"q": claims[0]}, judged, ["P@5"]).queries == 1
    assert any("2 of 3 judged queries are not among the queries" in str(w.message) for w in said)


def test_a_mark_at_the_beginning_is_no_part_of_an_id(tmp_path):
    plain, packed = tmp_path / "q.tsv", tmp_path / "q.tsv.gz"
    plain.write_text("q1\tapple\nq2\tpear\n", encoding="utf-8-sig")
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    lines = tmp_path / "q.jsonl"
    lines.write_text('{"_id": "q1", "text": "apple"}\n', encoding="utf-8-sig")
    for path in (plain, packed, lines):
        assert next(iter(read_queries(path))) == "q1"
        assert read_queries(str(path)) == read_queries(path)
    qrels = tmp_path / "qrels"
    qrels.write_text("q1 0 d1 1\n", encoding="utf-8-sig")
    assert read_qrels(str(qrels)) == {"q1": {"d1": 1}}


def test_judgments_that_contradict_each_other_are_refused(tmp_path):
    path = tmp_path / "qrels.tsv"
    path.write_text("q1 0 d1 1\nq1 0 d2 1\nq1 0 d1 1\n")
    assert read_qrels(path) == {"q1": {"d1": 1, "d2": 1}}
    path.write_text("q1 0 d1 1\nq1 0 d2 1\nq1 0 d1 0\n")
    with pytest.raises(CorpusError, match="line 3: passage 'd1' has grade 0.*but 1 on an earlier"):
        read_qrels(path)


def test_paths_may_be_strings(tmp_path):
    write_qrels(str(tmp_path / "qrels"), QRELS)
    write_run(str(tmp_path / "run"), {"q": {"a": 0.5}}, "own")
    assert read_run(str(tmp_path / "run")) == {"q": {"a": 0.5}}
    results = [evaluate_run({"q": {each: 1.0}}, QRELS, ["AP"], name=each) for each in "ab"]
    plot_differences(compare(results, "AP"), str(tmp_path / "p.png"))
    assert (tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"


def run(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.fixture
def shelf(tmp_path, abstracts, claims):
    folder = tmp_path / "index"
    with Index.open(folder, encoder="hashing") as index:
        index.upsert({"id": each["_id"], "text": each["text"]} for each in abstracts[:120])
    lines = [json.dumps({"_id": f"q{at}", "text": claims[at]}) for at in range(24)]
    (tmp_path / "q.jsonl").write_text("\n".join(lines))
    rows = [f"q{at} 0 {abstracts[at]['_id']} 1\n" for at in range(24)]
    (tmp_path / "qrels").write_text("".join(rows))
    return folder, ("--queries", tmp_path / "q.jsonl", "--qrels", tmp_path / "qrels")


def test_a_weight_on_the_command_line_is_the_one_said(shelf):
    folder, _ = shelf
    query = "cells zebra lion tiger wolf bear"  # of which most are unknown, so that a guard shifts
    asked = ["search", folder, query, "-k", 1, "--weight", 0.4, "--json"]
    (hit,) = json.loads(run(*asked).stdout)["hits"]
    assert hit["legs"]["dense"]["weight"] == pytest.approx(0.4)
    (guarded,) = json.loads(run(*asked, "--fusion", "guarded").stdout)["hits"]
    assert guarded["legs"]["dense"]["weight"] != pytest.approx(0.4)


def test_why_nots_weight_brings_the_passage_in_on_the_command_line(shelf, abstracts):
    folder, _ = shelf
    query = "cells of the blood zebra lion tiger wolf"
    tried = 0
    with Index.open(folder, read_only=True) as index:
        hits = Retriever(index, k=3).retrieve(query)
        for each in abstracts[:120]:
            why = hits.why_not(each["_id"])
            weights = [changes for changes in why.changes if list(changes) == ["dense_weight"]]
            if not weights:
                continue
            asked = ["search", folder, query, "-k", 3, "--weight", repr(weights[0]["dense_weight"])]
            found = json.loads(run(*asked, "--json").stdout)["hits"]
            assert each["_id"] in [hit["id"] for hit in found]
            tried += 1
    assert tried


def test_bad_input_on_the_command_line_ends_with_2(shelf):
    folder, judged = shelf
    for arguments, words in (
        (("tune", folder, *judged, "--seed", -1), "seed must be an integer >= 0, got -1"),
        (("tune", folder, *judged, "--measure", "nDCG@10.5"), "unknown measure"),
        (
            ("tune", folder, *judged, "--name", "default"),
            "'default' is the name of the library's",
        ),
        (("tune", folder, *judged, "--name", ""), "1 to 100 printable"),
        (("search", folder, "x", "--why-not", "\udc80"), "half a surrogate pair"),
        (
            ("eval", folder, *judged, "--measure", "P(rel=0)@5"),
            "rel of 'P(rel=0)@5' must be an integer",
        ),
    ):
        result = run(*arguments)
        assert (result.exit_code, result.stdout) == (2, ""), result.output
        assert words in " ".join(result.stderr.split())
    folds = run("tune", folder, *judged, "--folds", 12, "--dry-run", "--json")
    assert folds.exit_code == 0, folds.output  # 24 queries, two in each


def test_a_run_that_is_called_as_a_mode_is_compared(shelf, tmp_path, monkeypatch):
    folder, judged = shelf
    monkeypatch.chdir(tmp_path)
    write_run("lexical", {f"q{at}": {"x": 1.0} for at in range(24)}, "own")
    result = run("eval", folder, *judged, "--against", "lexical", "--json", "--measure", "P@5")
    assert result.exit_code == 0, result.output
    others = json.loads(result.stdout)["comparison"]["differences"]
    assert [each["other"] for each in others] == ["dense", "lexical", "the run lexical"]
