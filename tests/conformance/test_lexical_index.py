"""One suite for every lexical index: scores against a plain oracle, through any history."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oracles import lucene, okapi
from twofold.lexical import LanguageAnalyzer, PostingsIndex, RankBM25Index

IMPLEMENTATIONS = {"postings": (PostingsIndex, lucene), "rank-bm25": (RankBM25Index, okapi)}
WORDS = ["ant", "bee", "cow", "dog", "eel", "fox", "gnu", "hen", "the", "D"]
texts = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)


@pytest.fixture(params=IMPLEMENTATIONS)
def case(request):
    return IMPLEMENTATIONS[request.param]


def rows(*numbers):
    return np.array(numbers, np.int64)


def expected(documents, ids, query, oracle):
    analyzer = LanguageAnalyzer()
    terms = {row: analyzer.passage_terms(text) for row, text in documents.items()}
    scores = oracle(terms, analyzer.query_terms(query))
    return sorted(scores.items(), key=lambda pair: (-round(pair[1], 9), ids[pair[0]]))


def check(found, wanted, ids):
    np.testing.assert_allclose(found.scores, [score for _, score in wanted], atol=1e-9)
    order = list(zip(-found.scores, [ids[row] for row in found.keys.tolist()], strict=True))
    assert order == sorted(order)
    assert dict(zip(found.keys.tolist(), np.round(found.scores, 7), strict=True)) == {
        row: round(score, 7) for row, score in wanted
    }


@settings(deadline=None, max_examples=60)
@given(
    batches=st.lists(st.lists(texts, min_size=1, max_size=6), min_size=1, max_size=6),
    dead=st.sets(st.integers(0, 35)),
    query=texts.filter(str.strip),
)
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_scores_are_the_oracles_after_any_history(name, batches, dead, query):
    make, oracle = IMPLEMENTATIONS[name]
    index = make(LanguageAnalyzer())
    documents, ids = {}, {}
    for batch in batches:
        numbers = np.arange(len(ids), len(ids) + len(batch))
        names = [f"id{(7 * n) % 100:02}" for n in numbers.tolist()]
        index.add(numbers, names, batch)
        documents |= dict(zip(numbers.tolist(), batch, strict=True))
        ids |= dict(zip(numbers.tolist(), names, strict=True))
        gone = [row for row in dead if row in documents and row % 2 == len(batch) % 2]
        index.delete(np.array(gone, np.int64))
        for row in gone:
            del documents[row]
    wanted = expected(documents, ids, query, oracle)
    check(index.search(query, 100), wanted, ids)
    every = np.arange(len(ids))
    given_scores = index.scores(query, every)
    np.testing.assert_allclose(given_scores, [dict(wanted).get(r, 0.0) for r in every], atol=1e-9)


def test_filters_apply_before_the_best_are_chosen(case):
    make, oracle = case
    index = make(LanguageAnalyzer())
    documents = {n: f"ant {'bee ' * (n % 5)} cow{n}" for n in range(40)}
    ids = {n: f"{n:02}" for n in documents}
    index.add(rows(*documents), list(ids.values()), list(documents.values()))
    allowed = np.zeros(40, np.bool_)
    allowed[30:34] = True
    wanted = [
        pair for pair in expected(documents, ids, "ant bee", oracle) if pair[0] in range(30, 34)
    ]
    check(index.search("ant bee", 3, allowed), wanted[:3], ids)
    short = np.zeros(5, np.bool_)
    short[4] = True
    assert index.search("ant", 10, short).keys.tolist() == [4]


def test_ties_go_to_the_smaller_id_even_at_the_border(case):
    make, _ = case
    index = make(LanguageAnalyzer())
    names = [f"{(37 * n) % 100:02}" for n in range(100)]
    for start in range(0, 100, 10):
        some = slice(start, start + 10)
        index.add(np.arange(start, start + 10), names[some], ["same words"] * 10)
    found = index.search("words", 7)
    assert [names[row] for row in found.keys] == [f"{n:02}" for n in range(7)]
    assert len(set(found.scores.tolist())) == 1


@pytest.mark.parametrize("query", ["", "   ", "???", "unheard", "\x00"])
def test_what_matches_nothing_finds_nothing(case, query):
    make, _ = case
    index = make(LanguageAnalyzer())
    assert len(index.search(query, 5).keys) == 0
    index.add(rows(0, 1), ["a", "b"], ["ant bee", ""])
    assert len(index.search(query, 5).keys) == 0
    assert index.scores(query, rows(0, 1)).tolist() == [0.0, 0.0]
    assert index.search("ant", 5).keys.tolist() == [0]


def test_real_text(case, abstracts, claims):
    make, oracle = case
    index = make(LanguageAnalyzer())
    documents = {n: f"{each['title']} {each['text']}" for n, each in enumerate(abstracts[:200])}
    ids = {n: each["_id"] for n, each in enumerate(abstracts[:200])}
    index.add(rows(*documents), list(ids.values()), list(documents.values()))
    for claim in claims[:15]:
        wanted = expected(documents, ids, claim, oracle)
        assert len(wanted) > 5
        check(index.search(claim, 200), wanted, ids)
