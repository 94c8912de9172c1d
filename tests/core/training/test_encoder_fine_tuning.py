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
import torch

from planted import NOUNS, SECRET, secrets
from tiny_models import finished_folder, transformer_folder
from twofold import HashingEncoder, Index, Retriever, SentenceTransformerEncoder
from twofold.backend import SearchProfile
from twofold.encoders import QueryAdapter
from twofold.errors import DegradedWarning, EncoderNotFoundError, InputError
from twofold.fusion import WeightedSum
from twofold.similarity import Metric
from twofold.training import EncoderPlan, Example, Mining, TrainingSet, train_encoder
from twofold.training.finetuning.models import Similarity
from twofold.training.finetuning.pair_dataset import PairDataset
from twofold.training.negatives import Negative, restrict_to_legs

PLAN = EncoderPlan(epochs=8, learning_rate=5e-3, batch=16, patience=8)


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


def test_a_relation_that_the_base_lacks_is_learned_and_the_index_takes_it_over(
    riddles, tmp_path, capfd
):
    index, learned = riddles
    epochs = []
    tuned = train_encoder(index, learned, tmp_path / "tuned", plan=PLAN, progress=epochs.append)
    assert tuned.accepted, str(tuned)
    assert capfd.readouterr() == ("", "")  # a library prints nothing
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
    assert json.loads((tuned.folder / "twofold.json").read_text())["data"] == tuned.metadata["data"]


def test_both_towers_change_when_they_are_separate(riddles, tmp_path):
    index, learned = riddles
    plan = replace(
        PLAN, towers="separate", mini_batch_size=8, dims=(16, 32), remine=True, min_queries=8
    )
    tuned = train_encoder(index, learned, tmp_path / "tuned", plan=plan)
    assert tuned.accepted, str(tuned)
    base = index.encoder.to_sentence_transformer().model.state_dict()
    towers = SentenceTransformerEncoder(tuned.folder).model.state_dict()
    name = next(each for each in base if each.endswith("word_embeddings.weight"))
    found = [value for key, value in towers.items() if key.endswith("word_embeddings.weight")]
    assert len(found) == 2
    assert not any(value.equal(base[name]) for value in found)
    assert not found[0].equal(found[1])
    assert tuned.turnover[-1] > 0  # mined again by the model of the epoch


def opposites():
    """Passages of two nouns, and the same texts as queries, which ask for other passages."""
    nouns = NOUNS.split()
    other = dict(zip(nouns, nouns[1:] + nouns[:1], strict=True))
    names = list(itertools.permutations(nouns, 2))
    np.random.default_rng(0).shuffle(names)
    passages = [{"id": f"{a} {b}", "text": f"{a} before {b}"} for a, b in names]
    asked = {f"q {a} {b}": f"{a} before {b}" for a, b in names}
    answers = {f"q {a} {b}": {f"{other[a]} {other[b]}": 1} for a, b in names}
    return passages, TrainingSet.from_qrels(asked, answers)


def test_two_towers_learn_what_one_cannot_where_queries_are_of_another_kind(tmp_path, model):
    passages, learned = opposites()
    after = {}
    with Index.open(tmp_path / "index", encoder=model, analyzer=None) as index:
        index.upsert(passages)
        for towers in ("shared", "separate"):
            plan = replace(
                PLAN, towers=towers, mining=None, epochs=12, patience=12, learning_rate=1e-2
            )
            tuned = train_encoder(index, learned, tmp_path / towers, plan=plan)
            assert tuned.turnover == ()  # nothing was mined
            after[towers] = tuned.gain("dense").after
    # To one tower a text is nearest to itself, which answers no query here.
    assert after["shared"] < 0.64  # 1 / log2(3) for an answer at rank 2
    assert after["separate"] > after["shared"] + 0.2


class Oracle:
    """A teacher that knows how much two texts have in common, or thinks all alike."""

    def __init__(self, height):
        self.height = height
        self.candidates = 10
        self.threshold = None

    def rerank(self, queries, texts, progress=None):
        nouns = {value: key for key, value in SECRET.items()}
        return [
            np.array(
                [
                    self.height * sum(nouns[word] in text.split() for word in query.split())
                    for text in own
                ],
                dtype=float,
            )
            for query, own in zip(queries, texts, strict=True)
        ]


