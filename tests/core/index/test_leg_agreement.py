"""The agreement of the legs: a property of the stored passages, whatever way they came."""

import random

import numpy as np
import pytest

from twofold import HashingEncoder, Index, Retriever

TOPICS = ["cat dog fox cow pig", "car bus van tram bike", "rain snow wind hail fog"]
COUNT, DIM = 150, 16


def some_texts():
    draw = random.Random(5)
    words = [topic.split() for topic in TOPICS]
    return [
        ". ".join(" ".join(draw.choice(words[at % 3]) for _ in range(6)) for _ in range(2)) + "."
        for at in range(COUNT)
    ]


def some_vectors(spread):
    rng = np.random.default_rng(3)
    centres = rng.standard_normal((3, DIM))
    rows = [centres[at % 3] * spread + rng.standard_normal(DIM) for at in range(COUNT)]
    return np.stack(rows).astype(np.float32)


TEXTS = some_texts()


def stored(index, order, vectors, ending=""):
    passages = [{"id": f"d{at:03}", "text": TEXTS[at] + ending} for at in order]
    index.upsert(passages, vectors=None if vectors is None else vectors[order])


@pytest.mark.parametrize("spread", [0.4, 0.8, None])
def test_another_order_gives_the_same_to_the_last_bit(spread):
    vectors = some_vectors(spread) if spread is not None else None
    query = HashingEncoder().encode_queries(["rain and snow"])[0] if spread is None else vectors[0]
    found = []
    for seed in range(6):
        order = list(range(COUNT))
        random.Random(seed).shuffle(order)
        legs = {"dim": DIM} if vectors is not None else {"encoder": HashingEncoder()}
        with Index.open(None, **legs) as index:
            stored(index, order, vectors)
            hits = Retriever(index, k=20).retrieve("rain and zebra", vector=query)
            found.append((index.agreement, hits.ids, hits.scores.tolist()))
    assert 0 < found[0][0] < 1
    assert all(each == found[0] for each in found)


def test_replaced_vectors_are_noticed():
    good, noise = some_vectors(2.0), np.random.default_rng(8).standard_normal((COUNT, DIM))
    noise = noise.astype(np.float32)
    with Index.open(None, dim=DIM) as index, Index.open(None, dim=DIM) as fresh:
        stored(index, range(COUNT), good)
        before = index.agreement
        order = list(range(COUNT))
        stored(index, order[:70], noise, " New.")
        assert index.agreement == before  # fewer than half
        stored(index, order[70:80], noise, " New.")
        assert index.agreement < before
        stored(index, order[80:], noise, " New.")
        stored(index, order[:60], noise, " Newer.")
        stored(index, order[:60], noise, " New.")
        stored(fresh, order, noise, " New.")
        assert index.agreement == fresh.agreement < 0.3 < before
        said = Retriever(index).retrieve("rain snow", vector=noise[0]).warnings
        assert any("the dense leg is weak here" in each for each in said)


def test_what_went_counts_as_what_came(tmp_path):
    vectors = some_vectors(2.0)
    path = tmp_path / "i"
    with Index.open(path, dim=DIM) as index:
        stored(index, list(range(120)), vectors)
        index.delete([f"d{at:03}" for at in range(30)])
    with Index.open(path) as index:  # the count is kept
        with index.view() as view:
            settings = view.snapshot.settings
            assert (settings.agreement_passages, settings.agreement_changed) == (120, 30)
        stored(index, list(range(120, 150)), vectors)
        with index.view() as view:  # 60 of 120 changed, and there are as many as before
            settings = view.snapshot.settings
            assert (settings.agreement_passages, settings.agreement_changed) == (120, 0)
            before = view.corpus.generation
        stored(index, [149], vectors)  # nothing new
        stored(index, [10], vectors)
        with index.view() as view:
            assert view.corpus.generation == before + 1
            assert view.snapshot.settings.agreement_changed == 1
