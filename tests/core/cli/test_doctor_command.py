"""The command ``doctor``: exit codes, reports, bad input."""

import json

import pytest

from commands import command
from twofold import HashingEncoder, Index


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "index"
    with Index.open(path, encoder=HashingEncoder()) as index:
        index.upsert(
            {"id": f"{at}", "text": f"tea of kind {at} from hill {at * 7}", "metadata": {"y": at}}
            for at in range(30)
        )
    return path


def test_the_exit_code_says_whether_anything_was_found(folder, tmp_path):
    done = command("doctor", folder)
    assert (done.returncode, done.stdout[:11]) == (0, "30 passages")
    with Index.open(folder) as index:
        index.upsert([{"id": "<b>", "text": "coffee", "metadata": {"y": "3"}}])
    done = command("doctor", folder, "--html", tmp_path / "d.html", "--report", tmp_path / "d.md")
    assert done.returncode == 1
    assert "the field 'y' has 30 numbers, 1 strings" in done.stdout
    assert "What to do: store values of one type" in done.stdout
    assert "<code>&lt;b&gt;</code>" in (tmp_path / "d.html").read_text(encoding="utf-8")
    assert "### mixed-types" in (tmp_path / "d.md").read_text(encoding="utf-8")
    assert command("doctor", folder, "--fail-on", "error").returncode == 0
    assert command("doctor", folder, "--fail-on", "never").returncode == 0
    found = json.loads(command("doctor", folder, "--json").stdout)
    assert found["healthy"] is False
    assert found["findings"][0]["name"] == "mixed-types"


def test_queries_and_judgments_are_read(folder, tmp_path):
    (tmp_path / "q.tsv").write_text("1\ttea of kind 3\n2\tqwzyx\n")
    (tmp_path / "qrels.tsv").write_text("1\t3\t1\n1\tlost\t1\n")
    done = command(
        "doctor", folder, "--queries", tmp_path / "q.tsv", "--qrels", tmp_path / "qrels.tsv"
    )
    assert "1 of 2 relevant passages (50%) are not in the index" in done.stdout
    assert "1 of 2 queries (50%) share no word with any passage" in done.stdout
    assert done.returncode == 1


def test_bad_input_is_refused(folder, tmp_path):
    for arguments, message in (
        ((tmp_path / "none",), "there is no index"),
        ((folder, "--html", tmp_path), "it is a folder"),
        ((folder, "--limit", "0"), "limit must be an integer >= 1, got 0"),
        ((folder, "--queries", tmp_path / "none.tsv"), "none.tsv"),
    ):
        done = command("doctor", *arguments)
        assert done.returncode == 2
        assert message in done.stderr
        assert "Traceback" not in done.stderr