class Lost(Oracle):
    """A teacher whose model can't be had."""

    def rerank(self, queries, texts, progress=None):
        raise EncoderNotFoundError("there is no model 'lost'")


def test_a_student_learns_what_its_teacher_says(riddles, tmp_path):
    index, learned = riddles
    mining = Mining({"random": 3, "dense": 1})
    told = replace(PLAN, teacher=Oracle(6.0), mining=mining)
    tuned = train_encoder(index, learned, tmp_path / "told", plan=told)
    assert tuned.accepted, str(tuned)
    assert "Oracle" in tuned.metadata["teacher"]
    bored = replace(told, teacher=Oracle(0.0), epochs=2)
    assert not train_encoder(index, learned, tmp_path / "bored", plan=bored).accepted


def test_extra_examples_teach_and_do_not_judge(riddles, tmp_path):
    index, learned = riddles
    some, others = TrainingSet(learned.examples[:30]), TrainingSet(learned.examples[30:])
    plan = replace(PLAN, min_queries=20)
    alone = train_encoder(index, some, tmp_path / "alone", plan=plan)
    helped = train_encoder(index, some, tmp_path / "helped", plan=plan, extra=others)
    assert helped.gain("dense").queries == alone.gain("dense").queries == 6
    assert helped.gain("dense").after > alone.gain("dense").after
    assert (helped.metadata["extra"], alone.metadata["extra"]) == (60, 0)
    assert helped.queries == alone.queries == 30
    other = tuple(
        Example(f"word {e.query}", e.positives, query_id=f"x{e.query_id}") for e in learned
    )
    every = train_encoder(index, some, tmp_path / "every", plan=plan, extra=TrainingSet(other))
    assert every.gain("dense", "unseen") is None  # all passages were learned from
    assert alone.gain("dense", "unseen").queries == 6


def test_a_blend_lies_between_the_base_and_what_was_learned(riddles, tmp_path, capfd):
    index, learned = riddles
    plan = replace(PLAN, epochs=4, patience=4, max_length=40)
    whole = train_encoder(index, learned, tmp_path / "whole", plan=plan)
    half = train_encoder(
        index, learned, tmp_path / "half", plan=replace(plan, interpolations=(0.5,))
    )
    assert whole.accepted, str(whole)
    assert half.accepted, str(half)
    assert (whole.metadata["interpolation"], half.metadata["interpolation"]) == (1.0, 0.5)
    assert half.curve == whole.curve
    assert SentenceTransformerEncoder(whole.folder).model.max_seq_length == 64  # as before
    base = index.encoder.to_sentence_transformer().model.state_dict()
    states = [SentenceTransformerEncoder(each.folder).model.state_dict() for each in (whole, half)]
    name = next(each for each in base if each.endswith("word_embeddings.weight"))
    mean = (base[name] + states[0][name]) / 2
    assert not states[0][name].equal(base[name])
    assert states[1][name].allclose(mean, atol=1e-6)
    both = train_encoder(
        index, learned, tmp_path / "both", plan=replace(plan, interpolations=(1.0, 0.01))
    )
    assert both.metadata["interpolation"] == 1.0
    assert both.gains == whole.gains
    assert capfd.readouterr() == ("", "")  # a library prints nothing


def test_the_same_seed_gives_the_same_model(riddles, tmp_path):
    index, learned = riddles
    plan = replace(PLAN, epochs=2, patience=2, min_queries=8)
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
    assert not tuned.accepted
    assert "rejected" in str(tuned)
    assert not (tmp_path / "tuned").exists()


