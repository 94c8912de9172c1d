"""Answers for which the legs were asked for more: far enough, and what is said of them."""

from dataclasses import replace

import numpy as np
import pytest

from twofold import HashingEncoder, Index, ReciprocalRank, Retriever, WeightedSum
from twofold.fusion import CombMNZ, GuardedFusion, LogOdds, MinMax, Rank, ZScore

DIM = 8
WORDS = ["apple", "pear", "plum", "fig", "kiwi", "lime", "grape", "peach", "melon", "mango"]
HALF = WeightedSum(dense_weight=0.5)
FUSIONS = [
    None, HALF, WeightedSum(MinMax(), 0.3), WeightedSum(ZScore(), 0.5), ReciprocalRank(),
    CombMNZ(), LogOdds(), WeightedSum(Rank(), 0.4), GuardedFusion(ReciprocalRank()),
]  # fmt: skip


def asked(retriever, vector, text="apple fig"):
    return retriever.retrieve(text, vector=vector)


@pytest.fixture(scope="module")
def orchard():
    """200 passages, of which 150 are of one group, and 30 nearly repeat others."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((200, DIM)).astype(np.float32)
    vectors[100:130] = vectors[:30] + 1e-4 * rng.standard_normal((30, DIM)).astype(np.float32)
    with Index.open(None, dim=DIM) as index:
        index.upsert(
            [
                {
                    "id": f"{at:03}",
                    "text": " ".join(rng.choice(WORDS, 6)) + f" number{at}",
                    "metadata": {"group": 0 if at < 150 else at},
                }
                for at in range(200)
            ],
            vectors=vectors,
        )
        yield index, vectors


def test_what_is_said_of_a_deepened_answer_is_of_the_depth_it_reached(orchard):
    index, vectors = orchard
    retriever = Retriever(index, k=40, depth=5, group_by="group", fusion=HALF)
    hits = asked(retriever, vectors[0])
    assert len(hits) == 40
    dense = Retriever(index, mode="dense", k=200).retrieve(vector=vectors[0]).ids
    lexical = Retriever(index, mode="lexical", k=200).retrieve("apple fig").ids
    full = 0
    for passage_id in [f"{at:03}" for at in range(0, 150, 3)]:
        why = hits.why_not(passage_id)
        if why.found:
            continue
        (reached,) = {each.depth for each in why.legs.values()}
        assert reached == 160  # 40, and four times as many
        listed = passage_id in dense[:reached] or passage_id in lexical[:reached]
        assert why.candidate == listed
        assert bool(why.group) == listed
        if listed:
            full += 1
            assert not any("no leg lists it" in reason for reason in why.reasons)
        for changes in why.changes:
            assert passage_id in asked(replace(retriever, **changes), vectors[0]).ids
    assert full > 20


def plain_fused(index, vector, text, fusion, least):
    """What reaches a score if every passage is a candidate."""
    everything = Retriever(index, k=400, depth=400, fusion=fusion)
    return [hit.id for hit in everything.retrieve(text, vector=vector) if hit.score >= least]


def test_min_score_finds_what_neither_leg_lists_first():
    """Both legs have others first, and those that are good in both come after them."""
    cosines = [0.999 - 1e-4 * at for at in range(20)] + [-0.9] * 20 + [0.9] * 20
    texts = ["zzz " * 3] * 20 + ["apple"] * 20 + ["apple pear"] * 20
    vectors = np.zeros((60, 2), np.float32)
    vectors[:, 0] = cosines
    vectors[:, 1] = np.sqrt(1 - vectors[:, 0] ** 2)
    with Index.open(None, dim=2) as index:
        index.upsert(
            [{"id": f"{at:02}", "text": text} for at, text in enumerate(texts)], vectors=vectors
        )
        query = np.array([1, 0], np.float32)
        for fusion in (HALF, WeightedSum(MinMax(), 0.5), WeightedSum(ZScore(), 0.5), LogOdds()):
            wide = Retriever(index, k=60, depth=60, fusion=fusion).retrieve("apple", vector=query)
            least = float(np.sort(wide.scores)[-15])
            few = Retriever(index, k=10, depth=20, min_score=least, fusion=fusion)
            hits = few.retrieve("apple", vector=query)
            assert len(hits) == 10
            assert set(hits.ids) <= set(plain_fused(index, query, "apple", fusion, least))


class Counting:
    """Counts what the legs were asked for."""

    def __init__(self):
        self.stages = []

    def stage(self, name):
        self.stages.append(name)
        return self

    def __enter__(self):
        return lambda report: None

    def __exit__(self, *_):
        return None


def test_min_score_asks_no_further_than_the_corner(orchard):
    index, vectors = orchard
    whole = Retriever(index, k=5, depth=50, fusion=HALF)
    best = float(asked(whole, vectors[0]).scores[2])
    seen = Counting()
    hits = asked(replace(whole, min_score=best, observer=seen), vectors[0])
    assert len(hits) == 3
    assert seen.stages == ["dense", "lexical"]


@pytest.mark.parametrize("fusion", FUSIONS)
def test_no_more_reach_a_score_than_are_found(orchard, fusion):
    index, vectors = orchard
    for at in (0, 3, 7):
        wide = Retriever(index, k=400, depth=400, fusion=fusion)
        scores = asked(wide, vectors[at]).scores
        least = float(scores[6]) if len(scores) > 6 else 0.0
        hits = asked(replace(wide, k=20, depth=5, min_score=least), vectors[at])
        wanted = plain_fused(index, vectors[at], "apple fig", fusion, least)
        assert hits.ids == wanted[:20]


def test_a_count_of_numpy_can_be_deepened(orchard):
    index, vectors = orchard
    retriever = Retriever(index, k=np.int64(2**62), group_by="group")
    assert len(asked(retriever, vectors[0])) == 51


class Gold:
    """Prefers texts with a word."""

    threshold = None

    def __init__(self, candidates):
        self.candidates = candidates

    def rerank(self, queries, texts, progress=None):
        return [np.array([float("gold" in each) for each in own]) for own in texts]


def test_a_reranker_would_have_read_what_no_leg_lists():
    with Index.open(None, dim=2) as index:
        cosines = np.array([0.95 - 1e-3 * at for at in range(30)] + [-0.9] * 30 + [0.9])
        vectors = np.stack([cosines, np.sqrt(1 - cosines**2)], 1).astype(np.float32)
        texts = ["zzz yyy xxx"] * 30 + ["apple"] * 30 + ["apple gold pear"]
        index.upsert(
            [{"id": f"{at:02}", "text": text} for at, text in enumerate(texts)], vectors=vectors
        )
        query = np.array([1, 0], np.float32)
        for fusion in (WeightedSum(MinMax(), 0.5), HALF):
            retriever = Retriever(index, k=3, depth=20, fusion=fusion, reranker=Gold(10))
            why = retriever.retrieve("apple", vector=query).why_not("60")
            assert (why.candidate, why.budget) == (False, None)
            assert {"depth": 31} in why.changes
            assert "60" in replace(retriever, depth=31).retrieve("apple", vector=query).ids
            assert "depth=31" in why.advice


def test_near_duplicates_after_the_last_hit_are_told():
    with Index.open(None, encoder=HashingEncoder()) as index:
        index.upsert(
            [{"id": "a", "text": "red apple pie"}, {"id": "b", "text": "red apple tart"},
             {"id": "c", "text": "a pear"}, {"id": "d", "text": "red apple pie"}]
        )  # fmt: skip
        for mode in index.modes:
            hits = Retriever(index, mode=mode, k=1, dedup_threshold=0.99).retrieve("red apple pie")
            assert (hits.ids, hits[0].duplicates) == (["a"], ("d",))
            why = hits.why_not("d")
            assert why.duplicate_of == "a"
            assert any("near-duplicate of hit 'a'" in reason for reason in why.reasons)


def test_equal_vectors_are_one_at_a_cosine_of_1():
    rng = np.random.default_rng(3)
    base = rng.standard_normal((30, DIM)).astype(np.float32)
    for metric in ("cosine", "dot", "euclidean"):
        with Index.open(None, dim=DIM, metric=metric) as index:
            index.upsert(
                [{"id": f"{at:02}", "text": f"apple number {at}"} for at in range(60)],
                vectors=np.concatenate([base, base]),
            )
            retriever = Retriever(index, mode="dense", k=60, dedup_threshold=1.0)
            hits = retriever.retrieve(vector=base[0])
            assert len(hits) == 30
            assert {(int(hit.id) + 30, int(hit.duplicates[0])) for hit in hits} == {
                (at, at) for at in range(30, 60)
            }


def test_equal_numbers_are_one_group(index):
    values = [1, 1.0, True, "1", None, [1, 2], [1.0, 2.0]]
    index.upsert(
        {"id": str(at), "text": f"apple {at}", "metadata": {"g": value}}
        for at, value in enumerate(values)
    )
    hits = Retriever(index, group_by="g").retrieve("apple")
    assert sorted(hits.ids)[:1] == ["0"] or sorted(hits.ids)[:1] == ["1"]
    assert len(hits) == 5
