"""``twofold tune`` twice: what is in use is never overwritten, and the way back leads back."""

import json
import shlex

import numpy as np
from typer.testing import CliRunner

from twofold import Index, Retriever
from twofold.backend import SearchProfile
from twofold.cli import app
from twofold.fusion import WeightedSum


def run(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments])


def test_a_second_setting_has_a_name_of_its_own_and_the_way_back_leads_back(tmp_path):
    """Words find what is judged, and the setting in use looks at vectors alone."""
    draw = np.random.default_rng(0)
    words = [f"w{at}" for at in range(400)]
    texts = [" ".join(draw.choice(words, 12, replace=False)) for _ in range(150)]
    folder = tmp_path / "index"
    used = SearchProfile(WeightedSum(dense_weight=1.0), 50, None, 1)
    lines, rows = [], []
    with Index.open(folder, encoder="hashing") as index:
        index.upsert({"id": f"d{at}", "text": text} for at, text in enumerate(texts))
        lexical = Retriever(index, mode="lexical", k=1)
        for at in range(40):
            own = " ".join([*draw.choice(texts[at].split(), 2), *draw.choice(words, 4)])
            lines.append(json.dumps({"_id": f"q{at}", "text": own}))
            rows.append(f"q{at} 0 {lexical.retrieve(own).ids[0]} 1\n")
        index.profiles.save("tuned", used, use=True)
        index.profiles.save("all vectors", used, use=True)
    (tmp_path / "q.jsonl").write_text("\n".join(lines))
    (tmp_path / "qrels").write_text("".join(rows))
    judged = ("--queries", tmp_path / "q.jsonl", "--qrels", tmp_path / "qrels")
    taken = run("tune", folder, *judged, "--name", "tuned")
    assert taken.exit_code == 2
    assert "there is already a profile 'tuned'" in " ".join(taken.stderr.split())
    result = run("tune", folder, *judged)
    assert result.exit_code == 0, result.output
    said = result.stdout.splitlines()[-1]
    assert said.startswith("saved as 'tuned-2' and in use; to go back: twofold profiles")
    with Index.open(folder, read_only=True) as index:
        assert index.profiles["tuned"] == index.profiles["all vectors"] == used
        assert index.profiles.active == "tuned-2"
    back = shlex.split(said.partition("go back: ")[2])[1:]
    assert run(*back).exit_code == 0
    with Index.open(folder, read_only=True) as index:
        assert index.profiles.active == "all vectors"
