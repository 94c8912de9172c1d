"""Training of a tiny cross-encoder: what it learns, when it is kept, and what is refused."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tiny_models import cross_encoder_folder
from twofold import HashingEncoder, Index, Retriever
from twofold.errors import InputError
from twofold.rerank import CrossEncoderReranker
from twofold.training import Example, Mining, RerankerPlan, TrainingSet, train_reranker

PLAN = RerankerPlan(
    epochs=3, learning_rate=1e-3, batch=8, patience=3, candidates=2, mining=Mining({"random": 2})
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A random cross-encoder of one layer."""
    return CrossEncoderReranker(cross_encoder_folder(tmp_path_factory.mktemp("base") / "model"))


def fruits():
    """Of two passages with the query's letter, neither leg can tell which one is red."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    names = [f"{a} {b}" for a in letters[:12] for b in letters[12:22]]
    passages = []
    for number, name in enumerate(names):
        colors = ("red", "and") if number % 2 else ("and", "red")  # of ids, none is the first
        for place, color in enumerate(colors):
            passages.append({"id": f"{number:03d}{place}", "text": f"{name} {color}"})
    wanted = {f"{n:03d}{int(not n % 2)}" for n in range(len(names))}
    examples = tuple(
        Example(f"{name}", (own,), query_id=f"q{n}")
        for n, name in enumerate(names)
        for own in (f"{n:03d}0", f"{n:03d}1")
        if own in wanted
    )
    return passages, TrainingSet(examples)


@pytest.fixture
def apples(tmp_path):
    passages, learned = fruits()
    with Index.open(tmp_path / "index", encoder=HashingEncoder()) as index:
        index.upsert(passages)
        yield index, learned


def test_what_the_legs_cannot_tell_is_learned(apples, base, tmp_path):
    index, learned = apples
    weights = {k: v.clone() for k, v in base.cross_encoder.state_dict().items()}
    epochs = []
    tuned = train_reranker(
        index, learned, tmp_path / "tuned", base=base, plan=PLAN, progress=epochs.append
    )
    assert tuned.accepted, str(tuned)
    assert tuple(epochs) == tuned.curve
    gain = tuned.gain("hybrid")
    assert gain.queries == 24
    assert gain.interval.low > 0
    assert all(value.equal(weights[k]) for k, value in base.cross_encoder.state_dict().items())
    reranker = CrossEncoderReranker(tmp_path / "tuned", candidates=2)
    first = [
        Retriever(index, reranker=reranker, k=1).retrieve(each.query).ids[0] == each.positives[0]
        for each in learned
    ]
    plain = [
        Retriever(index, k=1).retrieve(each.query).ids[0] == each.positives[0] for each in learned
    ]
    assert np.mean(first) > np.mean(plain) + 0.2
    assert not (tmp_path / "tuned" / "training").exists()
    assert json.loads((tmp_path / "tuned" / "twofold.json").read_text())["base"] == base.name


def test_shuffled_answers_are_not_kept_and_leave_nothing(apples, base, tmp_path):
    index, learned = apples
    answers = np.random.default_rng(0).permutation([each.positives[0] for each in learned])
    wrong = TrainingSet(
        tuple(
            Example(each.query, (str(answer),), query_id=each.query_id)
            for each, answer in zip(learned, answers, strict=True)
        )
    )
    plan = RerankerPlan(epochs=2, learning_rate=3e-3)
    tuned = train_reranker(index, wrong, tmp_path / "tuned", base=base, plan=plan)
    assert not tuned.accepted
    assert "rejected" in tuned.reason
    assert not (tmp_path / "tuned").exists()


def test_what_cannot_be_trained_is_refused_at_once(apples, base, tmp_path):
    index, learned = apples
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        train_reranker(index, learned, tmp_path / "taken", base=base)
    with pytest.raises(InputError, match="is a file"):
        train_reranker(index, learned, tmp_path / "taken" / "file", base=base)
    few = train_reranker(index, TrainingSet(learned.examples[:9]), tmp_path / "few", base=base)
    assert "9 queries are too few" in few.reason
    for given, wanted in (
        ({"epochs": 0}, "epochs must be"),
        ({"candidates": 1}, "candidates must be"),
    ):
        with pytest.raises(InputError, match=wanted):
            RerankerPlan(**given)


SCRIPT = """
import os, signal, sys
from twofold import HashingEncoder, Index
from twofold.rerank import CrossEncoderReranker
from twofold.training import train_reranker
sys.path.insert(0, {here!r})
from test_reranker_fine_tuning import PLAN, fruits

def said(epoch):
    print(epoch.number, epoch.loss, epoch.ndcg, flush=True)
    if epoch.number == {stop}:
        os.kill(os.getpid(), signal.SIGKILL)

with Index.open({index!r}, read_only=True, encoder=HashingEncoder()) as index:
    base = CrossEncoderReranker({base!r})
    tuned = train_reranker(index, fruits()[1], {to!r}, base=base, plan=PLAN, progress=said)
    print(tuned.reason)
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(apples, tmp_path):
    index, _ = apples
    index.close()
    here = Path(__file__).parent
    base = cross_encoder_folder(tmp_path / "base")
    path = os.pathsep.join([str(here), str(here.parents[1])])
    outputs = {}
    for name, stops in (("whole", (-1,)), ("cut", (1, -1))):
        for stop in stops:
            script = SCRIPT.format(
                here=str(here),
                index=str(index.path),
                base=str(base),
                to=str(tmp_path / name),
                stop=stop,
            )
            done = subprocess.run(
                [sys.executable, "-c", script],
                capture_output=True,
                text=True,
                env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
                check=False,
            )
            assert done.returncode == (-signal.SIGKILL if stop > 0 else 0), done.stderr
            outputs[name] = done.stdout
    assert outputs["cut"] == outputs["whole"]
    assert len(outputs["whole"].splitlines()) == 5  # the base, three epochs, the verdict
    assert not (tmp_path / "cut" / "training").exists()
