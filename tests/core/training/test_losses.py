"""The losses of fine-tuning, against formulas written out in numpy."""

import numpy as np
import pytest
import torch

from twofold.errors import InputError, MissingExtraError
from twofold.similarity import Metric
from twofold.training import EncoderPlan, Example, Mining, TrainingSet
from twofold.training.finetuning import loop as checking
from twofold.training.finetuning.hf_trainers import ContrastiveLoss
from twofold.training.finetuning.models import Similarity
from twofold.training.finetuning.pair_dataset import PairDataset
from twofold.training.negatives import Negative

TEXTS = {own: f"text {own}" for own in "abcdefgh"} | {"copy": "text a"}
SET = TrainingSet(
    (
        Example("q0", ("a", "b"), weight=3.0),
        Example("q1", ("c",)),
        Example("q2", ("b",), weight=0.5),
        Example("q3", ("d",)),
    )
)
NEGATIVES = {
    "q0": ("e", "f"),
    "q1": ("b", "copy"),  # which answer q0
    "q2": ("g", "h"),
    "q3": ("e", "f"),
}


def pairs_of(negatives=NEGATIVES):
    pairs = PairDataset(SET, TEXTS, 2, seed=0)
    pairs.set_negatives(
        {own: [Negative(each, "random") for each in some] for own, some in negatives.items()}
    )
    return pairs


class Lookup(torch.nn.Module):
    """Vectors of texts by number, so that gradients can be seen."""

    def __init__(self, vectors):
        super().__init__()
        self.table = torch.nn.Parameter(torch.tensor(vectors))

    def forward(self, features):
        return {"sentence_embedding": self.table[features["input_ids"][:, 0]]}


def batch(dataset, rows):
    """The columns of some rows as features whose only token is a text's number, and the labels."""
    labels = torch.tensor([dataset[row]["label"] for row in rows])
    queries = len(TEXTS) + labels[:, 0]
    columns = [queries, *labels[:, 1:].T]
    return [
        {"input_ids": each[:, None], "attention_mask": torch.ones(len(rows), 1)} for each in columns
    ], labels


def setting(metric=Metric.COSINE, mini_batch_size=None, pairs=None):
    vectors = np.random.default_rng(0).normal(size=(len(TEXTS) + 4, 5)).astype(np.float32)
    pairs = pairs if pairs is not None else pairs_of()
    model = Lookup(vectors)
    return (
        model,
        ContrastiveLoss(model, Similarity(metric, 5), 0.1, pairs, mini_batch_size),
        vectors.astype(np.float64),
        pairs,
    )


def scores(metric, query, passage):
    if metric is Metric.DOT:
        return query @ passage
    if metric is Metric.EUCLIDEAN:
        return -np.linalg.norm(query - passage)
    return query @ passage / np.linalg.norm(query) / np.linalg.norm(passage)


# Which passages of the batch (a, c, b, d, then negatives) count for each query: for q0 neither b,
# its other answer, nor the copy of a; for q2 not the b that is a negative of q1.
COUNTED = {
    0: ("a", "c", "d", "e", "g", "e", "f", "h", "f"),
    1: ("c", "a", "b", "d", "e", "b", "g", "e", "f", "copy", "h", "f"),
    2: ("b", "a", "c", "d", "e", "g", "e", "f", "copy", "h", "f"),
    3: ("d", "a", "c", "b", "e", "b", "g", "e", "f", "copy", "h", "f"),
}


@pytest.mark.parametrize("metric", list(Metric))
def test_a_batch_is_contrasted_without_what_answers_a_query(metric):
    _, loss, vectors, pairs = setting(metric)
    dataset = pairs.build_dataset()
    rows = [0, 2, 3, 4]  # a, c, b and d
    features, labels = batch(dataset, rows)
    number = {own: place for place, own in enumerate("abcdefgh")} | {"copy": 0}
    weights = {0: 3.0 / 2, 1: 1.0, 2: 0.5, 3: 1.0}
    scale = 5 / (3.0 + 1.0 + 0.5 + 1.0)  # five rows weigh five
    wanted = 0.0
    for query, counted in COUNTED.items():
        own = [
            scores(metric, vectors[len(TEXTS) + query], vectors[number[each]]) / 0.1
            for each in counted
        ]
        wanted += weights[query] * scale * (np.log(np.exp(own).sum()) - own[0])
    assert loss(features, labels).item() == pytest.approx(wanted / 4, rel=1e-5)


def test_a_few_at_once_give_the_same_loss_and_gradients():
    results = []
    for at_once in (None, 1, 3):
        model, loss, _, pairs = setting(mini_batch_size=at_once)
        value = loss(*batch(pairs.build_dataset(), [0, 1, 2, 3, 4]))
        value.backward()
        results.append((value.item(), model.table.grad.numpy()))
    for value, gradient in results[1:]:
        assert value == pytest.approx(results[0][0], rel=1e-6)
        np.testing.assert_allclose(gradient, results[0][1], rtol=1e-5, atol=1e-7)
    assert np.abs(results[0][1]).max() > 0.01


def test_a_teacher_sets_the_margins():
    pairs = pairs_of()
    taught = {0: [2.0, 1.0, -1.0, 0.0], 1: [4.0, 1.0, 3.0], 2: [1.0, 1.0, 0.0], 3: [2.0, 0.0, 0.0]}
    read = pairs.texts_to_score()
    assert read[0] == ("q0", ["text a", "text b", "text e", "text f"])
    pairs.set_teacher_scores(list(taught.values()))
    _, loss, vectors, _ = setting(pairs=pairs)
    rows = [0, 2]  # q0 with a, q1 with c
    features, labels = batch(pairs.build_dataset(), rows)

    def margin(query, answer, negative):
        q = vectors[len(TEXTS) + query]
        return (
            scores(Metric.COSINE, q, vectors[answer]) - scores(Metric.COSINE, q, vectors[negative])
        ) / 0.1

    first = [(margin(0, 0, 4) - 3.0) ** 2, (margin(0, 0, 5) - 2.0) ** 2]
    second = [(margin(1, 2, 1) - 3.0) ** 2, (margin(1, 2, 0) - 1.0) ** 2]
    scale = 5 / 5.5
    wanted = (1.5 * scale * np.mean(first) + scale * np.mean(second)) / 2
    assert loss(features, labels).item() == pytest.approx(wanted, rel=1e-5)


def test_plans_that_contradict_themselves_are_refused():
    for given, wanted in (
        ({"mining": None, "remine": True}, "remine needs negatives"),
        ({"mining": "random"}, "must be a Mining or None"),
        ({"teacher": "a model"}, "must be a Reranker or None"),
        ({"interpolations": ()}, "must be a tuple of numbers"),
        ({"interpolations": 1.0}, "must be a tuple of numbers"),
        ({"interpolations": (0.0,)}, "each of interpolations must be a number >= 0.01"),
        ({"seed": 2**70}, "from 0 to 4,294,967,295"),
    ):
        with pytest.raises(InputError, match=wanted):
            EncoderPlan(**given)
    assert EncoderPlan(mining=None).negatives == 0
    assert EncoderPlan(mining=Mining({"random": 2, "dense": 1})).negatives == 3


def test_an_older_sentence_transformers_is_told_before_the_work(monkeypatch):
    monkeypatch.setattr(checking, "version", lambda _: "6.1.3")
    with pytest.raises(MissingExtraError, match="6.2 or newer, not 6.1.3"):
        checking.check_dependencies()
    monkeypatch.setattr(checking, "version", lambda _: "6.10.0")
    checking.check_dependencies()
