"""What why_not says and advises holds, whatever settings shape the answer."""

import json
import random
from dataclasses import replace

import numpy as np
import pytest

from twofold import HashingEncoder, Index, Retriever
from twofold.fusion import FUSIONS, PRESETS, fusion_from_name

WORDS = ["red", "green", "blue", "apple", "pear", "plum", "tree", "leaf", "root", "stone", "river"]
WORDS += ["lake", "hill", "sun"]
SELECTION = {"min_score", "min_dense", "min_lexical", "diversity", "dedup_threshold", "per_group"}


class Shuffling:
    """Scores texts by nothing that either leg knows."""

    def __init__(self, candidates, threshold):
        self.candidates, self.threshold = candidates, threshold

    def rerank(self, queries, texts, progress=None):
        return [np.array([sum(map(ord, text)) % 97 / 97 for text in each]) for each in texts]


def some_index(draw, index):
    passages = [
        {
            "id": f"p{place}",
            "text": " ".join(draw.choices(WORDS, k=draw.randint(1, 8))),
            "metadata": {"group": draw.choice("abc"), "year": draw.randint(0, 5)},
        }
        for place in range(60)
    ]
    for start in range(0, 60, 20):
        index.upsert(passages[start : start + 20])
    index.delete([f"p{place}" for place in range(0, 60, 7)])
    if kind := draw.choice([None, None, "hnsw", "one-bit"]):
        index.reindex(kind)
    return [each["id"] for each in passages]


def some_retriever(draw, index):
    mode = draw.choice(["hybrid", "hybrid", "dense", "lexical"])
    other = {"dense": "min_lexical", "lexical": "min_dense"}.get(mode)
    rare = {
        "min_score": draw.choice([0.1, 0.5, 0.9, -1.0]),
        "min_dense": draw.choice([-0.5, 0.1, 0.4]),
        "min_lexical": draw.choice([0.0, 0.5, 2.0]),
        "diversity": draw.choice([0.2, 0.7, 1.0]),
        "dedup_threshold": draw.choice([0.8, 0.99]),
        "group_by": "group",
        "reranker": Shuffling(draw.choice([1, 4, 50]), draw.choice([None, 0.3])),
        "where": draw.choice([{"year": {"$gt": 2}}, {"group": "a"}]),
    }
    chosen = {name: rare[name] for name in rare if name != other and draw.random() < 0.2}
    if mode == "hybrid" and draw.random() < 0.2:
        chosen["preset"] = draw.choice(list(PRESETS))
    elif mode == "hybrid":
        chosen["fusion"] = fusion_from_name(
            draw.choice(list(FUSIONS)), draw.choice([None, 0.3, 0, 1])
        )
    depth = draw.choice([None, 1, 3, 20])
    return Retriever(index, mode=mode, k=draw.choice([1, 2, 5]), depth=depth, **chosen)


@pytest.mark.parametrize("part", range(4))
def test_all_advice_when_followed_brings_the_passage_in(part, monkeypatch):
    advised = {"weight": 0, "k": 0, "selection": 0, "nothing": 0}
    for seed in range(part * 12, part * 12 + 12):
        draw = random.Random(seed)
        monkeypatch.setattr("twofold.dense.approximate.SCAN_FACTOR", draw.choice([0, 1000]))
        with Index.open(None, encoder=HashingEncoder()) as index:
            ids = some_index(draw, index)
            retriever = some_retriever(draw, index)
            for _ in range(2):
                query = " ".join(draw.choices([*WORDS, "zzz"], k=draw.randint(1, 4)))
                hits = retriever.retrieve(query)
                assert retriever.retrieve_many([query, "sun"])[0].ids == hits.ids
                json.dumps(hits.explain(meaning=False).to_dict(), allow_nan=False)
                near = Retriever(index, k=8).retrieve(query).ids
                for own in [*draw.sample(ids, 3), *near[1:]]:
                    why = hits.why_not(own)
                    json.dumps(why.to_dict(), allow_nan=False)
                    assert why.found == (own in hits.ids)
                    assert why.reasons
                    if why.found:
                        continue
                    for changes in why.changes:
                        assert own in replace(retriever, **changes).retrieve(query).ids
                        advised["weight"] += "dense_weight" in changes
                        advised["k"] += "k" in changes
                        advised["selection"] += not changes.keys().isdisjoint(SELECTION)
                    advised["nothing"] += not why.changes
    assert advised["k"] > 10
    assert advised["weight"] > 2
    assert advised["selection"] > 0
    assert advised["nothing"] > 0
