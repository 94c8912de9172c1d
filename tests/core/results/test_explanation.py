import json
import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracles import nearness
from twofold import HashingEncoder, Index, ReciprocalRank, Retriever
from twofold.fusion import FUSIONS, fusion_from_name
from twofold.protocols import Encoder
from twofold.results.sentences import query_words, sentences


class Counting:
    """An encoder that keeps what it was asked."""

    def __init__(self):
        self.own = HashingEncoder()
        self.queries, self.passages = [], []

    def encode_queries(self, texts):
        self.queries.append(list(texts))
        return self.own.encode_queries(texts)

    def encode_passages(self, texts):
        self.passages.append(list(texts))
        return self.own.encode_passages(texts)


def test_contributions_sum_to_the_score_for_ten_thousand_hits(library, claims):
    draw = random.Random(5)
    seen = 0
    while seen < 10_000:
        name = draw.choice(list(FUSIONS))
        weight = draw.choice([None, 0.0, 1.0, draw.random()])
        retriever = Retriever(
            library,
            k=draw.randint(1, 300),
            mode=draw.choice(library.modes),
            depth=draw.randint(1, 200),
            fusion=fusion_from_name(name, weight),
        )
        explained = retriever.retrieve(draw.choice(claims)).explain(meaning=False)
        for each in explained.to_dict()["hits"]:
            shares = each["legs"].values()
            assert math.isclose(
                sum(share["contribution"] for share in shares), each["score"], abs_tol=1e-9
            ), name
            for share in shares:
                wanted = share["weight"] * share["normalized"]
                assert math.isclose(share["contribution"], wanted, abs_tol=1e-9)
            if "lexical" in each["legs"]:
                terms = sum(term["contribution"] for term in each["terms"])
                assert math.isclose(terms, each["legs"]["lexical"]["score"], abs_tol=1e-9)
            seen += 1


def test_a_word_drops_by_what_the_query_without_it_loses(library, claims):
    encoder = HashingEncoder()
    dropped = 0
    for claim in claims[:8]:
        hits = Retriever(library, k=5).retrieve(claim)
        rows = {hit.id: vector_of(library, hit.id) for hit in hits}
        for each in hits.explain().hits:
            assert each.meaning is not None
            spans = query_words(claim)
            assert [word for word, _ in each.meaning.words] == [claim[a:b] for a, b in spans]
            for (start, end), (_, drop) in zip(spans, each.meaning.words, strict=True):
                less = encoder.encode_queries([claim[:start] + claim[end:]])[0]
                wanted = each.hit.legs["dense"].score - nearness("cosine", less, rows[each.hit.id])
                assert drop == pytest.approx(wanted, abs=1e-6)
                dropped += drop > 0.01
            telling = [drop for _, drop in each.meaning.ranked_words]
            assert telling == sorted(telling, reverse=True)
    assert dropped > 20


def vector_of(index, passage_id):
    passage = index.get([passage_id])[0]
    return HashingEncoder().encode_passages([passage.content])[0]


def test_the_sentence_is_the_nearest_of_the_passage(library, claims):
    encoder = HashingEncoder()
    for claim in claims[:8]:
        query = encoder.encode_queries([claim])[0]
        for each in Retriever(library, mode="dense", k=4).retrieve(claim).explain().hits:
            text = each.hit.passage.text
            assert each.meaning.sentence in text
            own = sentences(text)
            assert len(own) > 1
            best = max(nearness("cosine", query, each) for each in encoder.encode_passages(own))
            assert each.meaning.sentence_score == pytest.approx(best, abs=1e-6)


def test_the_sentence_is_scored_in_the_metric_of_the_index(tmp_path):
    with Index.open(tmp_path / "i", encoder=Counting(), metric="euclidean") as index:
        index.upsert(["red apples. green pears.", {"id": "t", "text": "", "title": "a red title"}])
        explained = Retriever(index).retrieve("red pears").explain()
        query = HashingEncoder().encode_queries(["red pears"])[0]
        for each in explained.hits:
            vector = HashingEncoder().encode_passages([each.meaning.sentence])[0]
            wanted = nearness("euclidean", query, vector)
            assert each.meaning.sentence_score == pytest.approx(wanted, abs=1e-6)
        assert len(explained.hits) == 2
        assert "a red title" in str(explained)  # where there is no text


def test_meaning_is_one_call_of_each_kind_and_can_be_left_out(tmp_path):
    encoder = Counting()
    assert isinstance(encoder, Encoder)
    with Index.open(tmp_path / "i", encoder=encoder) as index:
        index.upsert(["one apple. two pears.", "three apples fall. down.", "no fruit at all"])
        hits = Retriever(index).retrieve("apple and pears")
        encoder.queries.clear()
        encoder.passages.clear()
        plain = hits.explain(meaning=False)
        assert (encoder.queries, encoder.passages) == ([], [])
        assert [each.meaning for each in plain.hits] == [None] * 3
        hits.explain()
        assert encoder.queries == [["apple and pears", "and pears", "apple pears", "apple and"]]
        assert [len(each) for each in encoder.passages] == [5]
        hits.explain()
        assert len(encoder.queries) == 1  # kept with the hits


