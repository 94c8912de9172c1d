"""The commands that copy, back up, export, verify and repair an index."""

import json

import pytest
from typer.testing import CliRunner

from twofold import Index, Retriever
from twofold.cli import app

TEXTS = {"1": "Plants make glucose from light.", "2": "A garden is full.", "3": "\x1b[31m"}


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def run_json(*arguments):
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture
def built(tmp_path):
    with Index.open(tmp_path / "index", encoder="hashing") as index:
        index.upsert([{"id": name, "text": text} for name, text in TEXTS.items()])
    return tmp_path / "index"


def texts_of(folder):
    with Index.open(folder, create=False, read_only=True) as index:
        assert Retriever(index).retrieve("glucose").ids[0] == "1"
        return {passage.id: passage.text for passage in index}


def test_backup_and_restore(built, tmp_path):
    archive = tmp_path / "a.tar"
    assert run_json("backup", built, "--to", archive)["passages"] == 3
    with Index.open(built) as index:
        index.delete(["2"])
    shown = run("backup", built, "--to", archive)
    assert shown.stdout.startswith(f"{archive}: backup 2 of 20")
    assert [made["passages"] for made in run_json("restore", archive, "--list")] == [3, 2]
    listed = run("restore", archive, "--list").stdout.splitlines()
    assert listed[0] == f"{archive}: 2 backups"
    assert [line[:6] for line in listed[1:]] == ["  1 of", "  2 of"]
    assert run("restore", archive, "--to", tmp_path / "newest").exit_code == 0
    assert sorted(texts_of(tmp_path / "newest")) == ["1", "3"]
    assert run_json("restore", archive, "--to", tmp_path / "first", "--number", 1)["passages"] == 3
    assert texts_of(tmp_path / "first") == TEXTS
    for arguments, message in (
        (("--to", built), "is not empty"),
        ((), "needs --to DIR"),
        (("--to", tmp_path / "x", "--number", "3"), "has the backups 1 to 2"),
    ):
        result = run("restore", archive, *arguments)
        assert result.exit_code == 2
        assert message in result.stderr
    assert run("restore", archive, "--to", built, "--overwrite", "--number", 1).exit_code == 0
    assert texts_of(built) == TEXTS


def test_export_and_import(built, tmp_path):
    exported = tmp_path / "exported"
    assert run_json("export", built, "--to", exported)["vectors"] == 3
    assert sorted(path.name for path in exported.iterdir()) == [
        "corpus.jsonl",
        "export.json",
        "vectors.npy",
    ]
    assert run_json("import", exported, "--to", tmp_path / "imported")["passages"] == 3
    assert texts_of(tmp_path / "imported") == TEXTS
    result = run("export", built, "--to", tmp_path / "e", "--as", "onnx")
    assert result.exit_code == 2
    assert "are for models" in result.stderr
    assert run("import", built, "--to", tmp_path / "x").exit_code == 2
    with (exported / "corpus.jsonl").open("a") as file:
        file.write("\n")
    result = run("import", exported, "--to", tmp_path / "x")
    assert result.exit_code == 1
    assert result.stderr.startswith("damage: ")


def test_repair_says_what_was_lost_with_exit_code_1(built, tmp_path):
    report = run_json("repair", built, "--to", tmp_path / "same")
    assert (report["ok"], report["passages"], report["problems"]) == (True, 3, [])
    path = built / "catalog.sqlite"
    data = path.read_bytes()
    for text in ("A garden is", "[31m"):
        assert data.count(text.encode()) == 1
        data = data.replace(text.encode(), bytes(len(text)))
    path.write_bytes(data)
    assert run("verify", built).exit_code == 1
    result = run("repair", built, "--to", tmp_path / "saved")
    assert result.exit_code == 1
    first, *rest = result.stdout.splitlines()
    assert first == (
        f"{tmp_path / 'saved'}: 1 passages saved, 1 with a vector (0 encoded again); "
        "2 passages lost"
    )
    assert rest[-1] == "  lost: '2', '3'"
    assert texts_of(tmp_path / "saved") == {"1": TEXTS["1"]}
    assert path.read_bytes() == data
    report = json.loads(run("repair", built, "--to", tmp_path / "again", "--json").stdout)
    assert report["lost"] == ["2", "3"]
    result = run("repair", tmp_path / "nowhere", "--to", tmp_path / "x")
    assert result.exit_code == 2
