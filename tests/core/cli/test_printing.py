"""Whatever the data holds, the command line prints it on every terminal, and obeys none of it."""

import json
import os
import platform
import pty
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from typer.testing import CliRunner

import twofold
from twofold.cli import app
from twofold.cli.console import print_error, print_result
from twofold.cli.escaping import escape_controls, escape_json

OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
ODD = "a\x1b[31mred\x1b[0m\x07 \x9b2J\x85 \u202eback\u2069 \u200fr \x00 \u2028 \u20ac \U0001f600"
PASSAGES = [
    {"_id": f"one {ODD}", "title": f"T {ODD}", "text": f"apple {ODD}", "metadata": {"m": ODD}},
    {"_id": "two", "text": "apple pear :bomb: [bold]x[/bold]", "metadata": {f"k {ODD}": [ODD]}},
]


def run(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An index of passages with odd texts, their queries and judgments, and oddly named files."""
    folder = tmp_path_factory.mktemp("odd")
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, PASSAGES)))
    query = {"_id": f"q {ODD}", "text": f"pear {ODD}"}
    (folder / "queries.jsonl").write_text(json.dumps(query) + '\n{"_id": "q2", "text": "apple"}')
    judged = f"{query['_id']}\ttwo\t1\nq2\ttwo\t1\n"
    (folder / "qrels.tsv").write_text(judged, encoding="utf-8")
    done = run("index", folder, "--to", folder / "i", "--encoder", "hashing")
    assert done.exit_code == 0, done.output
    return folder


def verbs(files):
    index = files / "i"
    judged = ("--queries", files / "queries.jsonl", "--qrels", files / "qrels.tsv")
    odd = files / "no \x1b[31m\u202e\nerror: file"
    return {
        "search": ("search", index, "apple"),
        "explain": ("search", index, "apple pear", "--explain"),
        "why-not": ("search", index, "pear", "--why-not", PASSAGES[0]["_id"], "-k", 1),
        "eval": ("eval", index, *judged, "--per-query", "-"),
        "profiles": ("profiles", index, *judged),
        "verify": ("verify", index, "--deep"),
        "no index": ("search", odd, "apple"),
        "no corpus": ("index", odd, "--to", index),
        "no queries": ("eval", index, "--queries", odd, "--qrels", files / "qrels.tsv"),
        "no profile": ("profiles", index, "--use", ODD),
        "no command": (f"verb{ODD}",),
        "no option": ("search", f"--{ODD}"),
        "more arguments": ("verify", index, ODD),
        "no number": ("search", index, "apple", "-k", ODD),
    }


@pytest.mark.parametrize("verb", verbs(Path()))
def test_no_control_character_reaches_the_terminal(files, verb):
    done = run(*verbs(files)[verb])
    assert done.exit_code == (2 if verb.startswith(("no", "more")) else 0), done.output
    assert not set(OBEYED.findall(done.stdout + done.stderr)) - (
        {"\t"} if verb == "eval" else set()
    )
    assert "Traceback" not in done.stderr
    if verb == "search":
        assert r"one a\x1b[31mred" in done.stdout
        assert ":bomb: [bold]x[/bold]" in done.stdout
    if verb == "no corpus":
        # A line break in a file's name starts no line that looks like one of ours.
        assert [line for line in done.stderr.splitlines() if not line.startswith("  ")] == [
            done.stderr.splitlines()[0]
        ]


def test_json_has_controls_escaped_and_parses_to_the_same(files):
    done = run("search", files / "i", "apple", "--json")
    assert not OBEYED.findall(done.stdout)
    found = {hit["id"]: hit for hit in json.loads(done.stdout)["hits"]}
    for passage in PASSAGES:
        hit = found[passage["_id"]]
        assert (hit["text"], hit["metadata"]) == (passage["text"], passage["metadata"])


@given(st.text(st.characters()))
def test_any_text_is_escaped(text):
    escaped = escape_controls(text)
    assert not OBEYED.search(escaped)
    assert "\n" not in escaped
    escaped.encode()
    printed = escape_json(json.dumps({"a": text}, ensure_ascii=False))
    assert json.loads(printed) == {"a": text}
    assert not OBEYED.search(printed)
    printed.encode()


@pytest.mark.parametrize(
    "text",
    [
        "\u0928\u0939\u0940\u0902",
        "\u05e9\u05dc\u05d5\u05dd",
        "\U0001f468\u200d\U0001f469",
        "a\u00a0b",
    ],
)
def test_plain_text_stays_as_it_is(text):
    assert escape_controls(text) == text


def test_tables_and_messages_that_escape_nothing_themselves_are_escaped(capsys):
    table = Table("head\x1b[1m")
    table.add_row("cell\x9b \u202e")
    print_result(False, None, table, "line\x1b one\nline two")
    print_error("error", "first\x1b\nerror: second")
    shown = capsys.readouterr()
    assert not OBEYED.findall(shown.out + shown.err)
    assert "line\\x1b one\nline two\n" in shown.out
    assert shown.err == "error: first\\x1b\n  error: second\n"


ENCODINGS = [
    {"PYTHONIOENCODING": "latin-1"},
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "cp437", "LC_ALL": "C"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]


def command(environment, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "twofold", *map(str, arguments)],
        capture_output=True,
        check=False,
        env={**os.environ, **environment},
    )
    assert b"Traceback" not in done.stderr, done.stderr
    return done


@pytest.mark.parametrize("environment", ENCODINGS)
def test_every_terminal_gets_an_answer(files, environment):
    done = command(environment, "search", files / "i", "apple")
    assert done.returncode == 0
    assert rb"\U0001f600" in done.stdout
    done = command(environment, "search", files / "i", "apple", "--json")
    found = {hit["id"] for hit in json.loads(done.stdout)["hits"]}
    assert found == {passage["_id"] for passage in PASSAGES}
    done = command(environment, "verify", files / "no \u20ac \U0001f600")
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: there is no index at")


def test_a_fault_is_one_line_and_no_damage(tmp_path):
    """Here the fault is in an analyzer of the user's own; it has no exit code of damage."""
    (tmp_path / "odd_analyzer.py").write_text(
        "def analyze(text):\n    return [str(1 // (len(text) - 5))]\n"
    )
    (tmp_path / "c.jsonl").write_text('{"id": "1", "text": "apple"}')
    path = os.pathsep.join([str(tmp_path), *sys.path])
    options = ("--encoder", "none", "--analyzer", "odd_analyzer:analyze")
    done = command(
        {"PYTHONPATH": path}, "index", tmp_path / "c.jsonl", "--to", tmp_path / "i", *options
    )
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: ")
    assert b"ZeroDivisionError" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("where", ["[" * 100_000, '{"a":' * 100_000, "1" * 5000, "{", "NaN", "3"])
def test_a_filter_that_cannot_be_read_is_an_error(files, where):
    done = run("search", files / "i", "apple", "--where", where)
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr) < 500


