"""Diversity beside maximal marginal relevance as others compute it."""

import numpy as np
import pytest
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from twofold import Index, Retriever

DIM = 6
WORDS = ["apple", "pear", "plum", "fig", "kiwi", "lime", "grape", "peach"]


def plain(relevance, cosines, k, diversity):
    """Carbonell and Goldstein's rule, in loops; the better ranked of equals."""
    taken = [max(range(len(relevance)), key=lambda at: relevance[at])]
    while len(taken) < min(k, len(relevance)):
        gains = {
            at: (1 - diversity) * relevance[at] - diversity * max(cosines[at][b] for b in taken)
            for at in range(len(relevance))
            if at not in taken
        }
        taken.append(min(gains, key=lambda at: (-round(gains[at], 10), at)))
    return taken


@pytest.fixture(scope="module", params=["cosine", "dot", "euclidean"])
def grove(request):
    rng = np.random.default_rng(7)
    vectors = rng.standard_normal((80, DIM)).astype(np.float32)
    if request.param == "cosine":
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with Index.open(None, dim=DIM, metric=request.param) as index:
        index.upsert(
            [
                {"id": f"{at:02}", "text": " ".join(rng.choice(WORDS, 5)) + f" n{at}"}
                for at in range(80)
            ],
            vectors=vectors,
        )
        yield index, vectors.astype(np.float64), rng.standard_normal((6, DIM)).astype(np.float32)


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("diversity", [0.1, 0.5, 0.9, 1.0])
def test_the_dense_leg_alone_weighs_cosines_as_they_are(grove, diversity):
    index, vectors, queries = grove
    for query in queries:
        ranked = Retriever(index, mode="dense", k=20).retrieve(vector=query).ids
        asked = Retriever(index, mode="dense", k=8, depth=20, diversity=diversity)
        own = [vectors[int(each)] for each in ranked]
        relevance = [cosine(query, each) for each in own]
        order = plain(relevance, [[cosine(a, b) for b in own] for a in own], 8, diversity)
        assert asked.retrieve(vector=query).ids == [ranked[at] for at in order]


@pytest.mark.parametrize("diversity", [0.2, 0.5, 0.8])
def test_it_is_langchains_on_the_same_candidates(grove, diversity):
    index, vectors, queries = grove
    for query in queries:
        ranked = Retriever(index, mode="dense", k=20).retrieve(vector=query).ids
        asked = Retriever(index, mode="dense", k=8, depth=20, diversity=diversity)
        listed = [vectors[int(each)].tolist() for each in ranked]
        theirs = maximal_marginal_relevance(
            query.astype(np.float64), listed, lambda_mult=1 - diversity, k=8
        )
        assert asked.retrieve(vector=query).ids == [ranked[at] for at in theirs]


@pytest.mark.parametrize(("k", "depth"), [(5, 12), (15, 4)])
def test_both_legs_weigh_scaled_scores_of_the_best_candidates(grove, k, depth):
    index, vectors, queries = grove
    for query in queries:
        most = max(k, depth)
        best = Retriever(index, k=most, depth=most).retrieve("apple fig", vector=query)
        ids, scores = best.ids, best.scores
        own = [vectors[int(each)] for each in ids]
        relevance = ((scores - scores.min()) / np.ptp(scores)).tolist()
        order = plain(relevance, [[cosine(a, b) for b in own] for a in own], k, 0.6)
        hits = Retriever(index, k=k, depth=depth, diversity=0.6).retrieve("apple fig", vector=query)
        assert hits.ids == [ids[at] for at in order]


def test_equal_gains_go_to_the_better_ranked():
    rng = np.random.default_rng(1)
    one, other = rng.standard_normal((2, 31)).astype(np.float32)
    with Index.open(None, dim=31) as index:
        index.upsert(
            [{"id": f"{at:02}", "text": f"apple {at}"} for at in range(40)],
            vectors=np.stack([one] * 20 + [other] * 20),
        )
        for diversity in (0.3, 1.0):
            hits = Retriever(index, mode="dense", k=40, diversity=diversity).retrieve(vector=one)
            first, second = [h for h in hits.ids if h < "20"], [h for h in hits.ids if h >= "20"]
            assert (first, second) == (sorted(first), sorted(second))