def test_what_cannot_be_fine_tuned_is_refused_at_once(riddles, tmp_path):
    index, learned = riddles
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        train_encoder(index, learned, tmp_path / "taken")
    assert (tmp_path / "taken" / "file").read_text() == "mine"
    (tmp_path / "mine" / "training").mkdir(parents=True)
    (tmp_path / "mine" / "training" / "data.jsonl").write_text("mine")
    with pytest.raises(InputError, match="is there already, with training"):
        train_encoder(index, learned, tmp_path / "mine")
    assert (tmp_path / "mine" / "training" / "data.jsonl").read_text() == "mine"
    for given, wanted in (
        ({"max_length": 2}, "max_length must be >= 3, because a text has 2 special tokens, got 2"),
        ({"dims": (16, 64)}, "each of dims must be <= 32, the model's dim, got 64"),
    ):
        with pytest.raises(InputError, match=wanted):
            train_encoder(index, learned, tmp_path / "x", plan=replace(PLAN, **given))
    with Index.open(None, encoder=HashingEncoder()) as hashed:
        hashed.upsert(["a text"])
        with pytest.raises(InputError, match="train_adapter works for any encoder"):
            train_encoder(hashed, learned, tmp_path / "x")
    with pytest.raises(EncoderNotFoundError, match="no model 'lost'"):
        train_encoder(index, learned, tmp_path / "x", plan=replace(PLAN, teacher=Lost(1.0)))
    assert not (tmp_path / "x").exists()
    few = train_encoder(index, TrainingSet(learned.examples[:10]), tmp_path / "few")
    assert "10 queries are too few" in few.reason
    assert not (tmp_path / "few").exists()
    index.query_adapters.save("one", QueryAdapter(np.eye(32)))
    setting = SearchProfile(WeightedSum(dense_weight=0.5), 100, None, 1, query_adapter="one")
    index.profiles.save("one", setting, use=True)
    with pytest.raises(InputError, match="a query adapter is active"):
        train_encoder(index, learned, tmp_path / "x")
    assert not (tmp_path / "x").exists()
    for given, wanted in (
        ({"temperature": 2.0}, "temperature must be a number"),
        ({"batch": 1}, "batch must be an integer >= 2, got 1"),
        ({"towers": "both"}, "towers must be one of 'shared', 'separate', got 'both'"),
        ({"held_out": 1.0}, "held_out must be a number > 0 and < 1, got 1.0"),
        ({"max_length": 0}, "max_length must be an integer >= 1, got 0"),
        ({"dims": (0,)}, "each of dims must be an integer >= 1, got 0"),
    ):
        with pytest.raises(InputError, match=wanted):
            EncoderPlan(**given)


def test_rows_read_the_negatives_of_the_moment():
    _, learned = secrets()
    texts = {str(n): f"text {n}" for n in range(90)}
    pairs = PairDataset(learned, texts, 2, seed=0)
    pairs.set_negatives({})
    dataset = pairs.build_dataset()
    assert len(dataset) == 90
    chance = dataset[5]
    assert list(chance) == ["anchor", "positive", "negative_1", "negative_2", "label"]
    assert chance["label"][0] == 5
    assert len({chance["positive"], chance["negative_1"], chance["negative_2"]}) == 3

    pairs.set_negatives({each.query_id: (Negative("7", "dense"),) for each in learned})
    again = dataset[5]
    assert again["negative_1"] == "text 7"
    assert again["negative_2"] != "text 7"
    assert (again["anchor"], again["positive"]) == (chance["anchor"], chance["positive"])


def test_negatives_that_examples_came_with_take_turns_beside_mined_ones():
    learned = TrainingSet((Example("q", ("0",), negatives=("1", "2", "3")), Example("r", ("4",))))
    texts = {str(n): f"text {n}" for n in range(9)}
    pairs = PairDataset(learned, texts, 1, seed=0)
    assert pairs.count == 2
    mined = {"q": [Negative("1", "given"), Negative("2", "given"), Negative("8", "dense")]}
    rows = []
    for number in (1, 2, 3, 4):
        pairs.set_negatives(mined, number)
        rows.append(pairs.build_dataset()[0])
    assert {each["negative_1"] for each in rows} == {"text 8"}
    assert [each["negative_2"][-1] for each in rows] == ["1", "2", "3", "1"]
    chance = set()
    for number in range(1, 30):
        pairs.set_negatives({}, number)
        row = pairs.build_dataset()[1]
        assert "text 4" not in (row["negative_1"], row["negative_2"])
        assert row["negative_1"] != row["negative_2"]
        chance.add(row["negative_1"])
    assert len(chance) > 4  # others in every epoch
    assert PairDataset(learned, texts, 0, seed=0).count == 0  # those of the batch alone