@pytest.mark.parametrize(
    "arguments",
    [
        ("search", "i", "apple"),
        ("search", "i", "apple", "--json"),
        ("search", "none", "x"),
        ("--version",),
    ],
)
def test_a_reader_that_stops_early_is_no_damage(files, arguments):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "twofold", *arguments],
        stdout=writer,
        stderr=writer if "none" in arguments else subprocess.PIPE,
        check=False,
        cwd=files,
    )
    os.close(writer)
    assert done.returncode == 141
    assert not done.stderr


def test_versions_of_what_matters_are_printed():
    done = run("--version")
    lines = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert lines["twofold"] == version("twofold") == twofold.__version__
    assert lines["Python"].startswith(platform.python_version())
    for name in ("numpy", "faiss-cpu", "onnxruntime", "torch", "langchain-core"):
        assert lines[name] == version(name)


@pytest.mark.parametrize("quiet", [False, True])
def test_a_terminal_sees_that_a_model_is_loading(files, quiet):
    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "twofold", "search", "i", "apple"]
    child = subprocess.Popen(
        [*command, "--json"] if quiet else command,
        stdout=subprocess.DEVNULL,
        stderr=terminal,
        cwd=files,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(terminal)
    shown = b""
    try:
        while block := os.read(controller, 4096):
            shown += block
    except OSError:  # the child has ended
        pass
    os.close(controller)
    assert child.wait() == 0
    assert (b"loading the model" in shown) != quiet
    if quiet:
        assert shown == b""


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_without_standard_output_a_command_still_runs(files, options):
    shell = f"{sys.executable} -m twofold verify i {' '.join(options)} >&-"
    done = subprocess.run(shell, shell=True, capture_output=True, check=False, cwd=files)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device of Linux")
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_full_disk_is_an_error(files, options):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "twofold", "verify", "i", *options],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            cwd=files,
        )
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: [Errno 28]")
