"""``twofold eval``, as a person and a machine meet it."""

import json
import math
import subprocess
import sys
import warnings

import pytest
from typer.testing import CliRunner

from oracles import effectiveness
from twofold import Index, Retriever
from twofold.cli import app
from twofold.corpus import read_run, write_run
from twofold.evaluation import bootstrap_interval


def run(*arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("always")  # they are said on standard error
        return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.fixture(scope="module")
def collection(tmp_path_factory, abstracts, claims):
    """An index, queries, and judgments: what a leg found on its third place, or on its first."""
    folder = tmp_path_factory.mktemp("eval")
    with Index.open(folder / "papers", encoder="hashing") as index:
        index.upsert(
            {"id": each["_id"], "title": each["title"], "text": each["text"]}
            for each in abstracts[:200]
        )
        asked = claims[:20]
        words = Retriever(index, mode="lexical").retrieve_many(asked)
    lines = [json.dumps({"_id": f"q{place}", "text": text}) for place, text in enumerate(asked)]
    (folder / "queries.jsonl").write_text("\n".join(lines))
    qrels = [f"q{place}\t{hits.ids[place % 3]}\t1\n" for place, hits in enumerate(words)]
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(qrels))
    return folder


def options(folder):
    files = ("--queries", folder / "queries.jsonl", "--qrels", folder / "qrels.tsv")
    return ("eval", folder / "papers", *files)