def test_words_are_left_to_vectors_where_there_are_none(riddles):
    index, _ = riddles
    mining = Mining({"lexical": 2, "dense": 1, "random": 1})
    assert restrict_to_legs(index, mining) is mining
    with Index.open(None, encoder=HashingEncoder(), analyzer=None) as bare:
        with pytest.warns(DegradedWarning, match="no lexical leg"):
            assert restrict_to_legs(bare, mining).counts == {"dense": 3, "random": 1}
        assert restrict_to_legs(bare, Mining({"dense": 1})).counts == {"dense": 1}


@pytest.mark.filterwarnings("ignore:the index uses metric:twofold.errors.EncoderWarning")
def test_scores_of_any_length_have_one_temperature(tmp_path, model):
    texts = [f"{a} before {b}" for a, b in itertools.permutations(NOUNS.split()[:5], 2)]
    for metric in Metric:
        with Index.open(None, encoder=f"{model}?normalize=false", metric=metric) as index:
            index.upsert(texts)
            with index.open_search() as scope:
                similarity = Similarity.from_scope(
                    scope, index.encoder.to_sentence_transformer(), texts
                )
            vectors = torch.from_numpy(index.encoder.encode_passages(texts))
            lengths = vectors.norm(dim=1).mean().item()
        scores = similarity.scores(vectors, vectors).diagonal()
        wanted = {Metric.COSINE: 1.0, Metric.DOT: 1.0, Metric.EUCLIDEAN: 0.0}[metric]
        assert scores.mean().item() == pytest.approx(wanted, abs=0.1)
        assert lengths > 1.5  # so that the scale was needed


def test_cut_vectors_stay_cut(tmp_path, model):
    _, learned = secrets()
    passages = secrets()[0]
    with Index.open(tmp_path / "index", encoder=f"{model}?dim=16") as index:
        index.upsert(passages)
        plan = replace(PLAN, towers="separate", dims=(8,), epochs=8, learning_rate=1e-2)
        tuned = train_encoder(index, learned, tmp_path / "tuned", plan=plan)
        assert tuned.accepted, str(tuned)
        assert index.reencode(str(tuned.folder)) == 90
        assert index.encoder.encode_queries(["blar quon"]).shape == (1, 16)


SCRIPT = """
import os, signal, sys
from pathlib import Path
from twofold import Index
from twofold.training import EncoderPlan, train_encoder
sys.path.insert(0, {here!r})
from planted import secrets
from test_encoder_fine_tuning import PLAN
from dataclasses import replace

marks = []

def said(epoch):
    print(epoch.number, epoch.ndcg, flush=True)
    marks.append(Path({to!r}, "training", "best", "mark").exists())
    if epoch.number == {stop}:
        os.kill(os.getpid(), signal.SIGKILL)

with Index.open({index!r}, read_only=True) as index:
    plan = replace(PLAN, epochs=4, remine=True)
    tuned = train_encoder(index, secrets()[1], {to!r}, plan=plan, progress=said)
    print(tuned.reason, tuned.turnover)
    print(marks, file=sys.stderr)
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(riddles, tmp_path):
    index, learned = riddles
    index.close()
    here = str(Path(__file__).parent)
    path = os.pathsep.join([here, str(Path(here).parents[1])])

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
    work = tmp_path / "cut" / "training"
    (work / "best").mkdir(exist_ok=True)
    (work / "best" / "mark").touch()
    (work / "checkpoints" / "checkpoint-999").mkdir()  # a kill came before its state was written
    went_on = run("cut", -1)
    assert went_on.returncode == 0, went_on.stderr
    assert "[True, True, True" in went_on.stderr  # two epochs were not trained again
    assert went_on.stdout == whole.stdout
    assert (tmp_path / "cut").exists() == (tmp_path / "whole").exists()
    assert not (tmp_path / "cut" / "training").exists()
    assert learned
