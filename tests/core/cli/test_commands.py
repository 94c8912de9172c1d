"""The command line, as a person and a machine meet it."""

import gzip
import json
import subprocess
import sys
from itertools import pairwise

import ir_measures
import pytest
from typer.testing import CliRunner

from twofold.cli import app

RECORDS = [
    {
        "_id": "1",
        "title": "Photosynthesis",
        "text": "Plants make glucose from light.",
        "metadata": {"year": 2020},
    },
    {"_id": "2", "title": "", "text": "Grandmother's garden is full of plants.", "year": 2021},
    {"_id": 3, "text": "The printing press was made in Mainz."},
]
QUERIES = [
    {"_id": "q1", "text": "plants light"},
    {"_id": "q2", "text": "printing"},
    {"_id": "q3", "text": "x"},
]


@pytest.fixture
def beir(tmp_path):
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    lines = "\n".join(json.dumps(record) for record in RECORDS)
    with gzip.open(folder / "corpus.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write(lines + "\n\n")
    (folder / "queries.jsonl").write_text("\n".join(json.dumps(each) for each in QUERIES))
    (folder / "qrels" / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\nq1\t1\t2\nq1\t2\t1\nq2\t3\t1\n"
    )
    return folder


def run(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.fixture
def built(beir, tmp_path):
    result = run("index", beir, "--to", tmp_path / "i", "--encoder", "hashing", "--json")
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert (summary["added"], summary["passages"]) == (3, 3)
    assert summary["modes"] == ["hybrid", "dense", "lexical"]
    return tmp_path / "i"


def test_search_as_json_and_as_table(built):
    result = run("search", built, "plants light", "-k", 2, "--json")
    found = json.loads(result.stdout)
    assert [hit["id"] for hit in found["hits"]] == ["1", "2"]
    assert found["hits"][0]["metadata"] == {"year": 2020}
    assert set(found["hits"][0]["legs"]) == {"dense", "lexical"}
    assert found["legs_used"] == ["dense", "lexical"]
    assert "reason" not in found["hits"][0]
    explained = json.loads(run("search", built, "plants light", "--explain", "--json").stdout)
    assert explained["hits"][0]["terms"][0]["term"] == "light"
    table = run("search", built, "plants light", "--explain").stdout
    assert "Photosynthesis" in table
    assert "1st by meaning" in " ".join(table.split())
    lexical = json.loads(run("search", built, "plants", "--mode", "lexical", "--json").stdout)
    assert {hit["id"] for hit in lexical["hits"]} == {"1", "2"}
    where = '{"year": {"$gt": 2020}}'
    assert [
        h["id"]
        for h in json.loads(run("search", built, "plants", "--where", where, "--json").stdout)[
            "hits"
        ]
    ] == ["2"]
    assert "nothing found" in run("search", built, "zzz", "--mode", "lexical").stdout


def test_eval_equals_ir_measures_own(built, beir):
    options = ("--queries", beir / "queries.jsonl", "--qrels", beir / "qrels/test.tsv")
    result = json.loads(run("eval", built, *options, "--json").stdout)
    assert set(result) == {"hybrid", "dense", "lexical", "comparison"}
    hits = {
        q["_id"]: json.loads(run("search", built, q["text"], "-k", 100, "--json").stdout)["hits"]
        for q in QUERIES[:2]
    }
    scored = [
        ir_measures.ScoredDoc(query_id, hit["id"], hit["score"])
        for query_id, found in hits.items()
        for hit in found
    ]
    qrels = list(ir_measures.read_trec_qrels("q1 0 1 2\nq1 0 2 1\nq2 0 3 1\n"))
    wanted = ir_measures.calc_aggregate([ir_measures.nDCG @ 10, ir_measures.AP], qrels, scored)
    assert result["hybrid"]["measures"]["nDCG@10"] == pytest.approx(wanted[ir_measures.nDCG @ 10])
    assert result["hybrid"]["measures"]["AP"] == pytest.approx(wanted[ir_measures.AP])
    assert result["hybrid"]["queries"] == 2
    one = run("eval", built, *options, "--mode", "dense", "--measure", "P@1")
    assert "P@1" in one.stdout
    assert "lexical" not in one.stdout


def test_verify_says_damage_with_exit_code_1(built):
    assert "all as written" in run("verify", built, "--deep").stdout
    report = json.loads(run("verify", built, "--json").stdout)
    assert report["ok"]
    vectors = next((built / "vectors").iterdir())
    data = bytearray(vectors.read_bytes())
    data[40] ^= 1
    vectors.write_bytes(data)
    result = run("verify", built)
    assert result.exit_code == 1
    assert "not those that were written" in result.stdout
    assert not json.loads(run("verify", built, "--json").stdout)["ok"]
    (built / "HEAD").write_bytes(b"x")
    result = run("verify", built)
    assert result.exit_code == 1
    assert result.stderr.startswith("damage: ")


def test_indexing_again_changes_nothing_and_updates_are_counted(built, beir, tmp_path):
    again = json.loads(run("index", beir, "--to", built, "--json").stdout)
    assert (again["added"], again["updated"], again["unchanged"]) == (0, 0, 3)
    lines = tmp_path / "more.jsonl"
    lines.write_text('{"id": "2", "text": "changed"}\n{"id": "4", "text": "new"}')
    more = json.loads(run("index", lines, "--to", built, "--json").stdout)
    assert (more["added"], more["updated"], more["passages"]) == (1, 1, 4)
    assert (
        "4 passages (0 added, 0 updated, 0 removed, 2 unchanged)"
        in run("index", lines, "--to", built).stdout
    )


def test_a_folder_of_text_and_markdown(tmp_path):
    folder = tmp_path / "docs"
    (folder / "sub").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "no.md").write_text("hidden words")
    sentences = [f"Sentence number {n} speaks of topic{n}." for n in range(60)]
    (folder / "sub" / "long.txt").write_text(
        " ".join(sentences[:30]) + "\n\n" + " ".join(sentences[30:])
    )
    (folder / "guide.md").write_text("# The Guide\n\nSome *marked* text.\n\n## Part\n\nMore.\n")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    options = (
        "--to",
        tmp_path / "i",
        "--encoder",
        "none",
        "--size",
        400,
        "--overlap",
        80,
        "--json",
    )
    result = run("index", folder, *options)
    assert result.exit_code == 0, result.stderr
    found = json.loads(run("search", tmp_path / "i", "topic47", "--json").stdout)["hits"]
    text = (folder / "sub" / "long.txt").read_text()
    assert found
    for hit in found:
        place = hit["metadata"]
        assert place["source"] == "sub/long.txt"
        assert text[place["start"] : place["end"]] == hit["text"]
        assert len(hit["text"]) <= 400
        assert hit["text"].startswith("Sentence")
    guide = json.loads(run("search", tmp_path / "i", "marked", "--json").stdout)["hits"][0]
    assert (guide["id"], guide["title"]) == ("guide.md#0", "The Guide")
    assert not json.loads(run("search", tmp_path / "i", "hidden", "--json").stdout)["hits"]
    neighbours = json.loads(run("search", tmp_path / "i", "sentence", "-k", 99, "--json").stdout)[
        "hits"
    ]
    spans = sorted((hit["metadata"]["start"], hit["metadata"]["end"]) for hit in neighbours)
    assert any(start < end for (_, end), (start, _) in pairwise(spans))


def test_a_file_that_got_shorter_leaves_no_parts_behind(tmp_path):
    file = tmp_path / "docs" / "a.txt"
    file.parent.mkdir()
    file.write_text(" ".join(f"Sentence {n} is here." for n in range(60)))
    options = ("--to", tmp_path / "i", "--encoder", "none", "--size", 200, "--json")
    first = json.loads(run("index", file.parent, *options).stdout)
    file.write_text("Sentence 0 is here.")
    (file.parent / "b.txt").write_text("Another file.")
    second = json.loads(run("index", file.parent, *options).stdout)
    assert (second["added"], second["passages"]) == (1, 2)
    assert second["removed"] == first["passages"] - 1


def write(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_errors_name_what_and_where_and_leave_the_index(built, beir, tmp_path):
    good = json.dumps({"id": "9", "text": "good"})
    cases = [
        (
            ("index", write(tmp_path / "a.jsonl", f"{good}\n{{oops\n"), "--to", built),
            "a.jsonl, line 2: not JSON",
        ),
        (
            ("index", write(tmp_path / "b.jsonl", f"{good}\n[1]"), "--to", built),
            "line 2: must be a JSON object",
        ),
        (
            ("index", write(tmp_path / "c.jsonl", f"{good}\n{good}"), "--to", built),
            "'9' is given twice",
        ),
        (
            ("index", write(tmp_path / "d.jsonl", '{"id": "9"}'), "--to", built),
            "line 1: 'text' must be a string",
        ),
        (("index", write(tmp_path / "e.xml", "x"), "--to", built), "is not a corpus"),
        (("index", tmp_path / "missing", "--to", built), "there is no corpus"),
        (("index", beir, "--to", beir), "is a folder but not an index"),
        (("index", beir, "--to", built, "--encoder", "none"), "encoder='hashing' and opened with"),
        (("index", beir, "--to", tmp_path / "j", "--metric", "l1"), "unknown metric 'l1'"),
        (("search", tmp_path / "missing", "x"), "there is no index at"),
        (("search", beir, "x"), "not an index"),
        (("search", built, "x", "-k", 0), "k must be an integer >= 1, got 0"),
        (("search", built, "x", "--where", "{"), "--where must be JSON"),
        (("search", built, "x", "--where", '{"a": {"$b": 1}}'), "unknown operator '$b'"),
        (
            ("eval", built, "--queries", tmp_path / "no", "--qrels", beir / "qrels/test.tsv"),
            "there is no file",
        ),
        (
            (
                "eval",
                built,
                "--queries",
                beir / "queries.jsonl",
                "--qrels",
                write(tmp_path / "q.tsv", "a\tb\n"),
            ),
            "q.tsv, line 1: expected query, passage and grade",
        ),
        (
            (
                "eval",
                built,
                "--queries",
                beir / "queries.jsonl",
                "--qrels",
                beir / "qrels/test.tsv",
                "--measure",
                "Goodness",
            ),
            "unknown measure 'Goodness'",
        ),
        (("verify", beir), "not an index"),
    ]
    for arguments, words in cases:
        result = run(*arguments)
        assert result.exit_code == 2, (arguments, result.output)
        assert words in result.stderr, (words, result.stderr)
        assert result.stdout == ""
    assert json.loads(run("verify", built, "--json").stdout)["passages"] == 3
    broken = beir / "broken.jsonl.gz"
    broken.write_bytes((beir / "corpus.jsonl.gz").read_bytes()[:-12])
    assert "can't be read after line" in run("index", broken, "--to", built).stderr
    latin = tmp_path / "latin.jsonl"
    latin.write_bytes('{"id": "9", "text": "caf\xe9"}'.encode("latin-1"))
    assert "line 1: not UTF-8" in run("index", latin, "--to", built).stderr


def test_python_m_twofold(built):
    command = [sys.executable, "-m", "twofold", "search", str(built), "plants", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert len(json.loads(done.stdout)["hits"]) == 3
    failed = subprocess.run(
        [*command[:4], "nowhere", "x"], capture_output=True, text=True, check=False
    )
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: there is no index at")
    assert "nowhere" in failed.stderr


def test_scoring_functions_and_their_parameters(built):
    def best(*options):
        result = run("search", built, "plants light", "--mode", "lexical", "--json", *options)
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)["hits"][0]["score"]

    scores = {best(), best("--k1", 0.5), best("--b", 0), best("--scoring", "bm25+", "--delta", 2)}
    assert len(scores | {best("--scoring", "tfidf")}) == 5
    for options, message in (
        (("--k1", -1), "k1 must be a number >= 0, got -1.0"),
        (("--b", 2), "b must be a number >= 0 and <= 1"),
        (("--delta", 1), "scorer 'lucene' takes only k1, b, got 'delta'"),
        (("--scoring", "tfidf", "--k1", 1), "takes only sublinear, got 'k1'"),
        (("--scoring", "bm26"), "got 'bm26'; did you mean"),
    ):
        result = run("search", built, "plants", *options)
        assert result.exit_code == 2
        assert message in result.stderr
    judged = ("--queries", built.parent / "beir" / "queries.jsonl")
    judged += ("--qrels", built.parent / "beir" / "qrels" / "test.tsv")
    for options in ((), ("--scoring", "robertson", "--k1", 0.9)):
        result = run("eval", built, *judged, "--mode", "lexical", "--json", *options)
        assert json.loads(result.stdout)["lexical"]["measures"]["nDCG@10"] == 1


def test_analyzers_and_reanalysing(beir, tmp_path):
    target = tmp_path / "german"
    options = ("--encoder", "none", "--analyzer", "de", "--title-weight", 3, "--json")
    assert run("index", beir, "--to", target, *options).exit_code == 0
    found = json.loads(run("search", target, "Photosynthesis", "--explain", "--json").stdout)
    assert found["hits"][0]["terms"][0]["frequency"] == 3
    again = run("index", beir, "--to", target, "--analyzer", "english")
    assert again.exit_code == 2
    assert "analyzer 'german'" in again.stderr
    result = run("reanalyze", target, "en", "--title-weight", 0, "--json")
    assert json.loads(result.stdout)["passages"] == 3
    assert json.loads(run("search", target, "Photosynthesis", "--json").stdout)["hits"] == []
    assert run("verify", target, "--deep").exit_code == 0
    for wrong, message in (("xx", "unknown analyzer"), ("os:system", "standard library")):
        result = run("reanalyze", target, wrong)
        assert result.exit_code == 2
        assert message in result.stderr
    assert run("reanalyze", tmp_path / "nowhere", "en").exit_code == 2
    missing = run("index", beir, "--to", tmp_path / "x", "--analyzer", "none", "--encoder", "none")
    assert missing.exit_code == 2


def test_the_words_that_matched_are_underlined(built):
    command = [sys.executable, "-m", "twofold", "search", str(built), "plants", "-k", "1"]
    result = subprocess.run(
        command, capture_output=True, text=True, check=True, env={"FORCE_COLOR": "1", "PATH": ""}
    )
    assert "\x1b[4mPlants\x1b[0m" in result.stdout


def test_copy(built, tmp_path):
    target = tmp_path / "copy"
    assert "passages copied" in run("copy", built, "--to", target).output
    assert json.loads(run("verify", target, "--deep", "--json").stdout)["ok"]
    again = run("copy", built, "--to", target)
    assert again.exit_code == 2
    assert "is not empty" in again.stderr
    assert run("copy", built, "--to", target, "--overwrite").exit_code == 0
    assert "is the index itself" in run("copy", built, "--to", built, "--overwrite").stderr


def test_windows_of_long_passages(tmp_path):
    lines = tmp_path / "long.jsonl"
    long = "plants make food. " * 100
    lines.write_text(json.dumps({"id": "1", "text": long}) + '\n{"id": "2", "text": "short"}')
    index = tmp_path / "i"
    made = run("index", lines, "--to", index).stdout
    assert "1 texts are longer than the encoder reads and were also encoded in windows" in made
    vectors = json.loads(run("verify", index, "--json").stdout)["vectors"]
    assert vectors == 5  # of "short"; of the long one's beginning, 0 to 200, 150 to 350, 300 to 400
    assert "best window: tokens " in run("search", index, "plants", "--explain").stdout
    none = json.loads(
        run("reencode", index, "all-MiniLM-L6-v2", "--windows", "none", "--json").stdout
    )
    assert none["encoded"] == 2
    assert json.loads(run("verify", index, "--json").stdout)["vectors"] == 2
    assert "window" not in run("search", index, "plants", "--explain").stdout
    run("reencode", index, "all-MiniLM-L6-v2", "--windows", "100")
    assert json.loads(run("verify", index, "--json").stdout)["vectors"] > vectors


@pytest.mark.parametrize("windows", ["many", "-5", "0", "1.5", "", "9" * 5000])
def test_bad_windows(tmp_path, windows):
    lines = tmp_path / "l.jsonl"
    lines.write_text('{"id": "1", "text": "short"}')
    result = run("index", lines, "--to", tmp_path / "i", f"--windows={windows}")
    assert result.exit_code == 2
    assert "--windows must be 'auto', 'none' or a number of tokens" in result.stderr
    assert not (tmp_path / "i").exists()


def test_passages_are_deleted_by_id_filter_and_source(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / f"{name}.txt").write_text(f"The text of {name}.")
    index = tmp_path / "i"
    assert run("index", folder, "--to", index, "--encoder", "none").exit_code == 0

    def delete(*options):
        return json.loads(run("delete", index, *options, "--json").stdout)

    assert delete("--source", "a.txt") == {"deleted": 1, "passages": 2}
    assert delete("--source", "a.txt") == {"deleted": 0, "passages": 2}
    found = json.loads(run("search", index, "text", "--json").stdout)["hits"]
    assert sorted(hit["metadata"]["source"] for hit in found) == ["b.txt", "c.txt"]
    ids = [hit["id"] for hit in found]
    assert delete("--id", ids[0], "--id", "unknown", "--where", '{"source": "x"}')["deleted"] == 0
    assert delete("--id", ids[0], "--id", "unknown") == {"deleted": 1, "passages": 1}
    shown = run("delete", index, "--where", "{}").stdout
    assert "1 passages deleted, 0 left" in shown


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "delete takes --id, --where or --source"),
        (("--where", "{year}"), "--where must be JSON"),
        (("--where", '{"$x": 1}'), "$x"),
        (("--id", "1", "--wait", "-1"), "wait must be a number of seconds >= 0"),
    ],
)
def test_what_delete_refuses(built, options, message):
    result = run("delete", built, *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert json.loads(run("verify", built, "--json").stdout)["passages"] == 3