@pytest.mark.parametrize("mode", ["hybrid", "dense"])
def test_without_an_encoder_there_is_no_meaning_and_no_error(tmp_path, mode):
    with Index.open(tmp_path / "i", dim=3, metric="dot") as index:
        index.upsert(["red apple", "green pear"], vectors=np.eye(2, 3, dtype=np.float32))
        asked = Retriever(index, mode=mode)
        hits = asked.retrieve("apple", vector=np.ones(3, np.float32))
        explained = hits.explain()
        assert [each.meaning for each in explained.hits] == [None, None]
        assert json.loads(json.dumps(explained.to_dict()))["hits"][0]["meaning"] is None


def test_vectors_alone_words_alone_and_one_word(library):
    vector = library.encode_queries(["cells"])[0]
    for hits in (
        Retriever(library).retrieve(vector=vector),
        Retriever(library, mode="lexical").retrieve("cells divide"),
    ):
        assert len(hits)
        assert all(each.meaning is None for each in hits.explain().hits)
    one = Retriever(library).retrieve("cells").explain().hits
    assert [each.meaning.words for each in one] == [()] * 10
    assert all(each.meaning.sentence for each in one)


def test_the_text_shows_every_part_and_json_is_plain(library, claims):
    retriever = Retriever(library, k=3, fusion=ReciprocalRank(), depth=3)
    hits = retriever.retrieve(claims[3])
    explained = hits.explain()
    text = str(explained)
    for each in explained.hits:
        for leg, share in each.hit.legs.items():
            assert f"{leg}: " in text
            for value in (share.score, share.normalized, share.contribution):
                assert f"{value:.4f}" in text
        assert " ".join(each.meaning.sentence.split()) in text
        assert repr(each.meaning.ranked_words[0][0]) in text
    again = json.loads(json.dumps(explained.to_dict()))
    assert again["hits"][0]["meaning"]["words"][0].keys() == {"word", "drop"}
    assert again["hits"][0]["fused"] == hits[0].score
    assert again["hits"][0]["reranked"] is None


def test_duplicates_and_rerankers_show(index):
    class Longest:
        candidates, threshold = 5, None

        def rerank(self, queries, texts, progress=None):
            return [np.array([float(len(text)) for text in each]) for each in texts]

    index.upsert(["an apple", "an apple ", "an apple a day"])
    hits = Retriever(index, dedup_threshold=0.99, reranker=Longest()).retrieve("apple")
    text = str(hits.explain())
    assert "reranked: 14.0000, fused before:" in text
    twin = next(hit for hit in hits if hit.duplicates)
    assert f"near-duplicates: {twin.duplicates[0]}" in text


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("It is 3.5 mm. \n So.", ["It is 3.5 mm.", "So."]),
        (
            "As Smith et al. found, E. coli grows. Yes.",
            ["As Smith et al. found, E. coli grows.", "Yes."],
        ),
        ('He said "no." She left.', ['He said "no."', "She left."]),
        ("光合作用是过程。植物需要光。", ["光合作用是过程。", "植物需要光。"]),
        ("Wow\uff01Why\uff1fSo", ["Wow\uff01", "Why\uff1f", "So"]),
        ("「はい。」と言う。", ["「はい。」", "と言う。"]),
        ("A head\n\nthe text", ["A head", "the text"]),
        ("", []),
        (" \n ", []),
    ],
)
def test_sentences(text, wanted):
    assert sentences(text) == wanted


@given(st.text(alphabet='ab.!? \n。」"', max_size=40))
def test_sentences_lose_no_letter(text):
    parts = sentences(text)
    assert "".join("".join(parts).split()) == "".join(text.split())
    assert all(each == each.strip() != "" for each in parts)


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("how do plants, make food?", ["how", "do", "plants", "make", "food"]),
        ("don't panic", ["don't", "panic"]),
        ("光合作用 ATP", ["光", "合", "作", "用", "ATP"]),
        ("ที่นี่", ["ที่", "นี่"]),
        ("?!", []),
    ],
)
def test_query_words(query, wanted):
    assert [query[start:end] for start, end in query_words(query)] == wanted


def test_a_vector_that_is_not_the_texts_has_no_words_behind_it(index):
    index.upsert([{"id": "a", "text": "red apple pie"}, {"id": "b", "text": "a green pear tree"}])
    retriever, text = Retriever(index, k=1), "red apple"
    own, other = index.encode_queries([text, "green pear"])
    assert retriever.retrieve(text).explain().hits[0].meaning is not None
    meant = retriever.retrieve(text, vector=own + np.float32(1e-6)).explain().hits[0].meaning
    assert meant.words == retriever.retrieve(text).explain().hits[0].meaning.words
    explained = retriever.retrieve(text, vector=other).explain().hits[0]
    assert explained.meaning is None
    assert not any("nearest sentence" in each for each in explained.details)