def test_hybrid_is_compared_with_each_leg(collection):
    result = run(*options(collection), "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert list(found) == ["hybrid", "dense", "lexical", "comparison"]
    for mode in ("hybrid", "dense", "lexical"):
        assert found[mode]["queries"] == 20
        assert list(found[mode]["measures"]) == ["nDCG@10", "R@100", "RR@10", "AP"]
        for measure, mean in found[mode]["measures"].items():
            low, high = found[mode]["intervals"][measure]
            assert low <= mean <= high
        weak = list(found[mode]["warnings"].items())
        if mode == "hybrid":  # 256 hashed words a text
            ((said, count),) = weak
            assert "the dense leg is weak here" in said
            assert count == 20
        else:
            assert weak == []
        assert found[mode]["missing_relevant"] == 0
    comparison = found["comparison"]
    assert (comparison["measure"], comparison["subject"]) == ("nDCG@10", "hybrid")
    assert [each["other"] for each in comparison["differences"]] == ["dense", "lexical"]
    for each in comparison["differences"]:
        means = [found[mode]["measures"]["nDCG@10"] for mode in ("hybrid", each["other"])]
        assert each["mean"] == pytest.approx(means[0] - means[1])
        assert each["won"] + each["lost"] + each["tied"] == 20
        assert each["adjusted_p"] >= each["p"] > 0
        assert all(one["difference"] > 0 and one["text"] for one in each["most_won"])
        assert all(one["difference"] < 0 for one in each["most_lost"])
    assert comparison["differences"][0]["won"] > 3


def test_people_get_tables(collection):
    result = run(*options(collection))
    assert result.exit_code == 0, result.output
    words = " ".join(result.stdout.split())
    assert "20 queries nDCG@10 R@100 RR@10 AP" in words
    assert "nDCG@10, hybrid minus difference 95% interval p (Holm) won lost tied" in words
    assert "hybrid against dense query text" in words
    assert "hybrid: the dense leg is weak here" in result.stderr
    assert "(20 of 20 queries)" in " ".join(result.stderr.split())
    two = run(*options(collection), "--mode", "lexical", "--mode", "dense", "--measure", "P@5")
    assert "P@5, lexical minus" in two.stdout
    assert "hybrid" not in two.stdout
    assert "Holm" not in two.stdout
    assert "minus" not in run(*options(collection), "--mode", "lexical").stdout


def test_files_hold_what_was_measured(collection, tmp_path):
    result = run(
        *options(collection),
        *("--run", tmp_path / "found.run.gz"),
        *("--per-query", tmp_path / "values.tsv"),
        *("--report", tmp_path / "report.md"),
        *("--plot", tmp_path / "plot.png"),
        "--json",
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    grades = {}
    for line in (collection / "qrels.tsv").read_text().splitlines()[1:]:
        query, passage, grade = line.split("\t")
        grades[query] = {passage: int(grade)}
    head, *rows = [line.split("\t") for line in (tmp_path / "values.tsv").read_text().splitlines()]
    assert head == ["query", "system", "nDCG@10", "R@100", "RR@10", "AP", "text"]
    assert len(rows) == 60
    for mode in ("hybrid", "dense", "lexical"):
        hits = read_run(tmp_path / f"found-{mode}.run.gz")
        own = {row[0]: row for row in rows if row[1] == mode}
        assert set(own) == set(grades)
        for query, row in own.items():
            expected = effectiveness("nDCG@10", grades[query], hits.get(query, {}))
            assert float(row[2]) == pytest.approx(expected, abs=1e-6)
        values = [float(row[2]) for row in own.values()]
        interval = bootstrap_interval(values)
        assert found[mode]["intervals"]["nDCG@10"] == [interval.low, interval.high]
    page = (tmp_path / "report.md").read_text()
    assert page.startswith("# Retrieval from papers, measured\n")
    assert str(collection) not in page
    assert "20 judged queries, 200 passages" in page
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    single = run(*options(collection), "--mode", "dense", "--run", tmp_path / "one.run")
    assert single.exit_code == 0
    assert read_run(tmp_path / "one.run") == read_run(tmp_path / "found-dense.run.gz")
    printed = run(*options(collection), "--mode", "dense", "--per-query", "-", "--json")
    values = json.loads(printed.stdout)["dense"]["per_query"]
    assert values["q3"]["nDCG@10"] == float(next(r for r in rows if r[:2] == ["q3", "dense"])[2])
    lines = run(*options(collection), "--mode", "dense", "--per-query", "-").stdout.splitlines()
    assert lines[0].startswith("query\tsystem\tnDCG@10")
    assert sum(line.startswith("q") and "\tdense\t" in line for line in lines) == 20


def test_another_systems_run_is_compared(collection, tmp_path):
    assert run(*options(collection), "--mode", "lexical", "--run", tmp_path / "a").exit_code == 0
    same = read_run(tmp_path / "a")
    write_run(tmp_path / "none.run", {"q0": {"nobody": 1.0}, "unasked": {"x": 1.0}}, "none")
    arguments = ("--mode", "lexical", "--against", tmp_path / "a")
    arguments += ("--against", tmp_path / "none.run", "--measure", "AP", "--json")
    found = json.loads(run(*options(collection), *arguments).stdout)
    assert set(found) == {"lexical", "against", "comparison"}
    assert set(found["against"]) == {str(tmp_path / "a"), str(tmp_path / "none.run")}
    equal, better = found["comparison"]["differences"]
    assert (equal["mean"], equal["tied"], equal["p"], equal["queries_needed"]) == (0, 20, 1, None)
    assert better["mean"] == found["lexical"]["measures"]["AP"] > 0
    assert better["lost"] == 0 < better["won"]
    assert len(same) == 20


def test_what_makes_figures_poorer_is_said_aloud(collection, tmp_path):
    queries, qrels = tmp_path / "q.tsv", tmp_path / "r.tsv"
    queries.write_text("a\tzzzz\nb\tqqqq\n")
    qrels.write_text("a\tlost\t1\nb\tgone\t1\n")
    arguments = ("eval", collection / "papers", "--queries", queries, "--qrels", qrels)
    result = run(*arguments)
    assert result.exit_code == 0
    said = " ".join(result.stderr.split())
    assert "warning: 2 of 2 relevant passages (100.0%) are not in the index, such as 'lost'" in said
    assert "warning: lexical: the lexical leg found nothing" in said
    assert "(2 of 2 queries)" in said
    found = json.loads(run(*arguments, "-k", 20, "--json").stdout)
    assert found["hybrid"]["missing_relevant"] == 1
    assert list(found["lexical"]["warnings"].values()) == [2]
    command = [sys.executable, "-m", "twofold", *map(str, arguments), "-k", "20"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr.count("are not in the index") == 1  # once, not for each mode
    assert done.stderr.count("R@100 see only the 20 hits") == 1


def test_one_judged_query_is_measured_without_an_interval(collection, tmp_path):
    (tmp_path / "q.tsv").write_text("a\tcells\n")
    with Index.open(collection / "papers", create=False, read_only=True) as index:
        best = Retriever(index).retrieve("cells").ids[0]
    (tmp_path / "r.tsv").write_text(f"a\t{best}\t1\n")
    arguments = ("eval", collection / "papers", "--queries", tmp_path / "q.tsv")
    arguments += ("--qrels", tmp_path / "r.tsv")
    found = json.loads(run(*arguments, "--json").stdout, parse_constant=pytest.fail)
    assert found["hybrid"]["measures"]["nDCG@10"] == 1
    assert found["hybrid"]["intervals"]["nDCG@10"] == [None, None]
    assert not any(math.isinf(each["mean"]) for each in found["comparison"]["differences"])
    assert "inf" not in run(*arguments).stdout


def test_errors_say_what_is_wrong(collection, tmp_path):
    write_run(tmp_path / "other.run", {"elsewhere": {"x": 1.0}}, "other")
    for arguments, words in (
        (("--mode", "dense", "--plot", tmp_path / "p.png"), "give a second --mode, or --against"),
        (("--plot", tmp_path / "p.svg"), "must end in .png"),
        (("--against", tmp_path / "no.run"), "there is no file"),
        (("--against", tmp_path / "other.run"), "has none of the judged queries"),
        (("--report", tmp_path / "no" / "folder.md"), "there is no folder"),
        (("--run", tmp_path / "no" / "a.run"), "there is no folder"),
        (("--plot", tmp_path / "no" / "a.png"), "there is no folder"),
        (("--per-query", tmp_path), "it is a folder"),
        (("--measure", "nDCG@10.5"), "unknown measure 'nDCG@10.5'"),
        (("--measure", "P(rel=0)@5"), "the rel of 'P(rel=0)@5' must be an integer"),
    ):
        result = run(*options(collection), *arguments)
        assert result.exit_code == 2, result.output
        assert words in " ".join(result.stderr.split()), result.stderr
        assert result.stdout == ""
