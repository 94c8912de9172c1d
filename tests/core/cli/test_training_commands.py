"""``twofold train`` from every kind of file, and of every kind of model."""

import itertools
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from commands import command
from planted import NOUNS, secrets
from tiny_models import cross_encoder_folder, finished_folder, transformer_folder
from twofold import Index, Retriever
from twofold.cli import app
from twofold.corpus import Corpus

MORE = ("--batch", "16", "--learning-rate", "0.005", "--epochs", "8", "--patience", "8")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Passages, and what there is to learn from about them in every form."""
    folder = tmp_path_factory.mktemp("files")
    passages, learned = secrets()
    texts = {each["id"]: each["text"] for each in passages}

    def write(name, lines):
        (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    write("corpus.jsonl", (json.dumps({"_id": own, "text": text}) for own, text in texts.items()))
    write("queries.jsonl", (json.dumps({"_id": e.query_id, "text": e.query}) for e in learned))
    judged = (f"{each.query_id}\t{each.positives[0]}\t1" for each in learned)
    write("qrels.tsv", ["query-id\tcorpus-id\tscore", *judged])
    pairs = list(zip(learned, [*learned[1:], learned[0]], strict=True))
    write(
        "triples.tsv",
        (f"{a.query}\t{texts[a.positives[0]]}\t{texts[b.positives[0]]}" for a, b in pairs),
    )
    write("ids.tsv", (f"{a.query_id}\t{a.positives[0]}\t{b.positives[0]}" for a, b in pairs))
    records = (
        {"question": each.query, "positive_ctxs": [{"title": "", "text": texts[each.positives[0]]}]}
        for each in learned
    )
    write("dpr.jsonl", map(json.dumps, records))
    sessions = (
        {"query": a.query, "shown": [b.positives[0], a.positives[0]], "clicked": [a.positives[0]]}
        for a, b in pairs
        for _ in range(10)
    )
    write("clicks.jsonl", map(json.dumps, sessions))
    finished_folder(folder / "model", transformer_folder(folder / "plain"))
    cross_encoder_folder(folder / "cross")
    return folder


@pytest.mark.parametrize(
    "given",
    [
        ("--queries", "queries.jsonl", "--id-triples", "ids.tsv"),
        ("--triples", "triples.tsv"),
        ("--dpr", "dpr.jsonl"),
        ("--clicks", "clicks.jsonl", "--propensity", "0.5"),
    ],
)
def test_an_adapter_learns_from_every_kind_of_file(files, tmp_path, given):
    with Index.open(tmp_path / "i", encoder="hashing") as index:
        index.upsert(Corpus.from_path(files / "corpus.jsonl"))
    paths = [files / each if "." in each and each != "0.5" else each for each in given]
    train = ["train", tmp_path / "i", *paths, "--learning-rate", "0.01", "--json"]
    done = CliRunner().invoke(app, [str(each) for each in train])
    assert done.exit_code == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["queries"], said["accepted"], said["active"]) == (90, True, True)
    _, learned = secrets()
    # Texts came without the corpus's ids, and were found there.
    with Index.open(tmp_path / "i") as index:
        retriever = Retriever(index)
        # Hashed words know no order, so that two passages are alike.
        right = [e.positives[0] in retriever.retrieve(e.query, k=2).ids for e in learned]
    assert np.mean(right) > 0.8


def test_queries_made_of_passages_teach_beside_judged_ones(files, tmp_path):
    passages = [
        {"_id": f"p{n}", "title": f"{a} of {b}", "text": f"What a {a} is to a {b} is number {n}."}
        for n, (a, b) in enumerate(itertools.permutations(NOUNS.split(), 2))
    ]
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps(each) + "\n" for each in passages))
    with Index.open(tmp_path / "i", encoder="hashing") as index:
        index.upsert(Corpus.from_path(corpus))
    asked, judged = tmp_path / "q.jsonl", tmp_path / "qrels.tsv"
    queries = {f"r{n}": f"number {n}" for n in range(30)}
    asked.write_text(
        "".join(json.dumps({"_id": own, "text": text}) + "\n" for own, text in queries.items())
    )
    judged.write_text(
        "query-id\tcorpus-id\tscore\n" + "".join(f"r{n}\tp{n}\t1\n" for n in range(30))
    )
    generate = ("--generate", "titles", "--generate", "first-sentences")
    train = ["train", tmp_path / "i", *generate, "--json"]
    for more, judging, extra in (
        (["--queries", asked, "--qrels", judged], 30, 90),
        ([], 90, 0),
    ):
        done = CliRunner().invoke(app, [str(each) for each in (*train, *more)])
        assert done.exit_code == 0, done.stderr
        said = json.loads(done.stdout)
        assert said["queries"] == judging
        assert said["metadata"]["extra"] == extra
    wrong = CliRunner().invoke(
        app, [str(each) for each in (*train, "--reranker", "x", "--to", tmp_path / "m")]
    )
    assert wrong.exit_code == 2
    assert "--generate is for an adapter and --full" in wrong.stderr


@pytest.mark.slow
def test_an_encoder_is_fine_tuned_and_the_way_back_is_said(files, tmp_path):
    folder, to = tmp_path / "i", tmp_path / "tuned"
    index = ("index", files / "corpus.jsonl", "--to", folder, "--encoder", files / "model")
    assert command(*index).returncode == 0
    before = command("search", folder, "blar quon", "--mode", "dense", "--json").stdout
    train = ("train", folder, "--queries", files / "queries.jsonl", "--qrels", files / "qrels.tsv")
    report, plot = tmp_path / "report.md", tmp_path / "curves.png"
    done = command(*train, "--full", "--to", to, *MORE, "--report", report, "--plot", plot)
    assert done.returncode == 0, done.stderr
    assert "accepted" in done.stdout
    assert f"to go back: twofold reencode {folder} {files / 'model'}" in done.stdout
    assert "epoch 1 of 8: loss" in done.stderr
    assert (to / "twofold.json").exists()
    assert plot.read_bytes().startswith(b"\x89PNG")
    text = report.read_text()
    assert text.startswith("# Fine-tuned model for ")
    assert "| base |  |" in text
    assert command("search", folder, "blar quon", "--mode", "dense", "--json").stdout != before
    assert command("reencode", folder, files / "model").returncode == 0
    assert command("search", folder, "blar quon", "--mode", "dense", "--json").stdout == before
    again = command(*train, "--full", "--to", to)
    assert again.returncode == 2
    assert "is there already" in again.stderr


@pytest.mark.slow
def test_a_cross_encoder_is_trained(files, tmp_path):
    folder, to = tmp_path / "i", tmp_path / "tuned"
    index = ("index", files / "corpus.jsonl", "--to", folder, "--encoder", files / "model")
    assert command(*index).returncode == 0
    train = ("train", folder, "--queries", files / "queries.jsonl", "--qrels", files / "qrels.tsv")
    done = command(*train, "--reranker", files / "cross", "--to", to, *MORE, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["metadata"]["base"].startswith(str(files / "cross"))
    assert len(said["curve"]) >= 2
    assert said["accepted"] == to.exists()
    for more, wanted in (
        (("--reranker", files / "cross"), "--reranker writes a model: give --to"),
        (("--reranker", "x", "--to", to, "--temperature", "0.1"), "--temperature is for"),
        (
            ("--full", "--to", tmp_path / "x", "--identity-l2", "0.1"),
            "--identity-l2 is for an adapter",
        ),
    ):
        refused = command(*train, *more)
        assert refused.returncode == 2
        assert wanted in refused.stderr
