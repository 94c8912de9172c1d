"""Judgments of files, or of any metadata field, in place of passages."""

import json

import pytest
from typer.testing import CliRunner

from twofold import Index, Retriever, evaluate
from twofold.cli import app
from twofold.errors import DegradedWarning, InputError

TEXTS = {
    "tea.md": ["green tea steeps", "black tea steeps longer", "tea tea tea"],
    "coffee.md": ["coffee is ground", "a coffee and a tea"],
    "water.md": ["water boils"],
}


@pytest.fixture
def index(tmp_path):
    with Index.open(tmp_path / "i", encoder=None) as index:
        index.upsert(
            {"id": f"{source}#{n}", "text": text, "metadata": {"source": source, "year": n}}
            for source, texts in TEXTS.items()
            for n, text in enumerate(texts)
        )
        index.upsert([{"id": "bare", "text": "tea without a file"}])
        yield index


def test_files_are_judged_by_their_best_passage(index):
    retriever = Retriever(index, mode="lexical", k=2)
    queries = {"t": "tea", "c": "coffee ground", "w": "water"}
    qrels = {"t": {"coffee.md": 1}, "c": {"coffee.md": 2}, "w": {"water.md": 1}}
    found = evaluate(retriever, queries, qrels, ["RR@10", "R@10"], by="source")
    assert found.run["t"].keys() == {"tea.md", "coffee.md"}  # not "bare", and each file once
    assert found.measures == pytest.approx({"RR@10": (1 / 2 + 1 + 1) / 3, "R@10": 1.0})
    assert found.missing_relevant == 0
    scores = {hit.id: hit.score for hit in Retriever(index, mode="lexical", k=9).retrieve("tea")}
    best = max(score for name, score in scores.items() if name.startswith("tea.md"))
    assert found.run["t"]["tea.md"] == pytest.approx(best)


def test_another_field_and_what_no_passage_has(index):
    retriever = Retriever(index, mode="lexical")
    years = evaluate(retriever, {"t": "longer"}, {"t": {"1": 1}}, ["RR@10"], by="year")
    assert years.measures == {"RR@10": 1.0}
    with pytest.raises(InputError, match="no passage has the field 'sauce'"):
        evaluate(retriever, {"t": "tea"}, {"t": {"tea.md": 1}}, ["RR@10"], by="sauce")
    with pytest.warns(DegradedWarning, match="or of files \\(by='source', --by source\\)"):
        evaluate(retriever, {"t": "tea"}, {"t": {"tea.md": 1}}, ["RR@10"])
    with pytest.warns(DegradedWarning, match="1 of 1 relevant values of 'source'.*'milk.md'"):
        evaluate(retriever, {"t": "tea"}, {"t": {"milk.md": 1}}, ["RR@10"], by="source")


def test_the_command_judges_files(index, tmp_path):
    (tmp_path / "q.tsv").write_text("c\tcoffee ground\n")
    (tmp_path / "qrels.tsv").write_text("c\tcoffee.md\t1\n")
    command = ["eval", str(index.path), "--queries", str(tmp_path / "q.tsv"), "--by", "source"]
    command += ["--qrels", str(tmp_path / "qrels.tsv"), "--measure", "RR@10", "--json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["lexical"]["measures"] == {"RR@10": 1.0}
