"""Fine-tuning of a tiny transformer: what it learns, when it is kept, and what a kill leaves."""

import itertools
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tiny_models import finished_folder, transformer_folder
from twofold import HashingEncoder, Index, Retriever, SentenceTransformerEncoder
from twofold.errors import InputError
from twofold.training import EncoderPlan, Example, TrainingSet, train_encoder
from twofold.training.pairs import Pairs

NOUNS = "plant light press wave food river stone glass horse cloud"
MADE_UP = "blar quon trib zelf morn vask plix drom yurt fenk"
SECRET = dict(zip(NOUNS.split(), MADE_UP.split(), strict=True))
PLAN = EncoderPlan(epochs=8, learning_rate=5e-3, batch=16, patience=8)


def secrets():
    """Passages of two nouns, and queries that name them by words which no passage has."""
    rng = np.random.default_rng(0)
    pairs = list(itertools.permutations(SECRET, 2))
    rng.shuffle(pairs)
    passages = [{"id": str(n), "text": f"{a} before {b}"} for n, (a, b) in enumerate(pairs)]
    queries = {f"q{n}": f"{SECRET[a]} {SECRET[b]}" for n, (a, b) in enumerate(pairs)}
    return passages, TrainingSet.of_qrels(
        queries, {f"q{n}": {str(n): 1} for n in range(len(pairs))}
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A random transformer of one layer, which knows nothing."""
    folder = tmp_path_factory.mktemp("model")
    finished_folder(folder / "finished", transformer_folder(folder / "plain"))
    return str(folder / "finished")


@pytest.fixture
def riddles(tmp_path, model):
    passages, learned = secrets()
    with Index.open(tmp_path / "index", encoder=model) as index:
        index.upsert(passages)
        yield index, learned


def test_a_relation_that_the_base_lacks_is_learned_and_the_index_takes_it_over(riddles, tmp_path):
    index, learned = riddles
    epochs = []
    tuned = train_encoder(index, learned, tmp_path / "tuned", plan=PLAN, progress=epochs.append)
    assert tuned.kept, str(tuned)
    assert tuned.folder == tmp_path / "tuned"
    assert not (tuned.folder / "training").exists()
    assert tuple(epochs) == tuned.curve
    assert tuned.curve[tuned.epoch].ndcg == max(each.ndcg for each in epochs)
    gain = tuned.gain("hybrid")
    assert gain.queries == 18  # a fifth of 90
    assert gain.interval.low > 0
    assert tuned.gain("hybrid", "unseen").queries == 18
    assert tuned.turnover[0] > 0.3  # from random to mined ones
    before = Retriever(index, mode="dense").retrieve("blar quon").ids
    assert index.reencode(str(tuned.folder)) == 90
    assert Retriever(index, mode="dense").retrieve("blar quon").ids != before
    assert json.loads((tuned.folder / "twofold.json").read_text())["data"] == tuned.card["data"]


def test_both_towers_change_when_they_are_separate(riddles, tmp_path):
    index, learned = riddles
    plan = replace(PLAN, towers="separate", at_once=8, dims=(16, 32), remine=True, fewest=8)
    tuned = train_encoder(index, learned, tmp_path / "tuned", plan=plan)
    assert tuned.kept, str(tuned)
    base = index.encoder.model.state_dict()
    towers = SentenceTransformerEncoder(tuned.folder).model.state_dict()
    name = next(each for each in base if each.endswith("word_embeddings.weight"))
    found = [value for key, value in towers.items() if key.endswith("word_embeddings.weight")]
    assert len(found) == 2
    assert not any(value.equal(base[name]) for value in found)
    assert not found[0].equal(found[1])
    assert tuned.turnover[-1] > 0  # mined again by the model of the epoch


def test_the_same_seed_gives_the_same_model(riddles, tmp_path):
    index, learned = riddles
    plan = replace(PLAN, epochs=2, patience=2, fewest=8)
    curves = [
        train_encoder(index, learned, tmp_path / name, plan=plan).curve for name in ("a", "b")
    ]
    assert curves[0] == curves[1]


def test_shuffled_answers_are_not_kept_and_leave_nothing(riddles, tmp_path):
    index, learned = riddles
    answers = np.random.default_rng(0).permutation([each.positives[0] for each in learned])
    wrong = TrainingSet(
        tuple(
            Example(each.query, (str(answer),), query_id=each.query_id)
            for each, answer in zip(learned, answers, strict=True)
        )
    )
    tuned = train_encoder(index, wrong, tmp_path / "tuned", plan=replace(PLAN, epochs=2))
    assert not tuned.kept
    assert "the base stays" in str(tuned)
    assert not (tmp_path / "tuned").exists()


def test_what_cannot_be_fine_tuned_is_refused_at_once(riddles, tmp_path):
    index, learned = riddles
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        train_encoder(index, learned, tmp_path / "taken")
    assert (tmp_path / "taken" / "file").read_text() == "mine"
    with Index.open(None, encoder=HashingEncoder()) as hashed:
        hashed.upsert(["a text"])
        with pytest.raises(InputError, match="train_adapter works for any encoder"):
            train_encoder(hashed, learned, tmp_path / "x")
    few = train_encoder(index, TrainingSet(learned.examples[:10]), tmp_path / "few")
    assert "10 queries are too few" in few.reason
    assert not (tmp_path / "few").exists()
    for given, wanted in (
        ({"temperature": 2.0}, "temperature is 2.0"),
        ({"batch": 1}, "batch is 1"),
        ({"towers": "both"}, "'shared' or 'separate'"),
        ({"held_out": 1.0}, "held_out is 1.0"),
        ({"max_length": 0}, "max_length is 0"),
        ({"dims": (0,)}, "dims is 0"),
    ):
        with pytest.raises(InputError, match=wanted):
            EncoderPlan(**given)


def test_rows_read_the_negatives_of_the_moment():
    _, learned = secrets()
    texts = {str(n): f"text {n}" for n in range(90)}
    pairs = Pairs(learned, texts, 2, seed=0)
    pairs.renew({})
    dataset = pairs.dataset()
    assert len(dataset) == 90
    chance = dataset[5]
    assert list(chance) == ["anchor", "positive", "negative_1", "negative_2"]
    assert len({chance["positive"], chance["negative_1"], chance["negative_2"]}) == 3

    class Own:
        id = "7"

    pairs.renew({each.query_id: (Own,) for each in learned})
    again = dataset[5]
    assert again["negative_1"] == "text 7"
    assert again["negative_2"] != "text 7"
    assert (again["anchor"], again["positive"]) == (chance["anchor"], chance["positive"])


SCRIPT = """
import os, signal, sys
from pathlib import Path
from twofold import Index
from twofold.training import EncoderPlan, train_encoder
sys.path.insert(0, {here!r})
from test_encoder_training import PLAN, secrets
from dataclasses import replace

def said(epoch):
    print(epoch.number, epoch.ndcg, flush=True)
    if epoch.number == {stop}:
        os.kill(os.getpid(), signal.SIGKILL)

with Index.open({index!r}, read_only=True) as index:
    tuned = train_encoder(index, secrets()[1], {to!r}, plan=replace(PLAN, epochs=4), progress=said)
    print(tuned.reason)
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(riddles, tmp_path):
    index, learned = riddles
    index.close()
    here = str(Path(__file__).parent)
    path = os.pathsep.join([here, str(Path(here).parent)])

    def run(name, stop):
        script = SCRIPT.format(here=here, index=str(index.path), to=str(tmp_path / name), stop=stop)
        return subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            check=False,
        )

    whole = run("whole", -1)
    assert whole.returncode == 0, whole.stderr
    stopped = run("cut", 2)
    assert stopped.returncode == -signal.SIGKILL
    went_on = run("cut", -1)
    assert went_on.returncode == 0, went_on.stderr
    assert went_on.stdout == whole.stdout
    assert (tmp_path / "cut").exists() == (tmp_path / "whole").exists()
    assert not (tmp_path / "cut" / "training").exists()
    assert learned
