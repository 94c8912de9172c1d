"""The fit of a query adapter: the loss against plain numpy, and what a planted relation teaches."""

from dataclasses import replace

import numpy as np
import pytest

from twofold.errors import InputError
from twofold.similarity import Metric
from twofold.training import AdapterPlan
from twofold.training.adapter.fit import TrainingArrays, fit_adapter

DIM = 16


def arrays(passages, vectors, positives, weights, metric=Metric.COSINE):
    return TrainingArrays(passages, metric, vectors, positives, weights)


def planted(count, noise, seed=0):
    """Queries whose answers lie where a hidden rotation takes them."""
    rng = np.random.default_rng(seed)
    passages = rng.standard_normal((200, DIM)).astype(np.float32)
    passages /= np.linalg.norm(passages, axis=1, keepdims=True)
    rotation, _ = np.linalg.qr(rng.standard_normal((DIM, DIM)))
    places = rng.integers(0, 200, count)
    queries = passages[places] @ rotation + noise * rng.standard_normal((count, DIM))
    answers = [{int(place): 1} for place in places]
    return passages, arrays(
        passages, queries.astype(np.float32), answers, np.ones(count, np.float32)
    )


def first(passages, asking, matrix, metric=Metric.COSINE):
    """The share of queries whose nearest passage is their answer, by numpy alone."""
    asked = asking.vectors.astype(np.float64) @ matrix.T.astype(np.float64)
    points = passages.astype(np.float64)
    if metric is Metric.EUCLIDEAN:
        scores = -np.linalg.norm(asked[:, None] - points[None], axis=2)
    else:
        scores = asked @ points.T  # passages are of unit length
    best = scores.argmax(axis=1)
    return np.mean(
        [place in own for place, own in zip(best.tolist(), asking.positives, strict=True)]
    )


@pytest.mark.parametrize("metric", list(Metric))
def test_a_hidden_rotation_is_found_under_each_metric(metric):
    passages, asking = planted(160, 0.02)
    asking = replace(asking, metric=metric)
    learned, checked = asking.select(np.arange(120)), asking.select(np.arange(120, 160))
    plan = AdapterPlan(epochs=60, learning_rate=0.02, patience=20)
    found = fit_adapter(learned, checked, plan)
    assert first(passages, checked, np.eye(DIM), metric) < 0.1
    assert first(passages, checked, found.matrix, metric) > 0.9
    assert found.curve[0].number == 0 < found.best
    assert found.curve[found.best].ndcg == max(each.ndcg for each in found.curve)


def test_the_first_loss_is_the_cross_entropy_at_the_identity():
    passages, asking = planted(30, 0.1)
    asking.positives[0][int(next(iter(asking.positives[1])))] = 1  # one query with two answers
    plan = AdapterPlan(epochs=1, batch=1000, identity_l2=7.0, temperature=0.1)
    (_, epoch) = fit_adapter(asking, None, plan).curve
    units = asking.vectors / np.linalg.norm(asking.vectors, axis=1, keepdims=True)
    scores = (units.astype(np.float64) @ passages.T) / 0.1
    losses, weights = [], []
    for row, own in enumerate(asking.positives):
        for answer in own:
            others = [place for place in range(200) if place == answer or place not in own]
            losses.append(np.log(np.exp(scores[row, others]).sum()) - scores[row, answer])
            weights.append(1 / len(own))
    expected = np.sum(np.array(losses) * weights / np.mean(weights)) / len(losses)
    assert epoch.loss == pytest.approx(expected, rel=1e-4)


def test_weights_decide_between_contradicting_examples():
    passages, _ = planted(1, 0.0)
    vectors = np.tile(passages[:1], (2, 1))
    plan = AdapterPlan(epochs=60, learning_rate=0.02, identity_l2=0.0)
    for heavy in (0, 1):
        weights = np.array([9.0, 9.0], np.float32)
        weights[1 - heavy] = 0.1
        asking = arrays(passages, vectors, [{10: 1}, {20: 1}], weights)
        matrix = fit_adapter(asking, None, plan).matrix
        assert (passages @ (matrix @ vectors[0])).argmax() == (10, 20)[heavy]


def test_the_same_seed_gives_the_same_matrix_and_another_one_another():
    _, asking = planted(60, 0.05)
    plan = AdapterPlan(epochs=3, batch=16)
    one, two = (fit_adapter(asking, None, plan).matrix for _ in range(2))
    other = fit_adapter(asking, None, AdapterPlan(epochs=3, batch=16, seed=1))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other.matrix)


def test_a_low_rank_differs_from_the_identity_by_that_rank():
    _, asking = planted(60, 0.05)
    thin = fit_adapter(asking, None, AdapterPlan(epochs=5, rank=2)).matrix
    singular = np.linalg.svd(thin - np.eye(DIM), compute_uv=False)
    assert singular[1] > 1e-4
    assert singular[2:].max() < 1e-6


def test_without_anything_to_gain_the_identity_stays():
    passages, asking = planted(60, 0.0)
    rng = np.random.default_rng(1)
    shuffled = [{int(rng.integers(200)): 1} for _ in range(60)]
    learned = arrays(passages, asking.vectors, shuffled, asking.weights)
    points = np.array([next(iter(each)) for each in asking.positives])
    checked = arrays(
        passages, passages[points], asking.positives, asking.weights
    )  # perfect as they are
    found = fit_adapter(learned, checked, AdapterPlan(patience=3))
    assert found.best == 0
    assert np.array_equal(found.matrix, np.eye(DIM))
    assert len(found.curve) == 4


def test_plans_that_teach_nothing_are_refused():
    for given, wanted in (
        ({"temperature": 1.0}, "from 0.005 to 0.5"),
        ({"temperature": 0.001}, "scale=20 is temperature=1/20"),
        ({"epochs": 0}, "epochs must be an integer >= 1, got 0"),
        ({"rank": 0}, "rank must be an integer >= 1, got 0"),
        ({"interpolations": (1.5,)}, "each of interpolations must be"),
        ({"interpolations": ()}, "interpolations must be a tuple"),
        ({"learning_rate": 0.0}, "learning_rate must be a number > 0, got 0.0"),
        ({"identity_l2": -1.0}, "identity_l2 must be a number >= 0, got -1.0"),
        ({"identity_l2": float("nan")}, "identity_l2 must be a number >= 0, got nan"),
        ({"folds": 1}, "folds must be an integer >= 2, got 1"),
        ({"min_queries": 8, "folds": 6}, "min_queries must be >= 12 for 6 folds"),
        ({"measure": "nDGC@10"}, "nDGC"),
        ({"seed": True}, "seed must be an integer from 0"),
    ):
        with pytest.raises(InputError, match=wanted):
            AdapterPlan(**given)
