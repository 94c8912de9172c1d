import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twofold import Retriever
from twofold.encoders import SentenceTransformerEncoder
from twofold.encoders.batching import TokenCounter
from twofold.errors import DegradedWarning, QueryError
from twofold.results.prompt_context import build_context, estimated_tokens
from twofold.types import Passage


def words(text):
    return len(text.split())


def test_blocks_citations_and_what_is_left_out():
    passages = [
        Passage("one two three", "a", "First", {"year": 1}),
        Passage("word " * 50, "b"),
        Passage("four", "c"),
    ]
    found = build_context(passages, 8, words, "\n\n")
    assert found.text == "[1] First\none two three\n\n[2] four"
    assert [(each.number, each.id, each.title) for each in found.citations] == [
        (1, "a", "First"),
        (2, "c", ""),
    ]
    assert found.citations[0].metadata == {"year": 1}
    assert (found.tokens, found.left_out) == (7, ("b",))
    assert json.loads(json.dumps(found.to_dict()))["citations"][1]["id"] == "c"
    assert str(found) == found.text


def test_a_first_passage_that_is_too_long_is_left_out_and_said():
    with pytest.warns(DegradedWarning, match="none of 1 passages fits in 10 tokens"):
        found = build_context([Passage("word " * 50, "b")], 10, words, "\n\n")
    assert (found.text, found.citations, found.tokens, found.left_out) == ("", (), 0, ("b",))


lengths = st.lists(st.integers(0, 12), max_size=8)


@pytest.mark.filterwarnings("ignore:none of")
@given(lengths, st.integers(1, 40), st.sampled_from(["\n\n", "\n---\n", ""]))
def test_greedy_in_order_and_never_above_the_limit(sizes, limit, separator):
    passages = [Passage("w " * size, str(place)) for place, size in enumerate(sizes)]
    found = build_context(passages, limit, words, separator)
    assert words(found.text) == found.tokens <= limit
    cited = [each.id for each in found.citations]
    assert sorted([*cited, *found.left_out]) == sorted(each.id for each in passages)
    assert cited == sorted(cited)
    kept = []  # what an own greedy walk keeps, where blocks don't run into each other
    if separator:
        used = 0
        for place, size in enumerate(sizes):
            added = size + 1 + (1 if kept and separator.strip() else 0)
            if used + added <= limit:
                used += added
                kept.append(str(place))
        assert cited == kept
    assert [each.number for each in found.citations] == list(range(1, len(cited) + 1))


def test_hits_give_it_in_the_order_of_ranks(library, claims):
    for claim in claims[:5]:
        hits = Retriever(library, k=20).retrieve(claim)
        found = hits.context(1500)
        cited = [each.id for each in found.citations]
        assert 1 < len(cited) < 20
        assert cited == [each for each in hits.ids if each in cited]
        assert list(found.left_out) == [each for each in hits.ids if each not in cited]
        assert found.tokens == estimated_tokens(found.text) <= 1500
        for each in found.citations:
            passage = library.get([each.id])[0]
            assert f"[{each.number}] {passage.title}\n{passage.text.strip()}" in found.text
        assert len(hits.context(10**6).citations) == 20
        with pytest.warns(DegradedWarning, match="none of 20 passages fits"):
            assert hits.context(1, count=words).left_out == tuple(hits.ids)


@pytest.mark.parametrize("limit", [0, -1, 2.5, "3", True, None])
def test_a_limit_is_a_whole_number_of_at_least_one(library, limit):
    with pytest.raises(QueryError, match="max_tokens must be an integer >= 1"):
        Retriever(library).retrieve("cells").context(limit)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("", 0), ("abcd", 1), ("abcde", 2), ("光合作用", 4), ("ที่นี่", 6), ("光 ab", 2), ("한국어", 3)],
)
def test_the_estimate(text, wanted):
    assert estimated_tokens(text) == wanted


def test_the_estimate_is_near_what_a_model_counts(abstracts):
    encoder = SentenceTransformerEncoder("all-MiniLM-L6-v2")
    counter = TokenCounter(encoder.model.tokenizer)
    texts = [each["text"] for each in abstracts[:300]]
    own = counter.count(texts)
    ratios = np.array([estimated_tokens(text) for text in texts]) / own
    assert ratios.min() > 0.8
    assert ratios.max() < 1.5
    assert 1 < np.median(ratios) < 1.2


@pytest.mark.parametrize("given", [None, float("nan"), float("inf"), "7", True, -1])
def test_a_count_that_is_no_number_is_refused(given):
    with pytest.raises(QueryError, match="count must return a text's number of tokens"):
        build_context([Passage("one", "a")], 10, lambda text: given, "\n\n")


def test_numbers_of_numpy_will_do():
    found = build_context([Passage("one", "a")], np.int64(10), lambda text: np.float64(2.5), " ")
    assert (found.tokens, len(found.citations)) == (3, 1)
